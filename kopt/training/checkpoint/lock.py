"""Lock: one training a folder, by a lock that ends with its process, however that ends."""

import contextlib
import os
import pathlib
import secrets
import socket
import sys
from collections.abc import Iterator

from kopt.training.checkpoint.files import UNFINISHED, new_file
from kopt.values.checks import require

if sys.platform != "win32":
    import fcntl

__all__ = ["locked"]

LOCK = "lock"
LONGEST_OWNER = 300  # bytes of the owner's name that are read


held: set[int] = set()  # descriptors of the locks of this process


def forget() -> None:
    """Close the locks in a forked child, which would hold them when its parent is killed."""
    for file in held:
        with contextlib.suppress(OSError):  # closed by another handler of the fork
            os.close(file)
    held.clear()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=forget)


@contextlib.contextmanager
def locked(folder: pathlib.Path, name: str = "checkpoint") -> Iterator[None]:
    """Make a folder, and hold its lock in the block.

    The lock is flock's on the file `lock`, so that none is left behind by a process that was killed. Child processes
    do not hold it. When the block raises and has written nothing, what was made for it is removed again.

    Args:
        folder: The folder.
        name: The name of the argument in errors.

    Returns:
        A context manager.

    Raises:
        ValueError: When the folder is a file, cannot be written to, or is locked by another training.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root, locked(pathlib.Path(root) / "mine"):
        ...     os.listdir(pathlib.Path(root) / "mine")
        ['lock']

    Source:
        flock(2).
    """
    require(sys.platform != "win32", name, "must be None on Windows, which has no flock", str(folder))
    before = names_in(folder)
    with taken_back(folder), opened(folder, name) as file:
        take(file, folder, name)
        try:
            yield
        except BaseException:
            alone = file in held and names_in(folder) - before == {LOCK}  # a forked child does not hold it
            with contextlib.suppress(OSError):  # the folder was made one that cannot be written to
                if alone and is_of(file, folder):
                    (folder / LOCK).unlink()
            raise


@contextlib.contextmanager
def taken_back(folder: pathlib.Path) -> Iterator[None]:
    """Remove the folders that a block has made, where it raises and nothing is in them."""
    absent = [one for one in (folder, *folder.parents) if not os.path.lexists(one)]
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # something is in one, and so in those around it
            for one in absent:
                one.rmdir()
        raise


@contextlib.contextmanager
def opened(folder: pathlib.Path, name: str) -> Iterator[int]:
    """Make a folder, and open its lock's file in a block."""
    file = prepared(folder, name)
    held.add(file)
    try:
        yield file
    finally:
        if file in held:  # not in a forked child, where it is closed
            held.remove(file)
            os.close(file)


def names_in(folder: pathlib.Path) -> set[str]:
    """Return the names of what is in a folder; none where it is none, or cannot be read."""
    return set(os.listdir(folder)) if os.path.isdir(folder) and os.access(folder, os.R_OK) else set()


def is_of(file: int, folder: pathlib.Path) -> bool:
    """Return whether an open file is the lock of a folder, and was not removed since it was opened."""
    lock = folder / LOCK
    return os.path.lexists(lock) and os.path.samestat(os.fstat(file), os.lstat(lock))


def prepared(folder: pathlib.Path, name: str) -> int:
    """Make a folder, try a file in it, and open its lock's file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial = folder / f".trial.{os.getpid()}-{secrets.token_hex(4)}{UNFINISHED}"
        try:
            with new_file(trial):
                pass
        finally:
            trial.unlink(missing_ok=True)
        return os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except FileExistsError as error:
        raise ValueError(f"{name} must be a folder, got {str(folder)!r}, which is a file.") from error
    except OSError as error:
        why = "its file `lock` is a link" if (folder / LOCK).is_symlink() else error.strerror
        raise ValueError(f"{name} must be a folder that can be written to, got {str(folder)!r} ({why}).") from error


def take(file: int, folder: pathlib.Path, name: str) -> None:
    """Take the lock and write whose it is, or refuse and say whose it is."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(file, LONGEST_OWNER, 0).decode("utf-8", "replace")
        owner = "".join(one for one in owner.strip() if one.isprintable()) or "a process that is not known"
        rule = "must be a folder that no other process trains in"
        raise ValueError(f"{name} {rule}, got {str(folder)!r} ({owner}).") from error
    require(is_of(file, folder), name, "must be a folder that no other process removes", str(folder))
    os.ftruncate(file, 0)
    os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
