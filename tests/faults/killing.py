"""Moments of a training at which its process kills itself: no clean-up runs, and nothing is flushed."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np

from kopt.training import epochs
from kopt.training.checkpoint import files, saver
from kopt.training.execute import base
from kopt.training.feed import sources


def die() -> None:
    """End this process at once."""
    os.kill(os.getpid(), signal.SIGKILL)


class Death(NamedTuple):
    """A moment at which a process is to end.

    Attributes:
        place: Where, among `PLACES`, or "timer".
        count: How many times that place is passed, or the seconds of the timer.
    """

    place: str
    count: float


@contextlib.contextmanager
def counted(owner: Any, name: str, count: float, act: Callable[..., Any]) -> Iterator[None]:
    """Call `act(stock, *arguments)` in place of the call of a function that has this number."""
    stock, calls = getattr(owner, name), [0]

    def called(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        return (act if calls[0] == count else _direct)(stock, *arguments, **named)

    setattr(owner, name, called)
    try:
        yield
    finally:
        setattr(owner, name, stock)


def _direct(stock: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    return stock(*arguments, **named)


def before(stock: Callable[..., Any], *arguments: Any, **named: Any) -> None:
    """Die before a call."""
    die()


def after(stock: Callable[..., Any], *arguments: Any, **named: Any) -> None:
    """Die after a call."""
    stock(*arguments, **named)
    die()


class Stopped(Exception):
    """A training that a test has stopped."""


def stop(stock: Callable[..., Any], *arguments: Any, **named: Any) -> None:
    """Raise after a call."""
    stock(*arguments, **named)
    raise Stopped


def half(stock: Callable[..., Any], file: int, data: memoryview, digest: files.Hash) -> None:
    """Die when half of some bytes are written."""
    stock(file, data[: len(data) // 2], digest)
    die()


# Name -> what is called, the greatest number of the call, and what is done then.
PLACES: dict[str, tuple[Any, str, int, Callable[..., Any]]] = {
    "after a program call": (epochs, "timed", 26, after),
    "before a program call": (epochs, "timed", 26, before),
    "at a validation's begin": (keras.callbacks.CallbackList, "on_test_begin", 3, after),
    "in a validation": (keras.callbacks.CallbackList, "on_test_batch_end", 6, after),
    "at an epoch's begin": (keras.callbacks.CallbackList, "on_epoch_begin", 3, before),
    "before on_epoch_end": (keras.callbacks.CallbackList, "on_epoch_end", 3, before),
    "after on_epoch_end": (keras.callbacks.CallbackList, "on_epoch_end", 3, after),
    "while it traces": (base.TracedStep, "trace", 2, after),
    "in a checkpoint's bytes": (files, "write_all", 150, half),
    "before a checkpoint is renamed": (os, "replace", 4, before),
    "after a checkpoint is renamed": (os, "replace", 4, after),
    "before a folder is synced": (files, "sync_folder", 4, before),
    "while it is put back": (saver, "put_back", 1, before),
    "after it is put back": (saver.Saver, "restore", 1, after),
    "while it goes to its place in the data": (sources.Source, "go_to", 1, after),
}


def drawn(random: np.random.Generator, seconds: float) -> Death:
    """Draw a moment of a training that takes so many seconds."""
    place = random.choice([*PLACES, *["after a program call"] * 3, *["timer"] * 5])
    if place == "timer":
        return Death("timer", float(random.uniform(0.05, seconds)))
    return Death(str(place), int(random.integers(1, PLACES[place][2] + 1)))


@contextlib.contextmanager
def deadly(death: Death | None) -> Iterator[None]:
    """End this process at a moment of the block, where it comes."""
    if death is None:
        yield
    elif death.place == "timer":
        timer = threading.Timer(death.count, die)
        timer.daemon = True
        timer.start()
        yield
        timer.cancel()
    else:
        owner, name, _, act = PLACES[death.place]
        with counted(owner, name, death.count, act):
            yield
