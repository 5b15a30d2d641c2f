"""Tracker: a run as another tool keeps it, through that tool's own Keras callback; MLflow and Weights & Biases."""

import abc
import importlib
import logging
import pathlib
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from kopt.report.run import Run
from kopt.report.run_writer import write_json
from kopt.report.unfinished import json_in
from kopt.training.callback import Callback
from kopt.values.checks import unknown
from kopt.values.fields import Named
from kopt.values.texts import clipped
from kopt.values.types import KerasCallback, Logs

__all__ = ["Tracker", "Tracking", "results_of", "tools_of"]

log = logging.getLogger("kopt")

# Name of a tool -> the module of its tracker, which is imported when it is asked for.
TRACKERS = {"mlflow": ("kopt.report.track_mlflow", "MLflow"), "wandb": ("kopt.report.track_wandb", "WeightsAndBiases")}
FILE = "tracking.json"  # in a run's folder: the identity of the run in each tool, with which it goes on
REPORTED = ("README.md", "recipe.json", "metrics.json", "history.csv", "environment.json")


class Tracker(Callback, abc.ABC):
    """A callback that keeps a run with another tool, by one call of the tool's own callback an epoch.

    The tools' callbacks have batch methods, for which a program call would hold one step; those are not called.

    Attributes:
        tool: The name of the tool.
        logger: The tool's callback, from `begin` on.
        errors: What the tool raises when it cannot keep something.

    Example:
        >>> Tracker()
        Traceback (most recent call last):
        TypeError: Can't instantiate abstract class Tracker ...

    Source:
        `mlflow.tensorflow.MlflowCallback`, `wandb.integration.keras.WandbMetricsLogger`.
    """

    chief_only = True

    tool: str
    logger: KerasCallback
    errors: tuple[type[Exception], ...]

    @abc.abstractmethod
    def begin(self, final: pathlib.Path, recipe: Named, identity: str | None) -> str:
        """Begin the run, or go on with it.

        Args:
            final: The folder of the run.
            recipe: The recipe.
            identity: What was returned when the run began; None for a new one.

        Returns:
            The identity of the run in the tool.

        Raises:
            ValueError: When the tool cannot begin it.
        """

    @abc.abstractmethod
    def end(self, run: Run, files: Sequence[pathlib.Path]) -> None:
        """End the run with its results and the files of its report."""

    @abc.abstractmethod
    def fail(self) -> None:
        """End the run as one that was ended by an error or a signal."""

    def on_train_begin(self, logs: Logs = None) -> None:
        self.logger.set_model(self.model)
        self.logger.set_params(self.params)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.logger.on_epoch_end(epoch, {name: float(value) for name, value in (logs or {}).items()})


class Tracking:
    """The trackers of a run: a context that ends what is tracked as failed when the run raises.

    Args:
        asked: Names of tools with commas between them: "mlflow", "wandb"; None for none.

    Raises:
        ValueError: When a name is unknown.
        ImportError: When the tool is not installed.

    Example:
        >>> with Tracking(None) as tracking:
        ...     tracking.trackers
        []
        >>> Tracking("mlfow")
        Traceback (most recent call last):
        ValueError: track must be one of mlflow, wandb, got 'mlfow' (did you mean 'mlflow'?).
    """

    def __init__(self, asked: str | None):
        self.trackers: list[Tracker] = []
        for name in dict.fromkeys((asked or "").replace(",", " ").split()):
            if name not in TRACKERS:
                raise unknown("track", name, TRACKERS)
            module, kind = TRACKERS[name]
            self.trackers.append(getattr(importlib.import_module(module), kind)())
        self.begun: list[Tracker] = []

    def begin(self, folder: pathlib.Path | None, final: pathlib.Path, recipe: Named) -> list[KerasCallback]:
        """Begin to track a run, and return the callbacks of its training.

        Args:
            folder: The folder that the run is written into; None on a worker that writes nothing.
            final: What it will be called.
            recipe: The recipe.
        """
        if folder is None:
            return []
        found = json_in(folder / FILE)
        known = found if isinstance(found, dict) else {}
        for tracker in self.trackers:
            known[tracker.tool] = tracker.begin(final, recipe, known.get(tracker.tool))
            self.begun.append(tracker)
        if self.begun:
            write_json(folder / FILE, known)
        return list(self.begun)

    def end(self, folder: pathlib.Path | None, run: Run) -> None:
        """End what is tracked with the results and the report of the run; log what a tool could not take.

        Args:
            folder: The folder that the run is written into.
            run: The run.
        """
        while self.begun and folder is not None:
            files = [folder / name for name in REPORTED] + sorted((folder / "plots").glob("*.png"))
            tracker = self.begun.pop()
            try:
                tracker.end(run, [file for file in files if file.is_file()])
            except tracker.errors as error:  # the run is whole without it
                log.warning("%s could not take the results of the run: %s", tracker.tool, clipped(error))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self.begun:
            self.begun.pop().fail()


def tools_of(folder: pathlib.Path) -> str | None:
    """Return the tools that have kept a run so far, as `Tracking` takes them.

    Args:
        folder: The folder of the run.

    Example:
        >>> tools_of(pathlib.Path("nowhere")) is None
        True
    """
    found = json_in(folder / FILE)
    known = [name for name in TRACKERS if name in found] if isinstance(found, dict) else []
    return ",".join(known) or None


def results_of(run: Run) -> dict[str, float]:
    """Return the numbers in a run's results, for a tool that takes numbers.

    Args:
        run: The run.

    Example:
        >>> results_of(Run(pathlib.Path("run"), None, {}, {"metric": "mae", "value": 0.5, "loss": 1, "target": None}))
        {'test_mae': 0.5, 'test_loss': 1.0}
    """
    shown = {"value": f"test_{run.metrics['metric']}", "loss": "test_loss"}
    numbers = {name: value for name, value in run.metrics.items() if type(value) in (int, float)}
    return {shown.get(name, name): float(value) for name, value in numbers.items()}
