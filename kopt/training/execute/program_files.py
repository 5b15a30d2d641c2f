"""Files of compiled programs: whole or absent, checked before use, the oldest removed when there are too many."""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping

from kopt.values.places import as_path

LIMIT = 2**30  # bytes
DIGEST = hashlib.sha256().digest_size  # bytes at the beginning of a file
ENDING = ".xla"
UNFINISHED = ".part"
HOUR = 3600.0  # after which a file that is not finished was left by a process that has ended


@dataclasses.dataclass(frozen=True)
class ProgramFiles:
    """Compiled programs in a folder, whose subfolders are for one version of TensorFlow and one processor each.

    A file holds a digest of its name and of what follows. It is written under another name and renamed, so that any
    number of processes may read, write and remove files at once. One that is cut off or damaged is removed, not used.

    Args:
        root: The folder.
        kind: The name of the subfolder that is read and written.
        limit: Bytes that the files of all subfolders may have after `prune`.

    Example:
        >>> files = ProgramFiles(pathlib.Path(tempfile.mkdtemp()), "2.21.0-cpu")
        >>> files.write("kopt_1", "a.pb", b"code")
        >>> files.read("kopt_1"), files.read("kopt_2")
        ({'a.pb': b'code'}, {})
        >>> files.size()
        (1, 36)
    """

    root: pathlib.Path
    kind: str = "any"
    limit: int = LIMIT

    @property
    def folder(self) -> pathlib.Path:
        """The subfolder of its kind."""
        return self.root / self.kind

    def read(self, program: str) -> dict[str, bytes]:
        """Return what was written for a program, by name; nothing of files that are not whole.

        Args:
            program: The name of the program, without "__".

        Returns:
            The bytes by the names under which they were written.

        Raises:
            OSError: When files are there and cannot be read.
        """
        found: dict[str, bytes] = {}
        self.require_own()
        for path in self.folder.glob(f"{program}__*{ENDING}"):
            try:
                content = path.read_bytes()
            except FileNotFoundError:  # another process has just removed it
                continue
            name = path.name.removeprefix(f"{program}__").removesuffix(ENDING)
            whole = content[:DIGEST] == digest(name, content[DIGEST:])
            if whole:
                found[name] = content[DIGEST:]
            with contextlib.suppress(OSError):  # in a folder that may only be read
                os.utime(path) if whole else path.unlink(missing_ok=True)
        return found

    def write(self, program: str, name: str, content: bytes) -> None:
        """Write what belongs to a program, unless it has more than an eighth of the limit: large constants are in it.

        Args:
            program: The name of the program, without "__".
            name: A name, not empty.
            content: The bytes.

        Raises:
            OSError: When it cannot be written; nothing of it is left.
        """
        if len(content) > self.limit // 8:
            return
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.require_own()
        number, unfinished = tempfile.mkstemp(UNFINISHED, dir=self.folder)
        try:
            with open(number, "wb") as file:
                file.write(digest(name, content) + content)
            os.replace(unfinished, self.folder / f"{program}__{name}{ENDING}")
        except OSError:
            pathlib.Path(unfinished).unlink(missing_ok=True)
            raise

    def require_own(self) -> None:
        """Raise PermissionError where others may write the machine code that is loaded from the folder and run."""
        if os.name != "posix" or not self.folder.exists():
            return
        about = self.folder.stat()
        if about.st_uid != os.getuid() or about.st_mode & 0o022:
            raise PermissionError(f"{self.folder} belongs to another user, or others may write to it")

    def forget(self, program: str) -> None:
        """Remove what was written for a program."""
        for path in self.folder.glob(f"{program}__*{ENDING}"):
            path.unlink(missing_ok=True)

    def prune(self) -> int:
        """Remove the files that were not used for longest, until the rest is within the limit.

        Returns:
            The number of files that were removed.
        """
        ended, left, removed = time.time() - HOUR, self.limit, 0
        for path, stat in sorted(self.stats(), key=lambda found: found[1].st_mtime, reverse=True):
            whole = path.suffix == ENDING  # another process may be writing what is not
            left -= stat.st_size * whole
            if left < 0 if whole else stat.st_mtime < ended:
                path.unlink(missing_ok=True)
                removed += 1
        return removed

    def clear(self) -> int:
        """Remove all files of all subfolders.

        Returns:
            The number of files that were removed.
        """
        paths = [path for path, _ in self.stats()]
        for path in paths:
            path.unlink(missing_ok=True)
        return len(paths)

    def size(self) -> tuple[int, int]:
        """Return the number of files of all subfolders, and their bytes."""
        sizes = [stat.st_size for _, stat in self.stats()]
        return len(sizes), sum(sizes)

    def stats(self) -> Iterator[tuple[pathlib.Path, os.stat_result]]:
        """Yield the files of all subfolders with what the system says about them."""
        for ending in (ENDING, UNFINISHED):
            for path in self.root.glob(f"*/*{ending}"):
                try:
                    yield path, path.stat()
                except FileNotFoundError:  # another process has just removed it
                    continue


def digest(name: str, content: bytes) -> bytes:
    """Return what a file of a name and a content begins with."""
    return hashlib.sha256(name.encode() + b"\0" + content).digest()


def place(environment: Mapping[str, str]) -> pathlib.Path | None:
    """Return the folder of compiled programs that an environment names; None where they are not to be kept.

    Args:
        environment: Its `KOPT_CACHE` is "off", "on" or a folder; else it is `XDG_CACHE_HOME`, else ~/.cache.

    Returns:
        The folder, which may not be there. None too where the user has no home.

    Raises:
        ValueError: When `KOPT_CACHE` begins with the home of a user who is not there.

    Example:
        >>> place({"KOPT_CACHE": "/scratch/cache"}).as_posix()
        '/scratch/cache/xla'
        >>> place({"XDG_CACHE_HOME": "/home/a/.cache"}).as_posix()
        '/home/a/.cache/kopt/xla'
        >>> place({"KOPT_CACHE": "off"})
    """
    given = environment.get("KOPT_CACHE") or "on"
    if given == "off":
        return None
    if given != "on":
        return as_path(given, "KOPT_CACHE").absolute() / "xla"
    homes = environment.get("XDG_CACHE_HOME", ""), os.path.expanduser("~/.cache")
    # The standard has relative paths ignored; the second is one where the user has no home.
    absolute = [home for home in homes if os.path.isabs(home)]
    return pathlib.Path(absolute[0]) / "kopt" / "xla" if absolute else None


def processor(file: str = "/proc/cpuinfo") -> str:
    """Return what tells apart processors for which programs are compiled: model, features, how many may be used.

    Args:
        file: Where Linux says it.

    Returns:
        A text of one line.
    """
    if sys.platform != "linux":
        system = os.uname() if os.name == "posix" else os.environ.get("PROCESSOR_IDENTIFIER", "")
        return f"{sys.platform} {system} {os.cpu_count()}"
    with open(file) as lines:
        # The first processor: all of them would take long where there are hundreds.
        first = [line for line, _ in zip(iter(lines.readline, "\n"), range(64))]
    telling = ("vendor_id", "cpu family", "model", "stepping", "flags", "CPU implementer", "CPU part", "Features")
    told = sorted("".join(line.split()) for line in first if line.startswith(telling))
    return f"{' '.join(told)} {len(os.sched_getaffinity(0))}"
