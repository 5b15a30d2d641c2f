"""Journal: a search's file that survives truncation, a power failure and the death of a writing process."""

import contextlib
import fcntl
import json
import logging
import os
import pathlib
from collections.abc import Generator, Iterator
from typing import BinaryIO

from optuna.storages.journal import JournalFileBackend

from kopt.values.checks import require
from kopt.values.types import Json

__all__ = ["Journal"]

log = logging.getLogger("kopt")

ENTRY = b'{"op_code":'  # how every entry begins


class Journal(JournalFileBackend):
    """Optuna's journal file with a lock that the kernel frees, and with repair of a damaged end.

    Optuna's own lock is a link that a killed process leaves behind: all other processes then wait for 30 seconds. And
    an entry that is appended to half an entry makes Optuna's file unreadable for good. This journal cuts half an entry
    off before it appends, and all after the first NUL, which some file systems leave after a power failure. What was
    cut off is kept in another file, whose name ends in ".cut". Empty lines are skipped.

    Args:
        path: The file; it is made when it is missing.

    Raises:
        ValueError: When the file is no journal, or is damaged before its end; the file stays as it is.

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
        self.offsets = {0: 0}  # entry -> where it begins
        with self.held() as file:
            mend(file, self.path)

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Json], None, None]:
        """Yield the whole entries from a number on; an entry that is being written is left for the next call."""
        self.require_grown()
        number = log_number_from if log_number_from in self.offsets else 0
        place = self.offsets[number]
        with open(self.path, "rb") as file:
            file.seek(place)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                place += len(line)
                if not line.strip():
                    continue
                entry = entry_of(line)
                require(entry is not None, "storage", f"must be a whole journal, {self.path} is broken", line[:40])
                assert entry is not None
                number += 1
                self.offsets[number] = place
                if number > log_number_from:
                    yield entry

    def append_logs(self, logs: list[dict[str, Json]]) -> None:
        """Append entries, all or none; entries of a trial's state are on the disk when this returns.

        Other entries reach the disk with the next of those, or sooner. When a process dies, no entry is lost; when the
        machine dies, at most draws of a trial that was lost with it. To wait for the disk at each entry would take most
        of a short trial's time.
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
        """Refuse a file that has lost entries of this process."""
        size = self.path.stat().st_size if self.path.exists() else 0
        rule = f"must not be cut while it is searched, {self.path} has fewer bytes"
        require(size >= self.size, "storage", rule, size)

    @contextlib.contextmanager
    def held(self) -> Iterator[BinaryIO]:
        """Yield the file while holding its lock."""
        self.require_grown()
        with open(self.path, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self.require_grown()
            yield file


def mend(file: BinaryIO, path: pathlib.Path) -> None:
    """Cut off what no entry can follow; refuse a file that is no journal, or lacks entries in its middle."""
    file.seek(0)
    text = file.read()
    zero = text.find(b"\0")
    whole = text[: zero if zero >= 0 else len(text)]
    *lines, half = whole.split(b"\n")
    for number, line in enumerate(lines, 1):
        rule = f"must be a whole journal, {path} is broken in line {number}"
        way = f" (`head -n {number - 1}` keeps what is before)" if number > 1 else ""
        require(not line.strip() or entry_of(line) is not None, "storage", rule + way, line[:40])
    begun = half.startswith(ENTRY) or ENTRY.startswith(half)
    journal = begun and (bool(lines) or not text[len(half) :].strip(b"\0"))
    require(journal, "storage", f"must be a journal, {path} ends otherwise", half[:40])
    cut(file, path, whole.rfind(b"\n") + 1, "a power failure" if zero >= 0 else "half an entry")


def entry_of(line: bytes) -> dict[str, Json] | None:
    """Return the entry of a line, or None when the line is none."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and "op_code" in entry else None


def cut_half_entry(file: BinaryIO, path: pathlib.Path) -> None:
    """Cut off what follows the last whole entry: its writer died, or the file was truncated."""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return
    file.seek(size - 1)
    if file.read(1) == b"\n":
        return
    file.seek(0)
    cut(file, path, file.read().rfind(b"\n") + 1, "half an entry")


def cut(file: BinaryIO, path: pathlib.Path, place: int, why: str) -> None:
    """Cut off all after a place, and keep it in another file."""
    file.seek(place)
    rest = file.read()
    if not rest:
        return
    kept = path.with_name(f"{path.name}.cut")
    with open(kept, "ab") as copy:
        copy.write(rest)
        os.fsync(copy.fileno())
    file.truncate(place)
    text = "%s ended in %s: the %d bytes after the last whole entry were cut off, and are kept in %s"
    log.warning(text, path, why, len(rest), kept)
