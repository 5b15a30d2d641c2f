"""Callbacks as a loop sees them: what calls they need, and which of them a worker may call."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import keras

Phase = Literal["train", "test", "predict"]

BATCH_HOOKS: dict[Phase, tuple[str, ...]] = {
    "train": ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end"),
    "test": ("on_test_batch_begin", "on_test_batch_end"),
    "predict": ("on_predict_batch_begin", "on_predict_batch_end"),
}
# Keras' callbacks that write files: of several workers only the chief may.
WRITERS = (
    keras.callbacks.CSVLogger,
    keras.callbacks.ModelCheckpoint,
    keras.callbacks.RemoteMonitor,
    keras.callbacks.TensorBoard,
)
TIMES = "times"  # of an epoch, in the logs of callbacks that say `told_times`
LOGGERS = (keras.callbacks.CSVLogger, keras.callbacks.History)


class Times(NamedTuple):
    """How long the training part of an epoch took, and how much of that it waited for data, in seconds."""

    steps: int
    seconds: float
    waited: float


@runtime_checkable
class Closing(Protocol):
    """A callback that has something to put away when training is over, even when it raised."""

    def close(self) -> None: ...


class Restoring(keras.callbacks.Callback):
    """A BackupAndRestore that restores as the chief's does, and leaves writing and deleting to the chief's."""

    def __init__(self, backup: Any):
        super().__init__()
        self.backup = backup

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        self.backup.set_model(model)

    def on_train_begin(self, logs: Any = None) -> None:
        self.backup.on_train_begin(logs)


def for_worker(callbacks: Sequence[Any], chief: bool) -> list[Any]:
    """The callbacks that a worker calls; only the chief calls those that write files or say `chief_only`."""
    if chief:
        return list(callbacks)
    kept = [one for one in callbacks if not isinstance(one, WRITERS) and not getattr(one, "chief_only", False)]
    return [Restoring(one) if isinstance(one, keras.callbacks.BackupAndRestore) else one for one in kept]


def watches_batches(callback: Any, phase: Phase) -> bool:
    """Whether a callback has batch hooks of its own and is not content with any number of steps between their calls."""
    if getattr(callback, "any_stretch", False):
        return False
    hooks = BATCH_HOOKS[phase]
    own = [getattr(getattr(callback, hook), "__func__", None) for hook in hooks]
    return any(function is not getattr(keras.callbacks.Callback, hook) for function, hook in zip(own, hooks))


def spans_epochs(callback: Any) -> bool:
    """Whether nothing is lost when several epochs run before a callback's hooks are called for each.

    So it is with callbacks that have none, with Keras' loggers, and with those that say `spans_epochs`: they change
    nothing at an epoch's end, and read nothing but the logs, with the numbers that they have put into `watched`.
    """
    hooks = ("on_epoch_begin", "on_epoch_end")
    none = all(getattr(type(callback), hook) is getattr(keras.callbacks.Callback, hook) for hook in hooks)
    return none or type(callback) in LOGGERS or getattr(callback, "spans_epochs", False)


def watched(callbacks: Sequence[Any]) -> dict[str, Any]:
    """The variables whose values at the end of an epoch callbacks want in its logs, by name."""
    return {name: one for callback in callbacks for name, one in getattr(callback, "watched", {}).items()}
