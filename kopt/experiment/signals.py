"""Signals that end a run: training ends well, and what it has given is kept."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any, Self

import keras

__all__ = ["Stopping"]

# What a terminal, a cluster manager and a closed terminal send; whose meaning is changed only where it is Python's own.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stopping(keras.callbacks.Callback):
    """Turns signals into exceptions, and puts the first one off within `held`: training stops after its next steps.

    Within the block of `with`, SIGTERM and SIGHUP raise SystemExit(128 + number), as SIGINT raises KeyboardInterrupt;
    so what is half-done is put away. Within `held` the first signal only asks the training that has this callback to
    stop, and is raised at the end of `held`; the second one is raised at once. Handlers of others stay in place.

    Example:
        >>> import os
        >>> with Stopping() as stopping:
        ...     with stopping.held():
        ...         os.kill(os.getpid(), signal.SIGTERM)  # raised when the block has ended
        Traceback (most recent call last):
        SystemExit: 143

    Source:
        Folklore: Kubernetes and SLURM send SIGTERM some seconds before SIGKILL.
    """

    any_chunk = spans_epochs = True

    def __init__(self) -> None:
        super().__init__()
        self.holding = False
        self.received: int | None = None
        self.before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        ours = (signal.SIG_DFL, signal.default_int_handler)
        if threading.current_thread() is threading.main_thread():  # Python allows handlers there only
            self.before = {number: old for number in SIGNALS if (old := signal.getsignal(number)) in ours}
        for number in self.before:
            signal.signal(number, self.receive)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, old in self.before.items():
            signal.signal(number, old)

    @property
    def name(self) -> str | None:
        """The name of the signal that was put off; None for none."""
        return None if self.received is None else signal.Signals(self.received).name

    def receive(self, number: int, _: Any) -> None:
        """Handle a signal."""
        if not self.holding or self.received is not None:
            raise ended(number)
        self.received = number

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Put the first signal off to the end of the block, unless the block raises."""
        self.holding = True
        try:
            yield
        finally:
            self.holding = False
        if self.received is not None:
            raise ended(self.received)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.model.stop_training |= self.received is not None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.stop_training |= self.received is not None


def ended(number: int) -> BaseException:
    """Return the exception that a signal stands for."""
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
