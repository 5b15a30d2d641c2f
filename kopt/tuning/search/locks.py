"""Place: a search's folder, where locks say which trials are still run by someone."""

import contextlib
import datetime
import fcntl
import os
import pathlib
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from typing import IO, Any

from kopt.values.checks import require

__all__ = ["RESTORE", "Heartbeat", "Place"]

RESTORE = 2.0  # seconds between looks at whether the locks are still there
PATIENCE = 5 * RESTORE  # seconds that a trial's process has to restore its lock, when all were removed


class Place:
    """A search's folder on one host, or on a file system with locks that several share.

    Whoever runs a trial holds a lock on a file of it, which the kernel frees when the process ends in whatever way: so
    that a trial whose lock is free is known to be lost at once. Locks that are removed are restored.

    Args:
        folder: The search's folder; made where it is not there.

    Raises:
        ValueError: When the folder cannot be written to.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     place = Place(root)
        ...     place.hold(7)
        ...     held = place.is_free(7)
        ...     place.drop(7)
        ...     held, place.is_free(7)
        (False, True)

    Source:
        flock(2).
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = pathlib.Path(folder)
        self.locks = self.folder / "locks"
        self.held: dict[int, IO[str]] = {}
        self.restoring = threading.Lock()
        try:
            self.locks.mkdir(parents=True, exist_ok=True)
            (self.locks / "search").touch()
        except OSError as error:
            raise ValueError(
                f"directory must be one that can be written to, got {str(folder)!r} ({error.strerror})."
            ) from error
        self.name = ""
        with self.alone():
            self.name = self.written_name(uuid.uuid4().hex)

    def written_name(self, name: str) -> str:
        """Return the folder's name, which is written once, and beside the locks again when they were removed."""
        files = self.folder / "place", self.locks / "name"
        found = next((text for file in files if file.exists() and (text := file.read_text())), name)
        for file in files:
            if not file.exists() or not file.read_text():
                file.write_text(found)
        return found

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Do something that no other process of this folder does at the same time."""
        self.restore()
        with open(self.locks / "search", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def hold(self, number: int) -> None:
        """Hold a trial's lock until the trial is released or dropped, or the process ends."""
        self.held[number] = locked(self.locks / str(number))

    def restore(self) -> None:
        """Restore the locks that were removed."""
        with self.restoring:
            if not self.folder.is_dir():
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
        """Whether nobody runs a trial."""
        if not (self.locks / str(number)).exists():
            return True
        with open(self.locks / str(number)) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    def release(self, number: int) -> None:
        """Release a trial's lock and remove its file."""
        (self.locks / str(number)).unlink(missing_ok=True)
        self.drop(number)

    def drop(self, number: int) -> None:
        """Hold a trial no longer, as if this process had ended."""
        if number in self.held:
            self.held.pop(number).close()

    def is_lost(self, trial: Any, *, own: bool, grace: float) -> bool:
        """Whether a running trial's process has ended, as far as this folder can tell; ask while `alone`.

        Args:
            trial: An Optuna trial that is recorded as running.
            own: Whether all trials of the study are run from this folder.
            grace: Seconds after which a trial of which nobody has said where it runs was lost at its very beginning.
        """
        where = trial.user_attrs.get("where")
        if where == self.name or (where is None and own):
            return self.is_free(trial.number) and not self.may_be_restored(trial)
        age = datetime.datetime.now() - trial.datetime_start
        return where is None and age.total_seconds() > grace

    def may_be_restored(self, trial: Any) -> bool:
        """Return whether a trial's lock is missing because all locks were removed, so that its process may be alive."""
        made = (self.locks / "name").stat().st_mtime
        before = trial.datetime_start.timestamp() < made and not (self.locks / str(trial.number)).exists()
        return before and time.time() - made < PATIENCE

    def clear(self) -> None:
        """Remove what a former search left.

        Raises:
            ValueError: When a process is searching here.
        """
        busy = [lock.name for lock in self.locks.iterdir() if lock.name.isdigit() and not self.is_free(int(lock.name))]
        require(not busy, "overwrite", "must be False while another process searches here, it runs trial", busy)
        for one in self.folder.iterdir():
            if one.is_dir() and one != self.locks:
                shutil.rmtree(one)
            elif one.is_file() and one.name != "place":
                one.unlink()

    def trial(self, number: Any) -> pathlib.Path:
        """A trial's folder, as KerasTuner names it."""
        return self.folder / f"trial_{number}"


def locked(path: pathlib.Path) -> IO[str]:
    file = open(path, "w")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


class Heartbeat(threading.Thread):
    """Signs of life of a running trial: its lock, and a beat in a database for processes on other hosts.

    Args:
        beat: Gives one.
        every: Seconds between them, > 0.

    Example:
        >>> beats = []
        >>> heart = Heartbeat(lambda: beats.append(1), every=60)
        >>> heart.start(); heart.stop()
        >>> len(beats)
        1
    """

    def __init__(self, beat: Any, every: float):
        super().__init__(daemon=True)
        self.beat, self.every, self.ended = beat, every, threading.Event()

    def run(self) -> None:
        """Write one at once, and then every so often until `stop`."""
        self.beat()
        while not self.ended.wait(self.every):
            self.beat()

    def stop(self) -> None:
        """Write no more."""
        self.ended.set()
        self.join()
