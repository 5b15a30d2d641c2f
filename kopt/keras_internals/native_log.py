"""The log of TensorFlow's compiled parts, which no public function silences after TensorFlow is imported."""

import contextlib
import ctypes
import functools
import pathlib
import re
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import tensorflow as tf

FATAL = 3


class Level(NamedTuple):
    """The least severity that is logged.

    Attributes:
        read: Returns it.
        write: Sets it.
    """

    read: Callable[[], int]
    write: Callable[[int], object]


class Silence:
    """How many threads want silence, and what was logged before."""

    def __init__(self) -> None:
        self.lock, self.wanted, self.before = threading.Lock(), 0, 0


silence = Silence()


@functools.cache
def level() -> Level | None:
    """Return the level of the log; None where this build of TensorFlow does not show it."""
    package = pathlib.Path(tf.__file__).parent
    options, library = package / "include/absl/base/options.h", package / "libtensorflow_framework.so.2"
    if not (options.is_file() and library.is_file()):
        return None
    # The names of the library's functions hold its version.
    version = re.search(r"define ABSL_OPTION_INLINE_NAMESPACE_NAME (\w+)", options.read_text())
    space = f"_ZN4absl{len(version[1])}{version[1]}" if version else ""
    functions = ctypes.CDLL(str(library))
    try:
        return Level(
            functions[f"{space}11MinLogLevelEv"], functions[f"{space}14SetMinLogLevelENS0_18LogSeverityAtLeastE"]
        )
    except AttributeError:  # it has no such functions
        return None


def hide_native_log() -> None:
    """Have TensorFlow's compiled parts log nothing from now on but what ends the process."""
    log = level()
    if log is not None:
        log.write(max(FATAL, log.read()))


@contextlib.contextmanager
def without_native_errors() -> Iterator[None]:
    """Have TensorFlow's compiled parts log nothing meanwhile, in any thread; what they raise is raised.

    Of each compiled program that is loaded they say, at the level of errors, that its file is no text, and that the
    processor lacks the feature "+prefer-no-gather", which is a preference of the compiler and no feature.
    """
    log = level()
    if log is None:
        yield
        return
    with silence.lock:
        if silence.wanted == 0:
            silence.before = log.read()
            log.write(max(FATAL, silence.before))
        silence.wanted += 1
    try:
        yield
    finally:
        with silence.lock:
            silence.wanted -= 1
            if silence.wanted == 0:
                log.write(silence.before)
