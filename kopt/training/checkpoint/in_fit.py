"""Checkpoints of Keras' own fit, between epochs."""

import contextlib
import logging
import pathlib
from collections.abc import Sequence

import keras

from kopt import distribute
from kopt import keras_internals as internals
from kopt.training.checkpoint.best import Best
from kopt.training.checkpoint.between_epochs import content_between_epochs, put_back_between_epochs
from kopt.training.checkpoint.callback_states import restore_states
from kopt.training.checkpoint.content import Content
from kopt.training.checkpoint.every import Due
from kopt.training.checkpoint.fingerprint import fingerprint
from kopt.training.checkpoint.folder import CheckpointFolder
from kopt.training.checkpoint.options import Options
from kopt.training.checkpoint.saver import require_declared
from kopt.training.checkpoint.writer import Writer
from kopt.values.checks import require
from kopt.values.types import KerasCallback, KerasModel, Logs

log = logging.getLogger("kopt")

# The folders that a fit of this process trains in: one that raised could not give its folder back.
open_folders: dict[pathlib.Path, contextlib.ExitStack] = {}


class FitSaver:
    """Writes checkpoints between the epochs of Keras' fit, and puts training back there.

    Not saved, for fit does not show it: the position in the order of the examples, which begins anew.

    Args:
        options: Where and how often.
        model: The model.
        callbacks: The callbacks of the fit, as it calls them.
        epochs: The number of the last epoch plus one.
    """

    def __init__(self, options: Options, model: KerasModel, callbacks: Sequence[KerasCallback], epochs: int):
        self.options, self.model, self.callbacks, self.epochs = options, model, list(callbacks), epochs
        self.history = next(one for one in callbacks if isinstance(one, keras.callbacks.History))
        self.folder = CheckpointFolder(options.folder, keep=options.keep)
        self.due, self.best, self.steps = Due(options.every), Best(options.keep_best), 0
        self.chief = distribute.is_chief(model.distribute_strategy)
        self.saved: Content | None = None

    def begin(self) -> None:
        """Take the folder; put the model and the user's callbacks back to the end of the last epoch, if there is one.

        Raises:
            ValueError: When the checkpoint is of another model, optimizer or callbacks.
        """
        require_declared(self.callbacks, self.options.strict)
        model = self.model
        require(model.built, "model", "must be built before fit: give it an Input, or call it", model.name)
        with model.distribute_strategy.scope():
            internals.build_optimizer(model.optimizer, model.trainable_variables)
        self.release()
        stack = contextlib.ExitStack()
        if self.chief:
            stack.enter_context(self.folder.locked())
        open_folders[self.options.folder] = stack
        self.of = fingerprint(model, model.train_step, {})
        try:
            self.writer = Writer(self.folder, on_error=self.options.on_error)
            self.saved = self.folder.read()
            if self.saved is not None:
                self.restore(self.saved)
        except BaseException:  # nothing trains in the folder, whatever refused it
            self.release()
            raise

    def restore(self, saved: Content) -> None:
        """Put the model back, and fit to the epoch; the History is put back when all callbacks have begun."""
        values = saved.values
        own = [one for one in self.callbacks if one is not self.history]
        states = [one for one in values.get("callbacks", ()) if one[0] != "History"]
        put_back_between_epochs(saved, self.model, own, states, self.of, str(self.options.folder))
        self.best.value, self.steps = values["best"], values["steps"]
        epoch, stopped = values["moment"]
        internals.start_at(self.model, self.epochs if stopped else epoch)
        log.info("checkpoint: training goes on after epoch %d", epoch)

    def begun(self) -> None:
        """Put the History back, whose own on_train_begin has come last."""
        if self.saved is not None:
            restore_states([self.history], [one for one in self.saved.values["callbacks"] if one[0] == "History"])
            self.saved = None

    def epoch_ended(self, epoch: int, steps: int, logs: Logs) -> None:
        """Write a checkpoint where one is due or training ends.

        Args:
            epoch: The number of the epoch.
            steps: Its steps.
            logs: Its logs.
        """
        self.steps += steps
        best, stopped = self.best.improves(logs), bool(self.model.stop_training)
        now = best or stopped or epoch + 1 >= self.epochs
        if not (self.due.count(steps=steps, epochs=1) or now):
            return
        content = self.content(epoch, stopped, logs)
        if self.chief and now:
            self.writer.write(self.steps, content, best=best)
        elif self.chief and not self.writer.submit(self.steps, content):
            return
        self.due.begin()

    def content(self, epoch: int, stopped: bool, logs: Logs) -> Content:
        """Return what a checkpoint holds at the end of an epoch, which the History is yet to be told."""
        history = keras.callbacks.History()
        history.epoch, before = [*self.history.epoch, epoch], self.history.history
        history.history = before | {name: [*before.get(name, ()), value] for name, value in (logs or {}).items()}
        callbacks = [history if one is self.history else one for one in self.callbacks]
        more = {"best": self.best.value, "steps": self.steps}
        return content_between_epochs(self.model, callbacks, self.of, epoch + 1, stopped=stopped, **more)

    def end(self) -> None:
        """Wait for what is written, and leave fit and the folder as they were."""
        internals.start_at(self.model, None)
        try:
            self.writer.close()
        finally:
            self.release()

    def release(self) -> None:
        """Give the folder back."""
        open_folders.pop(self.options.folder, contextlib.ExitStack()).close()
