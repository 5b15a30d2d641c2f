"""What kopt chose and why, on the console."""

import contextlib
import logging
import sys
from collections.abc import Iterator

__all__ = ["told"]


@contextlib.contextmanager
def told(verbose: bool) -> Iterator[logging.Logger]:
    """Give kopt's logger; within the block its lines are printed where `verbose`.

    Args:
        verbose: Whether to print them.

    Returns:
        The logger.

    Example:
        >>> with told(True) as log:
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
