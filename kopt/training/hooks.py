"""Callbacks as a loop sees them: what calls they need, and which of them a worker may call."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import keras

Phase = Literal["train", "test", "predict"]

BATCH_HOOKS: dict[Phase, tuple[str, ...]] = {
    "train": ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end"),
    "test": ("on_test_batch_begin", "on_test_batch_end"),
    "predict": ("on_predict_batch_begin", "on_predict_batch_end"),
}
EPOCH_HOOKS = ("on_epoch_begin", "on_epoch_end")
# Keras' callbacks that write files: of several workers only the chief may.
WRITERS = (
    keras.callbacks.CSVLogger,
    keras.callbacks.ModelCheckpoint,
    keras.callbacks.RemoteMonitor,
    keras.callbacks.TensorBoard,
)
# Keras' callbacks that do nothing at an epoch's ends but log its numbers.
LOGGERS = (keras.callbacks.CSVLogger, keras.callbacks.History)


class Times(NamedTuple):
    """How long the training part of an epoch took, and how much of that it waited for data, in seconds."""

    steps: int
    seconds: float
    waited: float


class Callback(keras.callbacks.Callback):
    """A callback that declares what it needs of a loop. What is declared holds for the hooks of the class that says it.

    Attributes:
        any_stretch: Whether its batch hooks are content with any number of steps between two calls.
        spans_epochs: Whether nothing is lost when several epochs run before its hooks are called for each: they change
            nothing that training reads, and read nothing but the logs and what `told` has set.
        chief_only: Whether only the chief of several workers may call it.
    """

    any_stretch = False
    spans_epochs = False
    chief_only = False
    values: Mapping[str, Any] | None = None
    times: Times | None = None
    first_number: int | None = None  # that a loop of the user's gives its first epoch

    def set_model(self, model: Any) -> None:
        """Set the model, and clear what the callback has received."""
        super().set_model(model)
        self.values = self.times = self.first_number = None

    def from_zero(self, epoch: int) -> int:
        """Return an epoch's number from 0 on: a loop of the user's, which calls no set_params, may count from 1."""
        if self.first_number is None:
            self.first_number = 1 if epoch == 1 and not self.params else 0
        return epoch - self.first_number

    @property
    def watched(self) -> dict[str, Any]:
        """Return the variables whose values `Loop` passes at the end of each epoch, by name."""
        return {}

    def told(self, values: Mapping[str, Any] | None, times: Times) -> None:
        """Take the watched values and the times of an epoch from `Loop`, before `on_epoch_end` is called for it."""
        self.values, self.times = values, times

    def taken(self) -> tuple[dict[str, Any], Times | None]:
        """Return the watched values of the epoch that ends, and its times when `Loop` trains."""
        values, times = self.values, self.times
        self.values = self.times = None
        if values is None:
            values = {name: keras.ops.convert_to_numpy(variable) for name, variable in self.watched.items()}
        return dict(values), times

    def close(self) -> None:
        """Put away what training needed, even when it raised."""


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
    """Return whether a callback has batch hooks that do not declare `any_stretch`."""
    return not (unchanged(callback, BATCH_HOOKS[phase]) or declares(callback, "any_stretch", BATCH_HOOKS[phase]))


def spans_epochs(callback: Any) -> bool:
    """Whether nothing is lost when several epochs run before a callback's hooks are called for each.

    So it is with callbacks that have none, with Keras' loggers, and with those that declare `spans_epochs`; never with
    hooks without a declaration, be they a subclass's or set on the instance.
    """
    return unchanged(callback, EPOCH_HOOKS) or declares(callback, "spans_epochs", EPOCH_HOOKS)


def declares(callback: Any, flag: str, hooks: Sequence[str]) -> bool:
    """Return whether a class declares a flag, and the callback's hooks are still that class's own."""
    logs_only = lambda kind: flag == "spans_epochs" and kind in LOGGERS
    kind = next((one for one in type(callback).__mro__ if flag in vars(one) or logs_only(one)), None)
    said = kind is not None and (logs_only(kind) or bool(getattr(callback, flag)))
    return said and unchanged(callback, hooks, kind)


def unchanged(callback: Any, hooks: Sequence[str], kind: Any = keras.callbacks.Callback) -> bool:
    """Return whether a callback's hooks are the functions of a class: not a subclass's, nor set on the instance."""
    own = [getattr(getattr(callback, hook, None), "__func__", None) for hook in hooks]
    return all(function is getattr(kind, hook, callback) for function, hook in zip(own, hooks))


def watched(callbacks: Sequence[Any]) -> dict[str, Any]:
    """Return the variables that callbacks watch, by their names and the number of the callback that watches."""
    every = enumerate(watching(callbacks))
    return {f"{number} {name}": variable for number, one in every for name, variable in one.watched.items()}


def tell(callbacks: Sequence[Any], values: Mapping[str, Any], times: Times) -> None:
    """Give each callback the values that it watches and an epoch's times, which logs do not hold."""
    for number, one in enumerate(watching(callbacks)):
        names = {name: f"{number} {name}" for name in one.watched}
        there = all(whole in values for whole in names.values())  # not where a step of the user's gives no dictionary
        one.told({name: values[whole] for name, whole in names.items()} if there else None, times)


def watching(callbacks: Sequence[Any]) -> list[Callback]:
    """Return the callbacks that watch a variable."""
    return [one for one in callbacks if isinstance(one, Callback) and one.watched]
