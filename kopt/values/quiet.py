"""A quiet start: TensorFlow's notices are hidden in commands and recipe scripts, unless it cannot be imported.

`TF_CPP_MIN_LOG_LEVEL` alone does not do it: some of the notices that its libraries print while they are loaded look at
no level. Lines at the level of errors are hidden too: each machine without a GPU has one, and an error that ends
something is raised in Python. The process of any other program, and its environment, are left alone.
"""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from typing import IO

from kopt.values import parts

__all__ = ["is_quiet", "is_recipe", "quiet_imports", "without_notices"]

LEVEL = "TF_CPP_MIN_LOG_LEVEL"
FATAL = "3"
NOTICE = re.compile(
    r"WARNING: All log messages before absl::InitializeLog|To enable the following instructions: "
    r"|[EIW]\d{4} \d\d:\d\d:|\d{4}-\d\d-\d\d \d\d:\d\d:[\d.]+: [EIW] "
)


def is_recipe(text: str | None) -> bool:
    """Tell whether a program is a recipe script, by its docstring: it says by which command it runs.

    Args:
        text: The docstring; None when there is none.

    Example:
        >>> is_recipe("Digits.\\n\\nCommand   python recipes/vision.py\\nTarget    0.992\\n")
        True
        >>> is_recipe("My own program.")
        False
    """
    return any(line.startswith("Command   python ") for line in (text or "").splitlines())


def is_quiet() -> bool:
    """Tell whether this process hides notices: it is a command or a recipe script, and its user has asked for none.

    Example:
        >>> is_quiet()
        False
    """
    ours = parts.waiting() or is_recipe(sys.modules["__main__"].__doc__)
    return ours and sys.stderr is not None and os.environ.get(LEVEL, FATAL) == FATAL


@contextlib.contextmanager
def quiet_imports() -> Iterator[None]:
    """Hide the notices that are printed while a block imports TensorFlow; when it raises, print all.

    What else is printed comes when the block has ended. `TF_CPP_MIN_LOG_LEVEL=0` shows all as it comes, for a process
    that is killed by what it imports.

    Example:
        >>> with quiet_imports():
        ...     import keras
    """
    if not is_quiet():
        yield
        return
    os.environ.setdefault(LEVEL, FATAL)
    file = file_for_errors()
    if file is None:
        yield
        return
    text = ""
    try:
        with file:
            try:
                with standard_error_in(file.fileno()):
                    yield
            finally:
                file.seek(0)
                text = file.read().decode(errors="backslashreplace")
        text = without_notices(text)
    finally:
        print(text, end="", file=sys.stderr, flush=True)


def file_for_errors() -> IO[bytes] | None:
    """Open a file, or return None where the standard error is no file, or the disk has no room."""
    try:
        sys.stderr.fileno()
        return tempfile.TemporaryFile()
    except OSError:
        return None


@contextlib.contextmanager
def standard_error_in(place: int) -> Iterator[None]:
    """Have compiled code, too, write its errors into an open file meanwhile."""
    sys.stderr.flush()
    error = sys.stderr.fileno()
    before = os.dup(error)
    os.dup2(place, error)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(before, error)
        os.close(before)


def without_notices(text: str) -> str:
    """Return a log without lines of information, warnings and errors; what ends the process stays.

    Args:
        text: Lines as TensorFlow's compiled parts print them, and others.

    Example:
        >>> without_notices("I0000 00:00:17 1 port.cc:153] oneDNN\\nF0000 00:00:17 1 cpu.cc:3] no AVX\\n")
        'F0000 00:00:17 1 cpu.cc:3] no AVX\\n'
    """
    return "".join(line for line in text.splitlines(keepends=True) if not NOTICE.match(line))
