"""A run's folder: it has its name when the run has ended, and another one before."""

import contextlib
import datetime
import itertools
import logging
import os
import pathlib
import shutil
import sys
from collections.abc import Iterator

from kopt.values.places import as_path, inside
from kopt.values.texts import printable

if sys.platform != "win32":
    import fcntl

__all__ = ["left_behind", "run_folder"]

log = logging.getLogger("kopt")

UNFINISHED = ".unfinished-"
RESULTS = ("model.keras", "history.csv")  # what is worth keeping of a run that has failed


@contextlib.contextmanager
def run_folder(root: str | os.PathLike[str], recipe: str) -> Iterator[tuple[pathlib.Path, pathlib.Path]]:
    """Make a run's folder under a temporary name, and give it its own when the block ends.

    When the block raises, the folder is kept where a model or a history has been written into it, and else removed.
    Folders that a killed process has left are named in the log.

    Args:
        root: Where the recipes' folders are.
        recipe: The recipe's name.

    Returns:
        The temporary folder to write into, and what it will be called: <root>/<recipe>/<date>_<time>.

    Raises:
        ValueError: When the folder cannot be written to, or the recipe's name leads out of it; nothing has been done.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     with run_folder(root, "vision") as (unfinished, final):
        ...         written = (unfinished / "note.txt").write_text("whole")
        ...     (final / "note.txt").read_text()
        'whole'

    Source:
        Folklore: write, then rename.
    """
    parent = inside(as_path(root), recipe, "recipe")
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    try:
        unfinished, final = reserved(parent, stamp)
    except OSError as error:
        raise ValueError(f"folder must be one that can be written to, got {str(root)!r} ({error.strerror}).") from error
    with locked(unfinished):
        for sentence in left_behind(parent.parent, parent.name):
            log.warning("%s", sentence)
        try:
            yield unfinished, final
        except BaseException:
            put_away(unfinished, final)
            raise
        unfinished.rename(final)


def put_away(unfinished: pathlib.Path, final: pathlib.Path) -> None:
    """Keep the folder of a run that has failed where there is a result in it, and else remove it."""
    if any((unfinished / name).is_file() for name in RESULTS):
        unfinished.rename(final)
        log.warning("what there was is kept: %s", printable(final))
        return
    shutil.rmtree(unfinished, ignore_errors=True)
    with contextlib.suppress(OSError):  # it is not empty: other runs are there
        final.parent.rmdir()


def reserved(parent: pathlib.Path, stamp: str) -> tuple[pathlib.Path, pathlib.Path]:
    """The unfinished folder and the final name of the first that no other run has or is making."""
    parent.mkdir(parents=True, exist_ok=True)
    for count in itertools.count(1):
        name = stamp if count == 1 else f"{stamp}-{count}"
        unfinished, final = parent / f"{UNFINISHED}{name}", parent / name
        with contextlib.suppress(FileExistsError):  # another process was faster
            unfinished.mkdir()
            if not final.exists():
                return unfinished, final
            unfinished.rmdir()
    raise AssertionError


def left_behind(root: pathlib.Path, recipe: str = "*") -> list[str]:
    """Find the unfinished folders that no process is writing into any more.

    Args:
        root: Where the recipes' folders are.
        recipe: The recipe's name; all when "*".

    Returns:
        A sentence for each.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     (pathlib.Path(root) / "vision" / ".unfinished-2026").mkdir(parents=True)
        ...     print(*left_behind(pathlib.Path(root)))
        a killed run has left .../vision/.unfinished-2026, which has no model and may be removed.
    """
    return [leftover(path) for path in sorted(root.glob(f"{recipe}/{UNFINISHED}*")) if path.is_dir() and deserted(path)]


def leftover(path: pathlib.Path) -> str:
    what = "a whole model" if (path / "model.keras").is_file() else "no model"
    return f"a killed run has left {printable(path)}, which has {what} and may be removed."


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[None]:
    """Hold a folder's lock, which ends with the process, so that others see that it is at work."""
    if sys.platform == "win32":
        yield
        return
    place = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(place)


def deserted(folder: pathlib.Path) -> bool:
    """Return whether no process holds a folder's lock; False when that is unknown."""
    if sys.platform == "win32":
        return False
    try:
        place = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, or a file system without locks
        return False
    finally:
        os.close(place)
    return True
