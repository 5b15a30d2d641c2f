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

from kopt.values.checks import require
from kopt.values.places import as_path, inside
from kopt.values.texts import printable

if sys.platform != "win32":
    import fcntl

__all__ = ["CHECKPOINT", "deserted", "has_checkpoint", "left_behind", "reopened_folder", "run_folder", "takes_locks"]

log = logging.getLogger("kopt")

UNFINISHED = ".unfinished-"
CHECKPOINT = "checkpoint"  # the folder of checkpoints in a run's folder, until the run is finished
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


@contextlib.contextmanager
def reopened_folder(folder: pathlib.Path) -> Iterator[tuple[pathlib.Path, pathlib.Path]]:
    """Go on in the folder of an unfinished run, and give it its own name when the block leaves a result in it.

    Nothing in it is removed, however the block ends.

    Args:
        folder: The folder.

    Returns:
        The folder to write into, and what it will be called, which may be the same.

    Raises:
        ValueError: When another process is at work in it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     folder = pathlib.Path(root) / ".unfinished-1"
        ...     folder.mkdir()
        ...     with reopened_folder(folder) as (unfinished, final):
        ...         (unfinished / "history.csv").touch()
        ...     final.name, final.is_dir()
        ('1', True)
    """
    final = folder.with_name(folder.name.removeprefix(UNFINISHED))
    with locked(folder, alone=True):
        try:
            yield folder, final
        finally:
            if folder != final and has_result(folder):
                folder.rename(final)


def has_result(folder: pathlib.Path) -> bool:
    return any((folder / name).is_file() for name in RESULTS)


def has_checkpoint(folder: pathlib.Path) -> bool:
    """Tell whether there is a checkpoint, whole or not, in a run's folder.

    Args:
        folder: The folder.

    Example:
        >>> has_checkpoint(pathlib.Path("nowhere"))
        False
    """
    return any((folder / CHECKPOINT).glob("step-*"))


def put_away(unfinished: pathlib.Path, final: pathlib.Path) -> None:
    """Keep the folder of a run that has failed where there is a result or a checkpoint, and else remove it."""
    if has_result(unfinished) or has_checkpoint(unfinished):
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
    more = ", can be gone on with by `kopt resume`" if (path / "recipe.json").is_file() else ""
    return f"a killed run has left {printable(path)}, which has {what}{more} and may be removed."


@contextlib.contextmanager
def locked(folder: pathlib.Path, alone: bool = False) -> Iterator[None]:
    """Hold a folder's lock, which ends with the process, so that others see that it is at work.

    With `alone`, raise ValueError when another process holds it.
    """
    if sys.platform == "win32":
        yield
        return
    place = os.open(folder, os.O_RDONLY)
    try:
        taken = take(place)
        require(
            not alone or taken is not False, "resume", "must be of a run that no process is at work in", str(folder)
        )
        yield
    finally:
        os.close(place)


def take(place: int) -> bool | None:
    """Take the lock of an open folder; return False when another has it, None on a file system without locks."""
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if isinstance(error, BlockingIOError) else None
    return True


def takes_locks(folder: pathlib.Path) -> bool:
    """Tell whether a folder is on a system and a file system with locks, which checkpoints need.

    Args:
        folder: The folder.

    Example:
        >>> import tempfile
        >>> takes_locks(pathlib.Path(tempfile.gettempdir()))
        True
    """
    if sys.platform == "win32":
        return False
    place = os.open(folder, os.O_RDONLY)
    try:
        return take(place) is not None
    finally:
        os.close(place)


def deserted(folder: pathlib.Path) -> bool:
    """Tell whether no process holds a folder's lock; False when that is unknown.

    Args:
        folder: The folder.

    Example:
        >>> deserted(pathlib.Path("nowhere"))
        False
    """
    if sys.platform == "win32":
        return False
    try:
        place = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    try:
        return bool(take(place))
    finally:
        os.close(place)
