"""Events for TensorBoard: written at the end of each epoch, and again from a history."""

import logging
import pathlib
import shutil
from collections.abc import Mapping

import tensorflow as tf

from kopt.report.event_summaries import write_beginning
from kopt.training.callback import Callback
from kopt.values.fields import Named
from kopt.values.texts import clipped, printable
from kopt.values.types import CallbackState, Logs

__all__ = ["EventLogs", "write_logs"]

log = logging.getLogger("kopt")

PARTS = {"train": "", "validation": "val_"}  # two runs of one chart, and how their names begin in logs


class EventLogs(Callback):
    """Write the logs of each epoch for TensorBoard, while a run is at work.

    `keras.callbacks.TensorBoard` has batch methods, for which a program call would hold one step. In a run that goes
    on the events of the epochs before are written anew, so that each epoch has one. A folder that cannot be written is
    named in the log and removed, and training goes on.

    Args:
        folder: The folder of the events.
        recipe: The recipe of the run, written as text and as hyperparameters; None where there is none.

    Example:
        >>> import keras, tempfile, numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> with tempfile.TemporaryDirectory() as root:
        ...     events = EventLogs(pathlib.Path(root) / "logs")
        ...     _ = model.fit(np.eye(2), np.ones((2, 1)), epochs=2, callbacks=[events], verbose=0)
        ...     sorted(path.name for path in events.folder.iterdir())
        ['train']

    Source:
        `keras.callbacks.TensorBoard`.
    """

    spans_epochs = True
    chief_only = True

    def __init__(self, folder: pathlib.Path, recipe: Named | None = None):
        super().__init__()
        self.folder, self.recipe = folder, recipe
        self.events: Events | None = None
        self.failed = False

    def get_state(self) -> CallbackState:
        return {}  # the model's History has all that was written

    def set_state(self, state: CallbackState) -> None:
        pass

    def on_train_begin(self, logs: Logs = None) -> None:
        self.failed = False

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if self.failed:
            return
        try:
            if self.events is None:
                shutil.rmtree(self.folder, ignore_errors=True)
                self.events = Events(self.folder)
                if self.recipe is not None:
                    write_beginning(self.folder, self.recipe)
                self.events.write_history(self.model.history.history)
            self.events.write(epoch, logs or {})
            self.events.flush()
        except (OSError, tf.errors.OpError) as error:
            log.warning("%s could not be written: %s", printable(self.folder), clipped(str(error)))
            self.failed = True
            self.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """Close the files."""
        super().close()
        if self.events is not None:
            self.events.close()
            self.events = None


class Events:
    """The files of events of a run; one is made when it has something to hold."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.writers: dict[str, tf.summary.SummaryWriter] = {}

    def write(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Write the numbers of an epoch, counted from 0."""
        for part, prefix in PARTS.items():
            own = {name: value for name, value in logs.items() if name.startswith("val_") == bool(prefix)}
            if own and part not in self.writers:
                self.writers[part] = tf.summary.create_file_writer(str(self.folder / part))
            for name, value in own.items():
                with self.writers[part].as_default():
                    tf.summary.scalar(f"epoch_{name.removeprefix(prefix)}", value, step=epoch)

    def write_history(self, history: Mapping[str, list[float]]) -> None:
        """Write the epochs of a history."""
        for name, values in history.items():
            for epoch, value in enumerate(values):
                self.write(epoch, {name: value})

    def flush(self) -> None:
        """Make what was written visible."""
        for writer in self.writers.values():
            writer.flush()

    def close(self) -> None:
        """Close the files."""
        for writer in self.writers.values():
            writer.close()


def write_logs(folder: pathlib.Path, history: Mapping[str, list[float]], recipe: Named | None = None) -> None:
    """Write a whole history for TensorBoard.

    Args:
        folder: The folder of the events.
        history: Name -> the value of each epoch.
        recipe: The recipe of the run; None where there is none.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     write_logs(pathlib.Path(root), {"loss": [1.0], "val_loss": [2.0]})
        ...     sorted(path.name for path in pathlib.Path(root).iterdir())
        ['train', 'validation']

    Source:
        See `EventLogs`.
    """
    events = Events(folder)
    events.write_history(history)
    events.close()
    if recipe is not None:
        write_beginning(folder, recipe)
