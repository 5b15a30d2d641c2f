"""WeightsAndBiases: a run as a run of Weights & Biases, through its own Keras callback."""

import os
import pathlib
import shutil
from collections.abc import Sequence

from kopt.report.event_summaries import hyperparameters
from kopt.report.run import Run
from kopt.report.tracker import Tracker, results_of
from kopt.values.checks import needs
from kopt.values.fields import Named
from kopt.values.texts import clipped

__all__ = ["WeightsAndBiases"]


class WeightsAndBiases(Tracker):
    """Keep a run with Weights & Biases: configuration, metrics by epoch, results, and the pictures of the report.

    The project is WANDB_PROJECT, else the name of the recipe; the run has the name of its folder. WANDB_MODE=offline
    keeps it in the folder of all runs, in wandb/, until `wandb sync`.

    Raises:
        ImportError: When wandb is not installed.

    Example:
        >>> WeightsAndBiases.tool
        'wandb'

    Source:
        `wandb.integration.keras.WandbMetricsLogger`.
    """

    tool = "wandb"  # several epochs may not run before its callback is called: it reads the optimizer's rate

    def __init__(self) -> None:
        super().__init__()
        self.wandb = needs("wandb", "wandb")
        self.callback = needs("wandb.integration.keras", "wandb").WandbMetricsLogger
        self.errors = (self.wandb.errors.Error, OSError)

    def begin(self, final: pathlib.Path, recipe: Named, identity: str | None) -> str:
        project = os.environ.get("WANDB_PROJECT") or recipe.name
        place = os.environ.get("WANDB_DIR") or str(final.parent.parent)
        how = {"id": identity, "resume": "allow"} if identity else {}
        settings = self.wandb.Settings(silent=True)
        try:
            self.run = self.wandb.init(
                project=project, name=final.name, dir=place, config=hyperparameters(recipe), settings=settings, **how
            )
        except self.wandb.errors.Error as error:
            raise ValueError(f"track must be of a wandb that can begin a run, it says: {clipped(error)}") from error
        self.logger = self.callback("epoch")
        found: str = self.run.id
        return found

    def end(self, run: Run, files: Sequence[pathlib.Path]) -> None:
        self.run.summary.update(results_of(run))
        pictures = {f"report/{file.stem}": self.wandb.Image(str(file)) for file in files if file.suffix == ".png"}
        if pictures:
            self.run.log(pictures)
        for file in files:
            if file.suffix != ".png":
                shutil.copy(file, self.run.dir)  # whose files wandb sends at the end
        self.run.finish()

    def fail(self) -> None:
        self.run.finish(exit_code=1)
