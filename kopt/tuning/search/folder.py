"""SearchFolder: a search's folder, with a lock on a file for each trial that runs."""

import contextlib
import fcntl
import os
import pathlib
import shutil
import threading
import uuid
from collections.abc import Iterator
from typing import IO

from kopt.values.checks import require
from kopt.values.places import inside

__all__ = ["SearchFolder"]


class SearchFolder:
    """A search's folder on one host, or on a file system with locks that several hosts share.

    The process that runs a trial holds a lock on a file. The kernel frees the lock when the process ends, in whatever
    way, so a trial whose lock is free has lost its process. Lock files that somebody removes are restored.

    Args:
        path: The folder; it is made when it is missing.

    Raises:
        ValueError: When the folder cannot be written to.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     folder = SearchFolder(root)
        ...     folder.hold(7)
        ...     free = folder.is_free(7)
        ...     folder.drop(7)
        ...     free, folder.is_free(7)
        (False, True)

    Source:
        flock(2).
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = pathlib.Path(path)
        self.locks = self.path / "locks"
        self.held: dict[int, IO[str]] = {}
        self.restoring = threading.Lock()
        try:
            self.locks.mkdir(parents=True, exist_ok=True)
            (self.locks / "search").touch()
        except OSError as error:
            raise ValueError(
                f"directory must be one that can be written to, got {str(path)!r} ({error.strerror})."
            ) from error
        self.name = ""
        with self.alone():
            self.name = self.written_name(uuid.uuid4().hex)

    def written_name(self, name: str) -> str:
        """Return the folder's name, which is written once, and again beside the locks when they were removed."""
        files = self.path / "place", self.locks / "name"
        found = next((text for file in files if file.exists() and (text := file.read_text())), name)
        for file in files:
            if not file.exists() or not file.read_text():
                file.write_text(found)
        return found

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Exclude all other processes of this folder from what is done in the block."""
        self.restore()
        with open(self.locks / "search", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def hold(self, number: int) -> None:
        """Hold a trial's lock until `release` or `drop`, or until the process ends."""
        self.held[number] = locked(self.locks / str(number))

    def restore(self) -> None:
        """Restore the lock files that were removed."""
        with self.restoring:
            if not self.path.is_dir():
                return
            self.locks.mkdir(exist_ok=True)
            if self.name and not (self.locks / "name").exists():
                self.written_name(self.name)
            for number, file in list(self.held.items()):
                path = self.locks / str(number)
                if not path.exists() or not os.path.samestat(path.stat(), os.fstat(file.fileno())):
                    self.held[number] = locked(path)
                    file.close()

    def is_free(self, number: int) -> bool:
        """Return whether no process holds a trial's lock."""
        if not (self.locks / str(number)).exists():
            return True
        with open(self.locks / str(number)) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    def release(self, number: int) -> None:
        """Remove a trial's lock and its file."""
        (self.locks / str(number)).unlink(missing_ok=True)
        self.drop(number)

    def drop(self, number: int) -> None:
        """Free a trial's lock and leave its file, as if this process had ended."""
        if number in self.held:
            self.held.pop(number).close()

    def clear(self) -> None:
        """Remove what a former search left.

        Raises:
            ValueError: When a process is searching here.
        """
        busy = [lock.name for lock in self.locks.iterdir() if lock.name.isdigit() and not self.is_free(int(lock.name))]
        require(not busy, "overwrite", "must be False while another process searches here, it runs trial", busy)
        for one in self.path.iterdir():
            if one == self.locks or one.name == "place":
                continue
            if one.is_dir() and not one.is_symlink():  # what a link leads to is not the search's
                shutil.rmtree(one)
            else:
                one.unlink()

    def trial(self, number: int | str) -> pathlib.Path:
        """Return a trial's folder, as KerasTuner names it.

        Raises:
            ValueError: When the trial's name or a link leads out of the search's folder.
        """
        return inside(self.path, f"trial_{number}", "trial")


def locked(path: pathlib.Path) -> IO[str]:
    file = open(path, "w")  # noqa: SIM115 - it stays open, for it holds the lock
    fcntl.flock(file, fcntl.LOCK_EX)
    return file
