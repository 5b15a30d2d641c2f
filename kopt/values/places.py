"""Paths of folders and files that users give: every argument reads them alike."""

import os
import pathlib

from kopt.values.checks import require

__all__ = ["as_path"]


def as_path(value: object, name: str = "folder") -> pathlib.Path:
    """Return the path of a folder or a file; "~" stands for the user's home.

    Args:
        value: A text or a path.
        name: The name of the argument in errors.

    Returns:
        The path.

    Raises:
        ValueError: When the value is neither, is empty, holds a NUL, or names a user who is not there.

    Example:
        >>> as_path("~/runs") == pathlib.Path.home() / "runs"
        True
        >>> as_path("a\\0b")
        Traceback (most recent call last):
        ValueError: folder must be a text or a path, not empty and without NUL, got 'a\\x00b'.
    """
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    fits = isinstance(text, str) and text != "" and "\0" not in text
    require(fits, name, "must be a text or a path, not empty and without NUL", value)
    try:
        return pathlib.Path(str(text)).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{name} must begin with the home of a user who is there, got {value!r}.") from error
