"""MLflow: a run as an MLflow run, through MLflow's own Keras callback."""

import pathlib
from collections.abc import Sequence

from kopt.report.event_summaries import hyperparameters
from kopt.report.run import Run
from kopt.report.tracker import Tracker, results_of
from kopt.values.checks import needs
from kopt.values.fields import Named
from kopt.values.texts import clipped
from kopt.values.types import Logs

__all__ = ["MLflow"]

DATABASE, ARTIFACTS = "mlflow.db", "mlflow_artifacts"  # in the folder of all runs, where no server is named
LONGEST = 500  # characters of a parameter, as many as every version of MLflow takes


class MLflow(Tracker):
    """Keep a run with MLflow: parameters, metrics by epoch, results, and the report as artifacts.

    The experiment has the name of the recipe, the run that of its folder. It goes to the server that
    MLFLOW_TRACKING_URI or `mlflow.set_tracking_uri` names, else to mlflow.db in the folder of all runs: `mlflow ui
    --backend-store-uri sqlite:///saved_models/mlflow.db`.

    Raises:
        ImportError: When MLflow is not installed.

    Example:
        >>> MLflow.tool
        'mlflow'

    Source:
        `mlflow.tensorflow.MlflowCallback`.
    """

    tool = "mlflow"
    spans_epochs = True

    def __init__(self) -> None:
        super().__init__()
        self.mlflow = needs("mlflow", "mlflow")
        self.callback = needs("mlflow.tensorflow", "mlflow").MlflowCallback
        self.errors = (self.mlflow.exceptions.MlflowException, OSError)
        self.own_store = self.is_new = False

    def begin(self, final: pathlib.Path, recipe: Named, identity: str | None) -> str:
        try:
            experiment = self.experiment(final.parent.parent, recipe.name)
            how = {"run_id": identity} if identity else {"experiment_id": experiment, "run_name": final.name}
            run = self.mlflow.start_run(nested=True, **how)
            if not identity:
                fields = hyperparameters(recipe)
                self.mlflow.log_params({name: clipped(value, LONGEST - 3) for name, value in fields.items()})
        except self.mlflow.exceptions.MlflowException as error:
            self.release()
            raise ValueError(f"track must be of an MLflow that can begin a run, it says: {clipped(error)}") from error
        self.is_new, self.logger = not identity, self.callback(log_every_epoch=True)
        found: str = run.info.run_id
        return found

    def experiment(self, root: pathlib.Path, name: str) -> str:
        """Return the identity of the experiment of a recipe, which is made when it is new."""
        artifacts = None
        if not self.mlflow.is_tracking_uri_set():
            place = root.absolute()
            self.mlflow.set_tracking_uri(f"sqlite:///{place / DATABASE}")
            self.own_store, artifacts = True, (place / ARTIFACTS / name).as_uri()
        known = self.mlflow.get_experiment_by_name(name)
        found: str = known.experiment_id if known else self.mlflow.create_experiment(name, artifact_location=artifacts)
        return found

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        if self.is_new:  # else its parameters are there, and MLflow refuses others
            self.logger.on_train_begin(logs)

    def end(self, run: Run, files: Sequence[pathlib.Path]) -> None:
        try:
            self.mlflow.log_metrics(results_of(run), step=len(run.history["loss"]))
            for file in files:
                self.mlflow.log_artifact(str(file), "plots" if file.suffix == ".png" else None)
        finally:
            self.mlflow.end_run()
            self.release()

    def fail(self) -> None:
        self.mlflow.end_run("KILLED")
        self.release()

    def release(self) -> None:
        """Leave MLflow's settings as they were."""
        if self.own_store:
            self.mlflow.set_tracking_uri(None)
            self.own_store = False
