"""What callbacks need of a loop: how often they are called, which values they receive, which worker calls them."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Literal

import keras
import numpy as np

from kopt.training.callback import Callback, Times
from kopt.values.deprecation import warn_moved
from kopt.values.types import KerasCallback, KerasModel, Logs, Phase, Variable

Flag = Literal["every_batch", "any_chunk", "spans_epochs", "chief_only"]

BATCH_METHODS: dict[Phase, tuple[str, ...]] = {
    "train": ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end"),
    "test": ("on_test_batch_begin", "on_test_batch_end"),
    "predict": ("on_predict_batch_begin", "on_predict_batch_end"),
}
EPOCH_METHODS = ("on_epoch_begin", "on_epoch_end")
# Keras' callbacks that write files: of several workers only the chief may.
WRITERS = (
    keras.callbacks.CSVLogger,
    keras.callbacks.ModelCheckpoint,
    keras.callbacks.RemoteMonitor,
    keras.callbacks.TensorBoard,
)
# Keras' callbacks that do nothing at an epoch's ends but log its numbers.
LOGGERS = (keras.callbacks.CSVLogger, keras.callbacks.History)
# Flags of kopt 0.1 that have another name since.
RENAMED: dict[str, Flag] = {"any_stretch": "any_chunk"}


class Restoring(keras.callbacks.Callback):
    """A BackupAndRestore that restores as the chief's does, and leaves writing and deleting to the chief's."""

    def __init__(self, backup: keras.callbacks.BackupAndRestore):
        super().__init__()
        self.backup = backup

    def set_model(self, model: KerasModel) -> None:
        super().set_model(model)
        self.backup.set_model(model)

    def on_train_begin(self, logs: Logs = None) -> None:
        self.backup.on_train_begin(logs)


def for_worker(callbacks: Sequence[KerasCallback], chief: bool) -> list[KerasCallback]:
    """Return the callbacks that a worker calls: all for the chief, for others those that write no files."""
    if chief:
        return list(callbacks)
    kept = [one for one in callbacks if not is_of_chief(one)]
    return [Restoring(one) if isinstance(one, keras.callbacks.BackupAndRestore) else one for one in kept]


def is_of_chief(callback: KerasCallback) -> bool:
    """Return whether only the chief of several workers calls a callback, such as one that writes files."""
    return isinstance(callback, WRITERS) or flag(callback, "chief_only")


def needs_every_batch(callback: KerasCallback) -> bool:
    """Return whether a callback must be called after every batch, whatever `steps_per_execution` is."""
    return flag(callback, "every_batch")


def watches_batches(callback: KerasCallback, phase: Phase) -> bool:
    """Return whether a callback has batch methods that do not declare `any_chunk`."""
    return not (unchanged(callback, BATCH_METHODS[phase]) or declares(callback, "any_chunk", BATCH_METHODS[phase]))


def steps_a_call(model: KerasModel, callbacks: Sequence[KerasCallback], phase: Phase) -> int | None:
    """Return the steps a call that the user or a callback needs; None for as many as is fast."""
    if any(map(needs_every_batch, callbacks)):
        return 1
    asked = model.steps_per_execution
    return asked if asked > 1 or any(watches_batches(callback, phase) for callback in callbacks) else None


def steps_to_call(callbacks: Sequence[KerasCallback]) -> int | None:
    """Return after how many steps at most the next program call must end; None for any number."""
    needed = [one.steps_to_call() for one in callbacks if isinstance(one, Callback)]
    return min((steps for steps in needed if steps is not None), default=None)


def spans_epochs(callback: KerasCallback) -> bool:
    """Return whether several epochs may run before a callback's epoch methods are called for each.

    True for callbacks without epoch methods, for Keras' loggers, and for those that declare `spans_epochs`; never for
    methods without a declaration, be they a subclass's or set on the instance.
    """
    return unchanged(callback, EPOCH_METHODS) or declares(callback, "spans_epochs", EPOCH_METHODS)


def flag(callback: KerasCallback, name: Flag) -> bool:
    """Return a flag of `Callback`; a user's class that derives from Keras' own may declare it too."""
    return bool(getattr(callback, name, False))


def declares(callback: KerasCallback, name: Flag, methods: Sequence[str]) -> bool:
    """Return whether a class declares a flag, and the callback's methods are still those of that class."""
    for kind in type(callback).__mro__:
        if name in vars(kind):
            return flag(callback, name) and unchanged(callback, methods, kind)
        for old in (old for old, new in RENAMED.items() if new == name and old in vars(kind)):
            warn_moved(f"{kind.__name__}.{old}", name)
            return bool(vars(kind)[old]) and unchanged(callback, methods, kind)
        if name == "spans_epochs" and kind in LOGGERS:
            return unchanged(callback, methods, kind)
    return False


def unchanged(callback: KerasCallback, methods: Sequence[str], *kinds: type) -> bool:
    """Return whether a callback's methods are the functions of one of some classes, by default of the base classes.

    They are not when a subclass defines them or when they are set on the instance.
    """
    own = {name: getattr(callback, name, None) for name in methods}
    functions = {name: one.__func__ if inspect.ismethod(one) else None for name, one in own.items()}
    bases = kinds or (keras.callbacks.Callback, Callback)
    return all(any(one is getattr(kind, name, callback) for kind in bases) for name, one in functions.items())


def watched(callbacks: Sequence[KerasCallback]) -> dict[str, Variable]:
    """Return the variables that callbacks watch, by their names and the callback's place among the receivers."""
    every = enumerate(receivers(callbacks))
    return {f"{place} {name}": variable for place, one in every for name, variable in one.watched.items()}


def send_epoch(callbacks: Sequence[KerasCallback], values: Mapping[str, np.ndarray], times: Times) -> None:
    """Pass each callback the values that it watches and an epoch's times, which logs do not hold."""
    for place, one in enumerate(receivers(callbacks)):
        names = {name: f"{place} {name}" for name in one.watched}
        there = all(whole in values for whole in names.values())  # not when a user's step returns no dictionary
        one.receive_epoch({name: values[whole] for name, whole in names.items()} if there else None, times)


def receivers(callbacks: Sequence[KerasCallback]) -> list[Callback]:
    """Return the callbacks that watch a variable or want the times of an epoch."""
    return [one for one in callbacks if isinstance(one, Callback) and (one.watched or one.wants_times)]
