"""Signals that end a training: the first one is remembered, so that training can stop between two program calls."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Self, TypeAlias

from kopt.values.checks import require

__all__ = [
    "DEFAULT",
    "Interrupted",
    "Signals",
    "exception_of",
    "interrupted",
    "raise_at_once",
    "replace_handlers",
    "restore_handlers",
]

Handler: TypeAlias = Callable[[int, FrameType | None], object] | int | signal.Handlers | None

# Sent by a terminal, a cluster manager and a closed terminal; Windows has no SIGHUP.
DEFAULT = tuple(name for name in ("SIGINT", "SIGTERM", "SIGHUP") if name in signal.Signals.__members__)
# The system handles the first two itself; after a handler for the others Python runs into the same fault for ever.
UNFIT = frozenset({"SIGKILL", "SIGSTOP", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL"})

inside: list["Signals"] = []  # the blocks that the main thread is in, outermost first; use `blocks`


class Signals:
    """Remember the first signal within a block of `with`; a second signal raises at once.

    A signal becomes KeyboardInterrupt (SIGINT) or SystemExit(128 + number). The exception is raised at the end of the
    block, unless the block raises one: no signal is lost. Blocks may be nested: an inner block shares `received` with
    the outer ones, and only the end of the outermost block raises. In another thread than the main one signals are not
    received, because Python runs handlers in the main thread only. A process that is forked within the block is ended
    by its first signal. Only Python's own handlers are replaced, so a handler of the user stays in place.

    Args:
        names: Names of signals. SLURM's `--signal=USR1@60` and other warnings of a cluster manager need theirs here.

    Raises:
        ValueError: When a name is not a signal's, or no handler can receive that signal.

    Example:
        >>> with Signals(("SIGTERM", "SIGUSR1")) as signals:
        ...     signal.raise_signal(signal.SIGUSR1)
        ...     print(signals.name, signals.received == signal.SIGUSR1)
        ...     raise exception_of(signals.received)  # after a checkpoint is written
        Traceback (most recent call last):
        SystemExit: 138

    Source:
        Folklore: Kubernetes and SLURM send SIGTERM some seconds before SIGKILL.
    """

    def __init__(self, names: Sequence[str] = DEFAULT) -> None:
        require(isinstance(names, list | tuple), "signals", "must be a list of names such as 'SIGTERM'", names)
        for name in names:
            known = isinstance(name, str) and name in signal.Signals.__members__
            require(known, "signals", "must be names such as 'SIGTERM'", name)
            require(name not in UNFIT, "signals", "must be names of signals that a program can receive", name)
        self.names = tuple(names)
        self.before: dict[int, Handler] = {}
        self.process = os.getpid()
        self.first: int | None = None  # of the blocks within one another only the outermost one writes here
        self.outer: Signals | None = None

    def __enter__(self) -> Self:
        require(self not in blocks(), "signals", "must not be entered twice at a time", self.names)
        self.first, self.process, self.outer = None, os.getpid(), None
        if threading.current_thread() is threading.main_thread():
            self.outer = next(iter(blocks()), None)
            inside.append(self)
            self.before = replace_handlers(self.names, self.receive)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self in inside:
            inside.remove(self)
        restore_handlers(self.before, self.receive)
        if kind is None and self.first is not None:
            raise exception_of(self.first)

    @property
    def received(self) -> int | None:
        """The number of the first signal, or None."""
        return self.first if self.outer is None else self.outer.first

    @property
    def name(self) -> str | None:
        """The name of the first signal, or None."""
        return None if self.received is None else signal.Signals(self.received).name

    def receive(self, number: int, _: FrameType | None) -> None:
        """Remember the first signal; raise the exception of a later one."""
        if self not in blocks() or self.received is not None:
            raise exception_of(number)
        (self.outer or self).first = number


def blocks() -> list[Signals]:
    """Return the blocks that this process has entered; a forked process was born within those of its parent."""
    return [one for one in inside if one.process == os.getpid()]


def exception_of(number: int) -> BaseException:
    """Return the exception for a signal.

    Args:
        number: The number of the signal.

    Returns:
        KeyboardInterrupt for SIGINT, else SystemExit with the exit code that shells give: 128 + number.

    Example:
        >>> exception_of(signal.SIGINT), exception_of(signal.SIGTERM)
        (KeyboardInterrupt(), SystemExit(143))
    """
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)


class Interrupted(SystemExit, KeyboardInterrupt):
    """Ends a script after Ctrl-C with code 130 and no traceback, where the log has said what was stopped.

    Example:
        >>> try:
        ...     raise Interrupted(128 + signal.SIGINT)
        ... except KeyboardInterrupt as error:
        ...     error.code
        130
    """


def interrupted(error: KeyboardInterrupt) -> KeyboardInterrupt:
    """Return what to raise after Ctrl-C: `Interrupted` in a script; the error itself where a person types on.

    Args:
        error: What Ctrl-C has raised.

    Returns:
        An exception.

    Example:
        >>> interrupted(KeyboardInterrupt())
        Interrupted(130)
    """
    typed = "ps1" in vars(sys)  # set by Python's and IPython's prompts
    return error if typed else Interrupted(128 + signal.SIGINT)


def raise_at_once(number: int, _: FrameType | None) -> None:
    """Raise the exception of a signal: a handler with which clean-up code runs, which `Signals` may replace.

    Args:
        number: The number of the signal.
        _: Where the signal came.

    Raises:
        KeyboardInterrupt: For SIGINT.
        SystemExit: For another signal.

    Example:
        >>> raise_at_once(signal.SIGHUP, None)
        Traceback (most recent call last):
        SystemExit: 129
    """
    raise exception_of(number)


def replace_handlers(names: Sequence[str], handler: Handler) -> dict[int, Handler]:
    """Install a handler in place of Python's own ones and of `raise_at_once`; must run in the main thread.

    Args:
        names: Names of signals.
        handler: The handler.

    Returns:
        The handlers that were replaced, by the number of the signal.

    Example:
        >>> restore_handlers(replace_handlers(["SIGTERM"], raise_at_once), raise_at_once)
    """
    of_parent = [one.receive for one in inside if one not in blocks()]
    before: dict[int, Handler] = {}
    for number in (signal.Signals[name] for name in names):
        old = signal.getsignal(number)
        if old in (signal.SIG_DFL, signal.default_int_handler, raise_at_once, *of_parent):
            before[number] = old
            signal.signal(number, handler)
    return before


def restore_handlers(before: dict[int, Handler], handler: Handler) -> None:
    """Put handlers back, but for signals that have got another handler since.

    Args:
        before: What `replace_handlers` returned; it is empty afterwards.
        handler: The handler that was installed.

    Example:
        >>> restore_handlers({}, raise_at_once)
    """
    while before:
        number, old = before.popitem()
        if signal.getsignal(number) == handler:
            signal.signal(number, old)
