"""One line in the log about where a run's data lie and whether XLA compiles its step."""

import contextlib
import logging
from collections.abc import Iterator
from contextvars import ContextVar

__all__ = ["log_choices", "one_line"]

log = logging.getLogger("kopt")

told: ContextVar[list[str] | None] = ContextVar("told", default=None)  # within `one_line`: what has been logged


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """Log the choices of the first of many runs only; those of the others are logged at DEBUG.

    A search, or a sweep of rates, is many runs. Within another `one_line`, that one rules.

    Example:
        >>> import sys
        >>> log.addHandler(handler := logging.StreamHandler(sys.stdout)); log.setLevel("INFO")
        >>> with one_line():
        ...     log_choices("engine: resident")
        ...     log_choices("engine: stream")
        engine: resident
        >>> log.removeHandler(handler); log.setLevel("NOTSET")
    """
    token = told.set(told.get() if told.get() is not None else [])
    try:
        yield
    finally:
        told.reset(token)


def log_choices(text: str) -> None:
    """Log the choices of a run: at INFO, or at DEBUG where `one_line` has had its line.

    Args:
        text: The choices.

    Example:
        >>> log_choices("engine: resident, 160 examples in batches of 32")
    """
    before = told.get()
    log.log(logging.DEBUG if before else logging.INFO, "%s", text)
    if before is not None:
        before.append(text)
