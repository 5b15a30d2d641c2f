"""Where a search is kept: a journal file that survives being cut, or a database."""

import contextlib
import fcntl
import json
import logging
import os
import pathlib
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from kopt.checks import require

__all__ = ["HEARTBEAT", "Journal", "open_storage", "open_study"]

log = logging.getLogger("kopt")

HEARTBEAT = 20  # seconds between a trial's signs of life in a database
ENTRY = b'{"op_code":'  # how every entry begins
GRACE = 3 * HEARTBEAT  # seconds without one after which its process is taken for dead


class Journal(JournalFileBackend):
    """Optuna's journal file with a lock that dies with its holder, and that mends itself.

    Optuna's own lock is a link that a killed process leaves behind: all others then wait for 30 seconds. And what is
    appended after half an entry makes the file unreadable for good. This one cuts half an entry off before it appends.

    Args:
        path: The file; made where it is not there.

    Raises:
        ValueError: When the file is no journal, or broken elsewhere than at its end; it is left as it is.

    Example:
        >>> import tempfile, pathlib
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "journal.log"
        ...     Journal(path).append_logs([{"op_code": 1}])
        ...     _ = path.write_text(path.read_text() + '{"op_co')
        ...     journal = Journal(path)
        ...     journal.append_logs([{"op_code": 2}])
        ...     list(journal.read_logs(0))
        [{'op_code': 1}, {'op_code': 2}]
    """

    def __init__(self, path: str | os.PathLike[str]):
        super().__init__(str(path))
        self.path, self.size = pathlib.Path(path), 0
        with self.held() as file:
            require_journal(file, self.path)
            cut_half_entry(file, self.path)

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Read the entries from a number on."""
        self.require_grown()
        return super().read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append entries, all or none; those of a trial's state are on the disk when it returns.

        The others are there with the next one, or sooner: a process that dies loses none, a machine that does loses the
        draws of a trial that was lost with it. Waiting for the disk at each would take most of a short trial's time.
        """
        text = "".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in logs)
        with self.held() as file:
            cut_half_entry(file, self.path)
            file.seek(0, os.SEEK_END)
            file.write(text.encode())
            file.flush()
            if any("state" in entry for entry in logs):
                os.fsync(file.fileno())
            self.size = file.tell()

    def require_grown(self) -> None:
        """Refuse a file that has lost entries which this process has written."""
        size = self.path.stat().st_size
        require(
            size >= self.size, "storage", f"must not be cut while it is searched, {self.path} has fewer bytes", size
        )

    @contextlib.contextmanager
    def held(self) -> Iterator[Any]:
        """The file, while nobody else writes."""
        with open(self.path, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self.require_grown()
            yield file


def cut_half_entry(file: Any, path: pathlib.Path) -> None:
    """Cut off what follows the last whole entry: its writer died at it, or the file was cut."""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return
    file.seek(size - 1)
    if file.read(1) == b"\n":
        return
    file.seek(0)
    whole = file.read().rfind(b"\n") + 1
    file.truncate(whole)
    log.warning("%s ended within an entry: the %d bytes after the last whole one were cut off", path, size - whole)


def require_journal(file: Any, path: pathlib.Path) -> None:
    """Refuse a file that is none, or one that is broken in its middle, for nothing can tell what is missing."""
    file.seek(0)
    *lines, half = file.read().split(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            whole = "op_code" in json.loads(line)
        except (ValueError, TypeError):
            whole = False
        require(whole, "storage", f"must be a whole journal, {path} is broken in line {number}", line[:40])
    begun = half.startswith(ENTRY) or ENTRY.startswith(half)
    require(begun, "storage", f"must be a journal, {path} ends otherwise", half[:40])


def open_storage(
    storage: str | os.PathLike[str] | BaseStorage | None, folder: pathlib.Path, stale: Callable[..., Any] | None = None
) -> BaseStorage:
    """Open what a search is kept in.

    Args:
        storage: None for a journal in the folder, a journal's path, a database's URL (not one in memory alone), or any
            Optuna storage.
        folder: The search's folder.
        stale: Called with the study and a trial of a database whose process has shown no sign of life for long.

    Returns:
        The storage.

    Raises:
        ValueError: When it cannot be reached, or is broken.
        ImportError: When the database's driver is not installed.

    Example:
        >>> import tempfile, pathlib
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     open_storage(None, pathlib.Path(folder))
        <optuna.storages.journal._storage.JournalStorage object at ...>
    """
    if isinstance(storage, BaseStorage):
        return optuna.storages.get_storage(storage)
    named = storage is None or isinstance(storage, (str, os.PathLike))
    require(named, "storage", "must be a path, a database's URL or an Optuna storage", storage)
    text = str(folder / "journal.log" if storage is None else storage)
    if "://" not in text:
        try:
            return JournalStorage(Journal(text))
        except OSError as error:
            raise unreachable(text, error.strerror) from error
    in_memory = text in ("sqlite://", "sqlite:///:memory:")
    require(not in_memory, "storage", "must be kept in a file, sqlite:///search.db", text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            how: Any = {"heartbeat_interval": HEARTBEAT, "grace_period": GRACE, "heartbeat_stale_trial_callback": stale}
            return optuna.storages.get_storage(RDBStorage(text, **how))
    except (sqlalchemy.exc.DatabaseError, sqlalchemy.exc.NoSuchModuleError) as error:
        shown = sqlalchemy.engine.make_url(text).render_as_string(hide_password=True)
        raise unreachable(shown, str(error).splitlines()[0]) from error
    except sqlalchemy.exc.ArgumentError as error:
        raise ValueError("storage must be a journal's path or a database's URL, got another text.") from error


def unreachable(shown: str, reason: Any) -> ValueError:
    return ValueError(f"storage must be one that can be reached, got {shown!r} ({reason}).")


def open_study(storage: BaseStorage, name: str, directions: Sequence[str], sampler: Any, pruner: Any) -> Any:
    """Open the study of a search, or begin it.

    Args:
        storage: Where it is kept.
        name: Of the study.
        directions: "min" or "max" for each objective.
        sampler: What draws.
        pruner: What stops trials.

    Returns:
        The `optuna.Study`.

    Raises:
        ValueError: When the storage holds a study of that name that goes another way.

    Example:
        >>> import optuna
        >>> study = open_study(optuna.storages.InMemoryStorage(), "a", ["max"], None, None)
        >>> study.direction
        <StudyDirection.MAXIMIZE: 2>
    """
    asked: list[Any] = ["maximize" if direction == "max" else "minimize" for direction in directions]
    how = {"sampler": sampler, "pruner": pruner, "storage": storage, "study_name": name}
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(directions=asked, load_if_exists=True, **how)
    finally:
        optuna.logging.set_verbosity(level)
    found = [direction.name.lower() for direction in study.directions]
    require(found == asked, "objective", f"must {' and '.join(found)} as the study {name!r} in the storage does", asked)
    return study
