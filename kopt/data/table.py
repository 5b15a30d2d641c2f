"""Tables: the cells of a CSV file as texts, column by column. Nothing is guessed."""

import array
import csv
import hashlib
import io
import itertools
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, NoReturn, TypeAlias

import numpy as np

from kopt.values.checks import require
from kopt.values.texts import clipped

__all__ = ["Cells", "Table", "file_digest", "read_table"]

CHUNK = 8192  # rows that are turned into columns at a time
REPEATED = 4096  # different cells of a column up to which equal cells are one object

Cells: TypeAlias = list[str] | np.ndarray  # texts as in a file, or an array of a frame


class Table(NamedTuple):
    """The names and cells of columns, and the number of each row in its source, which is called a line or a row."""

    names: list[str]
    columns: list[Cells]
    lines: Sequence[int]
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
            return parsed(str(path), file)
        except UnicodeDecodeError as error:
            refuse_bytes(path, error)


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


def parsed(path: str, file: Iterable[str]) -> Table:
    """Return the table of the lines of a file."""
    lines = array.array("q")
    rows = rows_of(path, file, lines)
    names = next(rows, [])
    require(len(names) >= 2, "path", "must be of a CSV file with two columns or more, commas between", clipped(names))
    columns: list[list[str]] = [[] for _ in names]
    memories: list[dict[str, str]] = [{} for _ in names]
    while chunk := list(itertools.islice(rows, CHUNK)):
        for column, memory, cells in zip(columns, memories, zip(*chunk)):
            column.extend(map(memory.setdefault, cells, cells) if len(memory) < REPEATED else cells)
    return Table(names, list(columns), lines[1:])


def rows_of(path: str, file: Iterable[str], lines: "array.array[int]") -> Iterator[list[str]]:
    """Yield the rows of a file that are not empty, the names first, and note the line of each."""
    reader = csv.reader(without_nul(path, file), strict=True)
    begin, width = 1, 0
    try:
        for row in reader:
            if row:
                if width and len(row) != width:
                    refuse(path, begin, f"has {len(row)} cells for {width} columns")
                width = len(row)
                lines.append(begin)
                yield row
            begin = reader.line_num + 1
    except csv.Error as error:
        refuse(path, begin, str(error))


def without_nul(path: str, file: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a file, and refuse a NUL."""
    for number, line in enumerate(file, 1):
        if "\0" in line:
            refuse(path, number, "has a NUL")
        yield line


def refuse(path: str, line: int, why: str) -> NoReturn:
    raise ValueError(f"path must be of a CSV file with equal rows of cells, got {path!r} (line {line} {why}).")


def refuse_bytes(path: pathlib.Path, error: UnicodeDecodeError) -> NoReturn:
    """Refuse a file that is not in UTF-8, by the line of its first wrong byte."""
    content, reason, line = path.read_bytes(), error.reason, 1
    try:
        content.decode("utf-8-sig")
    except UnicodeDecodeError as whole:
        line, reason = content.count(b"\n", 0, whole.start) + 1, whole.reason
    raise ValueError(f"path must be of a CSV file in UTF-8, got {str(path)!r} (line {line}: {reason}).") from error
