"""Unfit: what cannot be trained together, and so is trained alone."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

__all__ = ["Unfit", "becoming_unfit"]

PROGRAM = ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError
FAULTS = (*PROGRAM, tf.errors.OpError)  # what a model that is built, traced or run may raise


class Unfit(Exception):
    """Raised when recipes or trials cannot be trained together; each is then trained alone, and raises its own fault.

    Example:
        >>> raise Unfit("a model that is too large")
        Traceback (most recent call last):
        kopt.tuning.population.unfit.Unfit: a model that is too large
    """


@contextlib.contextmanager
def becoming_unfit() -> Iterator[None]:
    """Raise `Unfit` for whatever is raised in a block that belongs to no member of its own.

    Example:
        >>> with becoming_unfit():
        ...     raise ValueError("x must fit on the device")
        Traceback (most recent call last):
        kopt.tuning.population.unfit.Unfit: a ValueError together: x must fit on the device
    """
    try:
        yield
    except FAULTS as error:
        text = (str(error).strip().splitlines() or [""])[0]
        raise Unfit(f"a {type(error).__name__} together: {text}") from error
