"""kopt's log lines on the console."""

import contextlib
import logging
import sys
from collections.abc import Iterator

from kopt.values.moved_names import moved_names

__all__ = ["console_log"]
__getattr__ = moved_names(__name__, {"told": "console_log"})


@contextlib.contextmanager
def console_log(verbose: bool) -> Iterator[logging.Logger]:
    """Print the lines of kopt's logger within the block, when `verbose`.

    Args:
        verbose: Whether to print the lines.

    Returns:
        A context manager that gives the logger.

    Example:
        >>> with console_log(True) as log:
        ...     log.info("devices: cpu")
        devices: cpu
    """
    log, handler = logging.getLogger("kopt"), logging.StreamHandler(sys.stdout)
    level, handlers = log.level, list(log.handlers)
    if verbose:
        log.setLevel(logging.INFO)
        log.handlers = [handler]
    try:
        yield log
    finally:
        log.handlers = handlers
        log.setLevel(level)
