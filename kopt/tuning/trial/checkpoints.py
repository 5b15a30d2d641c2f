"""Checkpoints of trials: the weights of the best epoch to load, and the state of training to go on from."""

import contextlib
import os
import pathlib
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from kopt import distribute
from kopt.training.checkpoint.between_epochs import content_between_epochs, put_back_between_epochs
from kopt.training.checkpoint.callback import SavedInLoop
from kopt.training.checkpoint.content import Content
from kopt.training.checkpoint.every import Every
from kopt.training.checkpoint.fingerprint import fingerprint
from kopt.training.checkpoint.options import EVERY, Options
from kopt.training.checkpoint.saver import Saver
from kopt.training.checkpoint.unsaved import Run, Unsaved
from kopt.tuning.trial.progress import BEST, Progress, StartAnew
from kopt.tuning.trial.undeclared import Undeclared
from kopt.values.checks import require
from kopt.values.moved_names import moved_names
from kopt.values.types import CallbackState, KerasCallback, KerasModel, Logs, Objective

__all__ = ["TrialCheckpoint", "write_best"]
__getattr__ = moved_names(
    __name__,
    {
        "Checkpoint": "TrialCheckpoint",
        "discard": "kopt.tuning.trial.progress.discard",
        "keep_checkpoints": "kopt.tuning.trial.progress.keep_checkpoints",
    },
)


class TrialCheckpoint(SavedInLoop):
    """Save the weights of a trial's best epoch, and a checkpoint from which another process goes on with the trial.

    A trial that kopt's Loop trains has the checkpoints of `kopt.callbacks.Checkpoint`: each 30 s, in mid-epoch too,
    with the place in the data. In Keras' fit and in loops of the user's that call `on_train_begin` once and begin with
    the epoch `initial_epoch`, as fit does, one is written at the end of each epoch; the order of the examples begins
    anew. In any other loop, which calls only `set_model` and `on_epoch_end`, the best epoch is saved.

    Callbacks that define `get_state` and `set_state` have their state in it, as Keras' own; others plain attributes.

    Args:
        progress: The progress of the trial.
        objective: The objective that the best epoch optimizes; when no epoch reports it, the last epoch is saved.
        saved: The checkpoint to go on from, None where the execution begins.
        first: The number of the epoch with which a fit without Loop begins.
        made: Seed generators that the model does not hold.

    Example:
        >>> import keras, keras_tuner, numpy as np, pathlib, tempfile
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     callback = TrialCheckpoint(Progress(pathlib.Path(folder)), keras_tuner.Objective("loss", "min"))
        ...     _ = model.fit(np.eye(2), np.ones((2, 1)), epochs=2, verbose=0, callbacks=[callback])
        ...     sorted(path.name for path in pathlib.Path(folder).iterdir())
        ['checkpoint.weights.h5', 'last', 'progress.json']
    """

    def __init__(
        self,
        progress: Progress,
        objective: Objective,
        *,
        saved: Content | None = None,
        first: int = 0,
        made: Sequence[keras.random.SeedGenerator] = (),
    ):
        super().__init__()
        self.progress, self.objective, self.saved, self.made = progress, objective, saved, made
        self.beside: Sequence[KerasCallback] = ()  # the other callbacks of the fit
        self.logs: list[dict[str, float]] = []
        self.next: int | None = first  # the next epoch; None when training cannot be resumed
        self.fits = 0
        self.fingerprint: dict[str, str] = {}
        self.undeclared: Undeclared | None = None  # None before on_train_begin

    @property
    def chief(self) -> bool:
        """Whether this process writes files."""
        return distribute.is_chief(self.model.distribute_strategy)

    def begin_fit(self, model: KerasModel) -> None:
        """Note that a fit begins, of which there must be one."""
        self.fits += 1
        if self.fits > 1:
            self.refuse("it has more than one fit")
        elif distribute.is_chief(model.distribute_strategy):
            self.progress.write()

    def refuse(self, why: str) -> None:
        """Note that training cannot be resumed; raise StartAnew when it was resumed."""
        self.next = None
        if self.saved is not None:
            raise StartAnew(why)

    def saver_in_loop(self, model: KerasModel) -> Unsaved:
        self.begin_fit(model)
        # No checkpoint of a training that is complete: its result is recorded now, or it stopped for a reason that only
        # this process knows. Signals are the search's.
        return Unsaved() if self.next is None else TrialSaver(options_of(self.progress), model)

    def on_train_begin(self, logs: Logs = None) -> None:
        self.undeclared = Undeclared(self.beside)
        if self.in_loop:
            return
        self.begin_fit(self.model)
        self.fingerprint = fingerprint(self.model, self.model.train_step, {})
        if self.saved is not None:
            called, folder = [*self.beside, self], self.progress.checkpoints.folder
            with beginning_anew(True):
                states = self.saved.values["callbacks"]
                put_back_between_epochs(self.saved, self.model, called, states, self.fingerprint, str(folder))

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        if not self.in_loop and epoch != self.next:
            self.refuse(f"its fit does not begin with epoch {self.next}")

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if not self.in_loop and (self.undeclared is None or epoch != self.next):
            self.refuse(f"its fit does not begin with epoch {self.next}")
        self.next = None if self.next is None else epoch + 1
        logs = logs or {}
        self.logs.append({name: float(value) for name, value in logs.items() if np.ndim(value) == 0})
        best = self.is_best(logs)
        if best and self.chief:
            self.save_best()
        # No checkpoint when the fit is about to stop: a process that dies now goes on from the epoch before.
        stops = vars(self.model).get("stop_training", False)  # which a model that is not compiled does not have
        if not (self.in_loop or stops) and self.next is not None and self.chief:
            self.save(self.next)

    def save_best(self) -> None:
        """Write the weights of the best epoch."""
        write_best(self.model, self.progress.folder)

    def save(self, epoch: int) -> None:
        """Write the checkpoint before an epoch."""
        content = content_between_epochs(self.model, [*self.beside, self], self.fingerprint, epoch)
        with self.progress.checkpoints.locked():
            self.progress.checkpoints.write(len(self.logs), content)

    def is_best(self, logs: Logs) -> bool:
        """Return whether an epoch is the best so far; record its objective if so."""
        if not self.objective.has_value(logs):
            return self.progress.best is None  # with validation_freq, some epochs do not report it
        value, best = float(self.objective.get_value(logs)), self.progress.best
        better = np.isfinite(value) and (best is None or bool(self.objective.better_than(value, best)))
        if better:
            self.progress.best = value
        return better

    def get_state(self) -> CallbackState:
        return {
            "logs": self.logs,
            "best": self.progress.best,
            "seeds": [keras.ops.convert_to_numpy(one.state) for one in self.made],
            "undeclared": [] if self.undeclared is None else self.undeclared.changed(),
        }

    def set_state(self, state: CallbackState) -> None:
        seeds = state["seeds"]
        require(len(seeds) == len(self.made), "checkpoint", "must have this run's seed generators", len(seeds))
        for generator, value in zip(self.made, seeds):
            generator.state.assign(value)
        self.logs, self.progress.best = state["logs"], state["best"]
        if self.undeclared is not None:
            self.undeclared.restore(state["undeclared"])


