"""Checkpoint: the callback that writes checkpoints and goes on from the last one."""

import os
from collections.abc import Sequence
from typing import Literal

import keras

from kopt.keras_internals import called_with
from kopt.training.callback import Callback
from kopt.training.checkpoint.best import Best
from kopt.training.checkpoint.every import Every
from kopt.training.checkpoint.in_fit import FitSaver
from kopt.training.checkpoint.options import EVERY, Options
from kopt.training.checkpoint.saver import Saver, Unsaved
from kopt.training.signals import DEFAULT, Signals
from kopt.values.checks import is_among, is_whole, require
from kopt.values.places import as_path
from kopt.values.types import CallbackState, KerasCallback, KerasModel, Logs

__all__ = ["Checkpoint", "Checkpointed", "SavedInLoop"]


class SavedInLoop(Callback):
    """A callback that has `Loop` write checkpoints, and go on from the last one.

    Example:
        >>> SavedInLoop().in_loop
        False
    """

    in_loop = False

    def saver_in_loop(self, model: KerasModel) -> Unsaved:
        """Return what writes the checkpoints of a fit of Loop.

        Args:
            model: The model.
        """
        return Unsaved()

    def close(self) -> None:
        super().close()
        self.in_loop = False  # the next fit may be Keras' own


class Checkpoint(SavedInLoop):
    """Write checkpoints to a folder, and go on from the last one when the same fit is run again.

    In `kopt.fit` and `Loop.fit`, where `checkpoint="folder"` is short for it, a run that was killed anywhere and is
    started again ends with the same bits in weights, optimizer and History as one that was not: the position within the
    epoch, the order of examples, metrics, seeds, random states, callbacks and what was decided about XLA are saved. A
    callback takes part that defines `get_state` and `set_state`, as Keras' own and those of kopt do.

    In Keras' own `model.fit`, whose last callback it must be, checkpoints are written between epochs: of weights,
    optimizer, seeds, random states, callbacks and History. The model must be built. Fit does not show where it is in
    the data: the order of the examples begins anew, so that a resumed run has the bits of a whole one only where the
    data come in the same order in each epoch, as with shuffle=False; `signals` are left alone.

    Args:
        folder: The folder of the run; one process at a time trains in it.
        every: How often a checkpoint is written: "30s", "1h30m", "1000 steps", "1 epoch", at the next end of a program
            call, 0.2 s; besides at the end of training, and when a signal ends it.
        keep: How many are kept, >= 1.
        keep_best: The name of a log, "val_accuracy": the checkpoint of its best epoch is kept as best.safetensors.
        strict: Whether callbacks that do not define `get_state` are refused; else the log names them.
        signals: Names of the signals that end training with a checkpoint; cluster managers warn by others too, such as
            "SIGUSR1". A second one ends it at once.
        on_error: "raise", or "warn" to train on without a checkpoint that cannot be written.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> import keras, numpy as np, tempfile
        >>> from kopt.training import fit
        >>> def run(folder, epochs):
        ...     keras.utils.set_random_seed(0)
        ...     model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        ...     model.compile("adam", "mse")
        ...     return fit(model, np.eye(2), np.ones((2, 1)), epochs=epochs, verbose=0, checkpoint=folder).history
        >>> with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        ...     _ = run(one, 2)
        ...     run(one, 4) == run(other, 4)
        True

    Source:
        `keras.callbacks.BackupAndRestore`, which repeats batches and loses seeds and the state of callbacks.
    """

    any_chunk = True
    spans_epochs = True

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        every: str = EVERY,
        keep: int = 2,
        keep_best: str | None = None,
        strict: bool = False,
        signals: Sequence[str] = DEFAULT,
        on_error: Literal["raise", "warn"] = "raise",
    ):
        super().__init__()
        require(is_whole(keep) and keep >= 1, "keep", "must be a whole number >= 1", keep)
        named = keep_best is None or isinstance(keep_best, str)
        require(named, "keep_best", "must be the name of a log, such as 'val_loss'", keep_best)
        Best(keep_best)  # whose direction must be known
        require(isinstance(strict, bool), "strict", "must be True or False", strict)
        require(is_among(on_error, "raise", "warn"), "on_error", "must be 'raise' or 'warn'", on_error)
        place = as_path(folder, "checkpoint")
        self.options = Options(place, Every.of(every), keep, keep_best, strict, Signals(signals).names, on_error)
        self.saver: FitSaver | None = None
        self.batches = 0

    # In Keras' own fit

    def on_train_begin(self, logs: Logs = None) -> None:
        if self.in_loop:
            return
        others = called_with(self)
        after = [type(one).__name__ for one in others[others.index(self) + 1 :]]
        own = [name for name in after if name not in ("History", "ProgbarLogger")]
        require(not own, "callbacks", "must have Checkpoint as the last one in model.fit", own)
        self.saver = FitSaver(self.options, self.model, others, self.params["epochs"])
        self.saver.begin()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        if self.saver is not None:
            self.saver.begun()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self.batches = batch + 1

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if self.saver is not None:
            self.saver.epoch_ended(epoch, self.batches, logs)

    def on_train_end(self, logs: Logs = None) -> None:
        if self.saver is not None:
            self.saver.begun()
            self.saver.end()
            self.saver = None

    # In Loop

    def saver_in_loop(self, model: KerasModel) -> Unsaved:
        return Saver(self.options, model)

    def get_state(self) -> CallbackState:
        return {}

    def set_state(self, state: CallbackState) -> None:
        pass


Checkpointed = str | os.PathLike[str] | Checkpoint | None  # what fit takes


def saver_of(
    model: KerasModel, checkpoint: Checkpointed, every: str | None, callbacks: Sequence[KerasCallback]
) -> Unsaved:
    """Return what writes the checkpoints that a Loop's fit is asked for.

    Args:
        model: The model.
        checkpoint: A folder, a Checkpoint, or None.
        every: How often, for a folder; None for each 30 s.
        callbacks: The callbacks, perhaps with a Checkpoint.

    Raises:
        ValueError: When there are two, `every` is given without a folder, or a callback restores training otherwise.
    """
    of_folder = checkpoint is not None and not isinstance(checkpoint, Checkpoint)
    rule = "must be given beside a folder of checkpoints, or to Checkpoint"
    require(every is None or of_folder, "every", rule, every)
    asked = [one for one in callbacks if isinstance(one, SavedInLoop)]
    found = list(asked)
    if isinstance(checkpoint, Checkpoint):
        found.append(checkpoint)
    elif checkpoint is not None:
        found.append(Checkpoint(checkpoint, every=every or EVERY))
    if not found:
        return Unsaved()
    require(len(found) == 1, "checkpoint", "must be the only one of a fit", len(found))
    others = [type(one).__name__ for one in callbacks if isinstance(one, keras.callbacks.BackupAndRestore)]
    require(not others, "callbacks", "must not restore training beside a checkpoint", others)
    for one in asked:
        one.in_loop = True
    return found[0].saver_in_loop(model)
