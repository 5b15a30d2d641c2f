"""Folders and files that users name: one reading of them for all arguments."""

import os
import pathlib
from typing import Any

from kopt.values.checks import require

__all__ = ["as_path"]


def as_path(value: Any, name: str = "folder") -> pathlib.Path:
    """Read the name of a folder or a file, with "~" as one's home.

    Args:
        value: A text or a path.
        name: What to call it in errors.

    Returns:
        The path.

    Raises:
        ValueError: When it is neither, is empty, holds a NUL, or names a user who is not there.

    Example:
        >>> as_path("~/runs") == pathlib.Path.home() / "runs"
        True
        >>> as_path("a\\0b")
        Traceback (most recent call last):
        ValueError: folder must be a text or a path, not empty and without NUL, got 'a\\x00b'.
    """
    plain = isinstance(value, (str, os.PathLike)) and isinstance(os.fspath(value), str)
    fits = plain and os.fspath(value) != "" and "\0" not in os.fspath(value)
    require(fits, name, "must be a text or a path, not empty and without NUL", value)
    try:
        return pathlib.Path(value).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{name} must begin with the home of a user who is there, got {value!r}.") from error