def write_best(model: KerasModel, folder: pathlib.Path) -> None:
    """Write the weights of a trial's best epoch, in one atomic step.

    Args:
        model: The model that has them.
        folder: The folder of the trial.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_best(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]), pathlib.Path(folder))
        ...     [path.name for path in pathlib.Path(folder).iterdir()]
        ['checkpoint.weights.h5']
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.save_weights(folder / f"part-{BEST}", overwrite=True)
    os.replace(folder / f"part-{BEST}", folder / BEST)


def options_of(progress: Progress) -> Options:
    """Return how Loop writes the checkpoints of a trial."""
    folder = progress.checkpoints
    return Options(folder.folder, Every.of(EVERY), keep=folder.keep, signals=(), at_end=False)


class TrialSaver(Saver):
    """Writes the checkpoints of a trial while Loop trains; a trial whose checkpoint is refused begins anew."""

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            with beginning_anew(bool(self.folder.steps())):
                stack.enter_context(super().opened())
            yield

    def check(self, run: Run) -> None:
        with beginning_anew(self.saved is not None):
            super().check(run)

    def restore(self, run: Run) -> None:
        with beginning_anew(self.saved is not None):
            super().restore(run)

    def require_declared(self, callbacks: Sequence[KerasCallback]) -> None:
        """Take all callbacks: `Undeclared` has what those remember that declare no state."""


@contextlib.contextmanager
def beginning_anew(goes_on: bool) -> Iterator[None]:
    """Raise StartAnew where a checkpoint is refused."""
    try:
        yield
    except ValueError as error:
        if not goes_on:
            raise
        raise StartAnew(str(error)) from error
