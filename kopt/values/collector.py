"""Python's garbage collector, which walks over the million objects of Keras and TensorFlow: held back for a while."""

import contextlib
import gc
from collections.abc import Iterator

__all__ = ["frozen", "paused"]

PYTHONS_OWN = 1000  # more than Python freezes at its start, 375 objects in 3.12


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Collect no garbage while many objects are made that stay: imports, traces.

    Example:
        >>> import gc
        >>> with paused():
        ...     gc.isenabled()
        False
        >>> gc.isenabled()
        True
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def frozen() -> Iterator[None]:
    """Leave the objects that are there out of all collections; garbage that is made meanwhile is freed.

    What is garbage already is freed first. Nothing is done where the program has frozen objects of its own.

    Example:
        >>> with frozen():
        ...     collected = gc.collect()  # looks at what was made since then
        >>> gc.isenabled()
        True
    """
    if gc.get_freeze_count() > PYTHONS_OWN:
        yield
        return
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
