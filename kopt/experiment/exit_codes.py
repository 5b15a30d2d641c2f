"""Exit codes: a script ends with a sentence and a code, not with a traceback."""

import contextlib
import sys
from collections.abc import Iterator

from kopt.report.not_written import NotWritten
from kopt.values.texts import printable

__all__ = ["exit_codes"]


@contextlib.contextmanager
def exit_codes() -> Iterator[None]:
    """End the program with a sentence and a code when its block is refused or stopped; also a decorator of `main`.

    Returns:
        A context manager.

    Raises:
        SystemExit: With code 2 after a `ValueError`, 1 after a model that could not be written, 130 after Ctrl-C.

    Example:
        >>> with exit_codes():
        ...     raise ValueError("epochs must be >= 1, got 0.")
        Traceback (most recent call last):
        SystemExit: 2
    """
    try:
        yield
    except (ValueError, NotWritten) as error:
        print(f"error: {printable(error)}", file=sys.stderr)
        raise SystemExit(2 if isinstance(error, ValueError) else 1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
