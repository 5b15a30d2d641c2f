"""Tables: the cells of a CSV file as texts, column by column. Nothing is guessed."""

import csv
import hashlib
import io
import itertools
import pathlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple, NoReturn, Protocol, TypeAlias

import numpy as np

from kopt.values.checks import require
from kopt.values.texts import clipped

__all__ = ["Cells", "RowNumbers", "Table", "file_digest", "read_table"]

NUL = "\0"
CHUNK = 512  # rows that are turned into columns at a time: too few lists for Python to collect garbage
REPEATED = 4096  # different cells of a column up to which equal cells are one object

Cells: TypeAlias = list[str] | np.ndarray  # texts as in a file, or an array of a frame


class RowNumbers(Protocol):
    """The number of each row in its source."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int, /) -> int: ...


class Table(NamedTuple):
    """The names and cells of columns, and the number of each row in its source, which is called a line or a row."""

    names: list[str]
    columns: list[Cells]
    lines: RowNumbers
    unit: str = "line"


def read_table(path: pathlib.Path) -> Table:
    """Read the cells of a CSV file as `csv.reader` does, or refuse the file.

    The file is read once, from its beginning to its end, and only its cells stay in memory.

    Args:
        path: A file in UTF-8 with commas, and quotes as in RFC 4180; empty lines are skipped.

    Returns:
        The table.

    Raises:
        ValueError: When the file is not in UTF-8, a row has more or fewer cells than the first line, a quote is not
            closed, or there is a NUL; the error names the line.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     place = pathlib.Path(folder) / "a.csv"
        ...     _ = place.write_text('size,kind\\n1,"a, b"\\n')
        ...     read_table(place)[:2]
        (['size', 'kind'], [['1'], ['a, b']])

    Source:
        Python's module csv.
    """
    with opened(path) as raw, io.TextIOWrapper(raw, "utf-8-sig", newline="") as file:
        try:
            table = parsed(path, csv.reader(file, strict=True))
        except UnicodeDecodeError as error:
            refuse_bytes(path, error)
        except csv.Error:
            table = None
    if table is None:  # read again, row by row: only so the line is known
        for _ in numbered(path):
            pass
        raise ValueError(f"path must be of a file that does not change while it is read, got {str(path)!r}.")
    return table


def file_digest(path: pathlib.Path) -> str:
    """Return the sha256 of a file, read in parts.

    Args:
        path: The file.

    Returns:
        64 hexadecimal digits.

    Raises:
        ValueError: When the file cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     file_digest(pathlib.Path(file.name))[:8]
        'e3b0c442'
    """
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def opened(path: pathlib.Path) -> io.BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise ValueError(f"path must be of a file that can be read, got {str(path)!r} ({error.strerror}).") from error


def parsed(path: pathlib.Path, reader: Iterator[list[str]]) -> Table | None:
    """Return the table of the rows of a file, or None when they are not equally long or have a NUL."""
    names = next((row for row in reader if row), [])
    rule = "must be of a CSV file with two columns or more, commas between"
    other = next((mark for mark in ";\t|" if len(names) == 1 and mark in names[0]), None)
    if other is not None:
        rule += f", or be given as data.frame(pandas.read_csv({clipped(path.name)!r}, sep={other!r}), ...)"
    require(len(names) >= 2, "path", rule, clipped(names))
    columns: list[list[str]] = [[] for _ in names]
    memories: list[dict[str, str]] = [{} for _ in names]
    while chunk := list(itertools.islice(reader, CHUNK)):
        rows = list(filter(None, chunk))
        if rows and set(map(len, rows)) != {len(names)} or NUL in "".join(map("".join, rows)):
            return None
        for column, memory, cells in zip(columns, memories, zip(*rows)):
            column.extend(map(memory.setdefault, cells, cells) if len(memory) < REPEATED else cells)
    return None if NUL in "".join(names) else Table(names, list(columns), Lines(path, len(columns[0])))


class Lines:
    """The line of each row of a file, for errors: the file is read again for it."""

    def __init__(self, path: pathlib.Path, rows: int):
        self.path, self.count = path, rows

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> int:
        return next(itertools.islice(numbered(self.path), row + 1, None))[0]


def numbered(path: pathlib.Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the line and the cells of each row that is not empty, the names first; refuse a row that is none."""
    with opened(path) as raw, io.TextIOWrapper(raw, "utf-8-sig", newline="") as file:
        reader = csv.reader(without_nul(path, file), strict=True)
        begin, width = 1, 0
        try:
            for row in reader:
                if row:
                    if width and len(row) != width:
                        refuse(path, begin, f"has {len(row)} cells for {width} columns")
                    width = len(row)
                    yield begin, row
                begin = reader.line_num + 1
        except csv.Error as error:
            refuse(path, begin, str(error))


def without_nul(path: pathlib.Path, file: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a file, and refuse a NUL."""
    for number, line in enumerate(file, 1):
        if NUL in line:
            refuse(path, number, "has a NUL")
        yield line


def refuse(path: pathlib.Path, line: int, why: str) -> NoReturn:
    raise ValueError(f"path must be of a CSV file with equal rows of cells, got {str(path)!r} (line {line} {why}).")


def refuse_bytes(path: pathlib.Path, error: UnicodeDecodeError) -> NoReturn:
    """Refuse a file that is not in UTF-8, by the line of its first wrong byte."""
    content, reason, line = path.read_bytes(), error.reason, 1
    try:
        content.decode("utf-8-sig")
    except UnicodeDecodeError as whole:
        line, reason = content.count(b"\n", 0, whole.start) + 1, whole.reason
    raise ValueError(f"path must be of a CSV file in UTF-8, got {str(path)!r} (line {line}: {reason}).") from error
