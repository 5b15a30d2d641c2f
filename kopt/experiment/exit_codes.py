"""Exit codes: a script ends with a sentence and a code, not with a traceback."""

import contextlib
import os
import select
import sys
from collections.abc import Iterator

from kopt.report.not_written import NotWritten
from kopt.values.texts import printable

__all__ = ["exit_codes"]

READER_GONE = 141  # 128 + 13, as a shell gives it for a program that SIGPIPE has ended


@contextlib.contextmanager
def exit_codes() -> Iterator[None]:
    """End the program with a sentence and a code when its block is refused or stopped; also a decorator of `main`.

    Returns:
        A context manager.

    Raises:
        SystemExit: With code 2 after a `ValueError`, 1 after a model that could not be written, 130 after Ctrl-C, and
            141, without a sentence, when what reads the standard output has ended, as `head` does.

    Example:
        >>> with exit_codes():
        ...     raise ValueError("epochs must be >= 1, got 0.")
        Traceback (most recent call last):
        SystemExit: 2
    """
    try:
        with quiet_without_reader():
            yield
    except (ValueError, NotWritten) as error:
        print(f"error: {printable(error)}", file=sys.stderr)
        raise SystemExit(2 if isinstance(error, ValueError) else 1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


@contextlib.contextmanager
def quiet_without_reader() -> Iterator[None]:
    """End the program quietly when nothing reads its standard output any longer; other broken pipes are errors."""
    try:
        yield
    except BrokenPipeError:
        if not reader_is_gone():
            raise
        drop_output()
        raise SystemExit(READER_GONE) from None
    except SystemExit as ended:
        if not written_out() and not ended.code:
            raise SystemExit(READER_GONE) from None
        raise
    except BaseException:
        written_out()  # the error goes on, with or without a reader
        raise
    if not written_out():
        raise SystemExit(READER_GONE)


def written_out() -> bool:
    """Write what the standard output holds back, where there is one; return False when nothing reads it any longer.

    At the end of the process Python would print what went wrong.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        if not reader_is_gone():
            raise
        drop_output()
        return False
    return True


def drop_output() -> None:
    """Have the standard output lead to nowhere, for what it still holds back."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def reader_is_gone() -> bool:
    """Return whether the other end of the standard output, a pipe or a socket, is closed."""
    if sys.stdout is None:
        return False
    looked = select.poll()
    looked.register(sys.stdout.fileno(), 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in looked.poll(0))
