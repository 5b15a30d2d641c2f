"""ProgressFile: how far a run is, in a file that others can read while it is at work."""

import logging
import pathlib
import statistics
import time

from kopt.report.progress import FIELDS, FILE, Progress, read_progress
from kopt.report.run_writer import write_json
from kopt.tasks.metrics import Direction
from kopt.training.callback import Callback
from kopt.values.types import CallbackState, Logs

__all__ = ["FILE", "Progress", "ProgressFile", "read_progress"]

log = logging.getLogger("kopt")

RECENT = 5  # epochs by which the time of those to come is told


class ProgressFile(Callback):
    """Write how far a run is at the end of each epoch, at most once a second; remove the file when training ends.

    A file that cannot be written is named in the log once, and training goes on.

    Args:
        folder: The folder of the run.
        metric: The name of its score.
        direction: Whether "max" or "min" of the score is better.
        epochs: Number of epochs of the run.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     file = ProgressFile(pathlib.Path(root), "accuracy", "max", 20)
        ...     for epoch, accuracy in enumerate([0.5, 0.9, 0.8]):
        ...         file.note(epoch, {"val_accuracy": accuracy, "seconds": 2.0})
        ...     file.write()
        ...     found = read_progress(pathlib.Path(root))
        >>> found.epoch, found.score, found.best, found.left
        (3, 0.8, 0.9, 34.0)

    Source:
        Folklore: a status file, written whole.
    """

    spans_epochs = True
    chief_only = True

    def __init__(self, folder: pathlib.Path, metric: str, direction: Direction, epochs: int):
        super().__init__()
        self.folder, self.metric, self.better, self.epochs = folder, metric, max if direction == "max" else min, epochs
        self.logs: list[dict[str, float]] = []
        self.done, self.next, self.failed = 0, 0.0, False

    def get_state(self) -> CallbackState:
        return {}  # the model's History has all that was noted

    def set_state(self, state: CallbackState) -> None:
        pass

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if epoch and not self.logs:  # of a run that goes on
            history = self.model.history.history
            self.logs = [dict(zip(history, values)) for values in zip(*history.values())]
        self.note(epoch, {name: float(value) for name, value in (logs or {}).items()})
        if time.monotonic() >= self.next and not self.failed:
            self.next = time.monotonic() + 1.0
            self.write()

    def note(self, epoch: int, logs: dict[str, float]) -> None:
        """Note the numbers of an epoch, counted from 0."""
        self.done = epoch + 1
        self.logs.append(logs)

    def write(self) -> None:
        """Write the file."""
        scores = [one[f"val_{self.metric}"] for one in self.logs if f"val_{self.metric}" in one]
        times = [one.get("seconds", 0.0) for one in self.logs]
        left = (self.epochs - self.done) * statistics.median(times[-RECENT:])
        best = self.better(scores) if scores else None
        found = Progress(self.done, self.epochs, self.metric, scores[-1] if scores else None, best, sum(times), left)
        place = self.folder / FILE
        try:
            write_json(place.with_name(f".{FILE}"), dict(zip(FIELDS, found)))
            place.with_name(f".{FILE}").replace(place)
        except OSError as error:
            log.warning("%s could not be written: %s", FILE, error.strerror)
            self.failed = True

    def close(self) -> None:
        """Remove the file."""
        super().close()
        (self.folder / FILE).unlink(missing_ok=True)
