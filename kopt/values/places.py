"""Paths of folders and files that users give: every argument reads them alike, and a name does not leave its folder."""

import errno
import os
import pathlib

from kopt.values.checks import require, shown

__all__ = ["as_path", "inside", "stays_in"]


def as_path(value: object, name: str = "folder") -> pathlib.Path:
    """Return the path of a folder or a file; "~" stands for the user's home.

    Args:
        value: A text or a path.
        name: The name of the argument in errors.

    Returns:
        The path.

    Raises:
        ValueError: When the value is neither, is empty, holds a NUL or other characters that no file's name has, is
            too long, or names a user who is not there.

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
        path = pathlib.Path(str(text)).expanduser()
        os.lstat(path)
    except (RuntimeError, UnicodeEncodeError, OSError) as error:
        if isinstance(error, RuntimeError):
            raise ValueError(f"{name} must begin with the home of a user who is there, got {shown(text)}.") from error
        if isinstance(error, UnicodeEncodeError) or error.errno == errno.ENAMETOOLONG:
            raise ValueError(f"{name} must be a path that the system can hold, got {shown(text)}.") from error
    return path


def inside(folder: str | os.PathLike[str], name: str, argument: str = "name") -> pathlib.Path:
    """Return the path of a name in a folder, and refuse a name that leaves the folder.

    Names come from files, trials, recipes and command lines: none of them may choose another place. The rule is the
    same on every system, so that a name that is safe on Linux is safe on Windows.

    Args:
        folder: The folder, which may itself be a link, and need not be there.
        name: A name, or several with "/" between them.
        argument: What the name is called in errors.

    Returns:
        The path, which is not resolved.

    Raises:
        ValueError: When the name is empty, absolute, has a drive, a control character or "..", or a link leads it out
            of the folder.

    Example:
        >>> inside("runs", "vision/best").as_posix()
        'runs/vision/best'
        >>> inside("runs", "../vision")
        Traceback (most recent call last):
        ValueError: name must stay in its folder, without '..', a drive, a root or control characters, got '../vision'.
    """
    windows = pathlib.PureWindowsPath(name) if isinstance(name, str) and name.isprintable() else None
    stays = windows is not None and not windows.anchor and bool(windows.parts) and ".." not in windows.parts
    require(stays, argument, "must stay in its folder, without '..', a drive, a root or control characters", name)
    path = as_path(pathlib.Path(folder) / name, argument)
    require(stays_in(path, folder), argument, "must not lead out of its folder by a link", str(name))
    return path


def stays_in(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> bool:
    """Tell whether a path is in a folder when all links are followed.

    Args:
        path: The path of a file or a folder, which need not be there.
        folder: The folder.

    Example:
        >>> stays_in("runs/a", "runs"), stays_in("runs/../b", "runs")
        (True, False)
    """
    real, root = os.path.realpath(path), os.path.realpath(folder)
    return os.path.commonpath([real, root]) == root
