"""The memory that a process may still take: the machine's, within the bound of its control group."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

__all__ = ["available_bytes"]

# The files of a control group in version 2 and in version 1: its bound, what it takes, and of that what can be dropped.
FILES = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def available_bytes(root: Path = Path("/")) -> int:
    """Return the bytes that this process may still take.

    It is the least of what the machine has, the cache of files counted as free, and of what the control groups leave
    that the process is in, as a container's.

    Args:
        root: Where the system's own files are.

    Example:
        >>> 0 < available_bytes() < 2**60
        True

    Source:
        The Linux kernel's documentation: proc(5), Control Group v2, Memory Resource Controller.
    """
    return min([of_machine(root / "proc" / "meminfo"), *of_groups(root)])


def of_machine(path: Path) -> int:
    """Return what the machine has; half of its memory where the system does not say what is free."""
    found = numbers(path)
    if "MemAvailable" in found:
        return found["MemAvailable"] * 1024
    name, share = ("SC_AVPHYS_PAGES", 1) if "SC_AVPHYS_PAGES" in os.sysconf_names else ("SC_PHYS_PAGES", 2)
    return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE") // share


def of_groups(root: Path) -> Iterator[int]:
    """Yield what each control group of the process with a bound leaves."""
    own = root / "proc" / "self" / "cgroup"
    for line in own.read_text().splitlines() if own.exists() else ():
        _, kinds, name = line.split(":", 2)
        if kinds == "" or "memory" in kinds.split(","):
            place = root / "sys" / "fs" / "cgroup" / ("memory" if kinds else "")
            inner = PurePosixPath(name.lstrip("/"))
            for folder in (inner, *inner.parents):
                yield from left_of(place / folder, FILES["memory" if kinds else ""])


def left_of(folder: Path, names: Sequence[str]) -> Iterator[int]:
    """Yield what a control group leaves of its bound; nothing where it has none."""
    bound, taken, droppable = names
    if (folder / bound).exists() and (folder / taken).exists():
        most = (folder / bound).read_text().strip()
        if most.isdigit():
            used = int((folder / taken).read_text()) - numbers(folder / "memory.stat").get(droppable, 0)
            yield max(0, int(most) - used)


def numbers(path: Path) -> dict[str, int]:
    """Return the numbers of a file of lines "name number", by their names; none where there is no file."""
    lines = [line.replace(":", " ").split() for line in path.read_text().splitlines()] if path.exists() else []
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}
