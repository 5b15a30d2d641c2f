"""Signals that end a run: training stops after its next steps, and its result is kept."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Self

import keras

from kopt.training.signals import DEFAULT, Handler, Signals, raise_at_once, replace_handlers, restore_handlers
from kopt.values.moved_names import moved_names
from kopt.values.types import CallbackState, Logs

__all__ = ["SignalStop"]
__getattr__ = moved_names(__name__, {"Stopping": "SignalStop"})


class SignalStop(keras.callbacks.Callback):
    """A callback that turns signals into exceptions, and defers the first one: training stops after its next steps.

    Within the block of `with`, SIGTERM and SIGHUP raise SystemExit(128 + number), and SIGINT raises KeyboardInterrupt,
    so that clean-up code runs. Within `deferred` the first signal asks the training with this callback to stop, and is
    raised at the end of `deferred`; a second signal is raised at once. The handlers of other code stay in place.

    Example:
        >>> import os, signal
        >>> with SignalStop() as stop:
        ...     with stop.deferred():
        ...         os.kill(os.getpid(), signal.SIGTERM)  # raised when the block has ended
        Traceback (most recent call last):
        SystemExit: 143

    Source:
        Folklore: Kubernetes and SLURM send SIGTERM some seconds before SIGKILL.
    """

    any_chunk = spans_epochs = True

    def __init__(self) -> None:
        super().__init__()
        self.signals = Signals()
        self.before: dict[int, Handler] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers there only
            self.before = replace_handlers(DEFAULT, raise_at_once)
        return self

    def __exit__(self, *_: object) -> None:
        restore_handlers(self.before, raise_at_once)

    @property
    def received(self) -> int | None:
        """The number of the deferred signal, or None."""
        return self.signals.received

    @property
    def name(self) -> str | None:
        """The name of the deferred signal, or None."""
        return self.signals.name

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Defer the first signal to the end of the block, unless the block raises."""
        with self.signals:
            yield

    def get_state(self) -> CallbackState:
        return {}  # the run that goes on has received no signal

    def set_state(self, state: CallbackState) -> None:
        """Go on without the signal that has ended the run before."""

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self.model.stop_training |= self.received is not None

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.model.stop_training |= self.received is not None
