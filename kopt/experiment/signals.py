"""Signals that end a run: training stops after its next steps, and its result is kept."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Self, TypeAlias

import keras

from kopt.values.moved_names import moved_names
from kopt.values.types import CallbackState, Logs

__all__ = ["SignalStop"]
__getattr__ = moved_names(__name__, {"Stopping": "SignalStop"})

Handler: TypeAlias = Callable[[int, FrameType | None], object] | int | signal.Handlers | None

# Sent by a terminal, a cluster manager and a closed terminal. Only Python's own handlers are replaced.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class SignalStop(keras.callbacks.Callback):
    """A callback that turns signals into exceptions, and defers the first one: training stops after its next steps.

    Within the block of `with`, SIGTERM and SIGHUP raise SystemExit(128 + number), and SIGINT raises KeyboardInterrupt,
    so that clean-up code runs. Within `deferred` the first signal asks the training with this callback to stop, and is
    raised at the end of `deferred`; a second signal is raised at once. The handlers of other code stay in place.

    Example:
        >>> import os
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
        self.deferring = False
        self.received: int | None = None
        self.before: dict[int, Handler] = {}

    def __enter__(self) -> Self:
        ours = (signal.SIG_DFL, signal.default_int_handler)
        if threading.current_thread() is threading.main_thread():  # Python allows handlers there only
            self.before = {number: old for number in SIGNALS if (old := signal.getsignal(number)) in ours}
        for number in self.before:
            signal.signal(number, self.receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, old in self.before.items():
            signal.signal(number, old)

    @property
    def name(self) -> str | None:
        """The name of the deferred signal, or None."""
        return None if self.received is None else signal.Signals(self.received).name

    def receive(self, number: int, _: FrameType | None) -> None:
        """Raise the exception of a signal, or remember the signal while it is deferred."""
        if not self.deferring or self.received is not None:
            raise exception_of(number)
        self.received = number

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Defer the first signal to the end of the block, unless the block raises."""
        self.deferring = True
        try:
            yield
        finally:
            self.deferring = False
        if self.received is not None:
            raise exception_of(self.received)

    def get_state(self) -> CallbackState:
        return {}  # the run that goes on has received no signal

    def set_state(self, state: CallbackState) -> None:
        """Go on without the signal that has ended the run before."""

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self.model.stop_training |= self.received is not None

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.model.stop_training |= self.received is not None


def exception_of(number: int) -> BaseException:
    """Return the exception for a signal."""
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
