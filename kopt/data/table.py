"""Tables from CSV files: cells as texts, and columns of one kind each. Nothing is guessed."""

import csv
import functools
import hashlib
import io
import math
import pathlib
import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from kopt.values.checks import require
from kopt.values.texts import clipped

__all__ = ["Table", "column_of", "read_table"]

NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*", re.ASCII)
WHOLE = re.compile(r"\s*[-+]?\d+\s*", re.ASCII)
CODE = re.compile(r"\s*[-+]?0\d+\s*", re.ASCII)  # 007: a number would lose its zeros
DATE = re.compile(r"\s*\d{4}-\d\d-\d\d([T ].*)?\s*", re.ASCII)
BOOLEANS = ({"True", "False"}, {"TRUE", "FALSE"}, {"true", "false"})


class Table(NamedTuple):
    """The cells of a CSV file: names of columns, rows of texts, and the first line of each row."""

    names: list[str]
    rows: list[list[str]]
    lines: list[int]
    sha256: str


def read_table(path: pathlib.Path) -> Table:
    """Read the cells of a CSV file as `csv.reader` does, or refuse the file.

    Args:
        path: A file in UTF-8 with commas, and quotes as in RFC 4180; empty lines are skipped.

    Returns:
        The table; equal files are parsed once.

    Raises:
        ValueError: When the file is not in UTF-8, a row has more or fewer cells than the first line, a quote is not
            closed, or there is a NUL; the error names the line.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     place = pathlib.Path(folder) / "a.csv"
        ...     _ = place.write_text('size,kind\\n1,"a, b"\\n')
        ...     read_table(place)[:3]
        (['size', 'kind'], [['1', 'a, b']], [2])

    Source:
        Python's module csv.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"path must be of a file that can be read, got {str(path)!r} ({error.strerror}).") from error
    return parsed(str(path), content)


@functools.lru_cache(maxsize=2)
def parsed(path: str, content: bytes) -> Table:
    names: list[str] = []
    rows, lines = [], []
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"path must be of a CSV file in UTF-8, got {path!r} (line {line}: {error.reason}).") from error
    if "\0" in text:
        refuse(path, text.count("\n", 0, text.index("\0")) + 1, "has a NUL")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    begin = 1
    try:
        for row in reader:
            if row and not names:
                names = row
            elif row:
                rows.append(row)
                lines.append(begin)
                if len(row) != len(names):
                    refuse(path, begin, f"has {len(row)} cells for {len(names)} columns")
            begin = reader.line_num + 1
    except csv.Error as error:
        refuse(path, begin, str(error))
    require(len(names) >= 2, "path", "must be of a CSV file with two columns or more, commas between", clipped(names))
    return Table(names, rows, lines, hashlib.sha256(content).hexdigest())


def refuse(path: str, line: int, why: str) -> None:
    raise ValueError(f"path must be of a CSV file with equal rows of cells, got {path!r} (line {line} {why}).")


def column_of(name: str, cells: Sequence[str], lines: Sequence[int], *, text: bool, number: bool) -> np.ndarray:
    """Return the cells of a column as numbers, booleans or texts.

    A column of mixed kinds is refused. So are dates and other cells with digits that are not numbers (1,5, 12:30, 5 %),
    and whole numbers that begin with 0: only the user knows their meaning.

    Args:
        name: Its name in errors.
        cells: The cells as in the file, none empty.
        lines: The line of each cell.
        text: Whether the user named the column in `texts`.
        number: Whether the user named the column in `numbers`.

    Returns:
        int64, float64, bool, or Python strings in an object array.

    Raises:
        ValueError: When cells are of different kinds, a number is not finite, or the user must name the kind.

    Example:
        >>> column_of("size", ["1", "2.5"], [2, 3], text=False, number=False)
        array([1. , 2.5])
        >>> column_of("size", ["1", "n/a"], [2, 3], text=False, number=False)
        Traceback (most recent call last):
        ValueError: column 'size' must be of numbers alone, or be named in texts, got 'n/a' in line 3.
    """
    if text:
        return np.array(cells, dtype=object)
    called = f"column {clipped(name)!r}"
    different = set(cells)
    numbers = {cell for cell in different if NUMBER.fullmatch(cell)}
    if number or numbers:
        rule = "must be of numbers alone" + ("" if number else ", or be named in texts")
        require_none(different - numbers, called, rule, cells, lines)
        codes = set() if number else {cell for cell in numbers if CODE.fullmatch(cell)}
        require_none(codes, called, "begins with 0, and must be named in texts or in numbers", cells, lines)
        return as_numbers(called, cells, lines)
    if any(different <= pair for pair in BOOLEANS):
        return np.array([cell.lower() == "true" for cell in cells])
    odd = {cell for cell in different if is_odd(cell)}
    require_none(odd, called, "must be of numbers such as 1.5, or be named in texts or ignore", cells, lines)
    return np.array(cells, dtype=object)


def is_odd(cell: str) -> bool:
    """Return whether a cell that is not a number has digits and no letters, or is a date: 1,5, 12:30, 5 %."""
    return bool(DATE.fullmatch(cell)) or any(map(str.isdigit, cell)) and not any(map(str.isalpha, cell))


def as_numbers(called: str, cells: Sequence[str], lines: Sequence[int]) -> np.ndarray:
    """Return int64 when all cells are whole numbers, else float64; refuse numbers that would be rounded."""
    different = set(cells)
    whole = {cell for cell in different if WHOLE.fullmatch(cell)}
    power = 63 if whole == different else 53
    long = {cell for cell in whole if len(cell.strip()) > 15}
    large = {cell for cell in long if len(cell.strip()) > 20 or not -(2**power) <= int(cell) < 2**power}
    require_none(large, called, f"must be of whole numbers below 2 ** {power}, or be named in texts", cells, lines)
    if whole == different:
        return np.array([int(cell) for cell in cells], "int64")
    endless = {cell for cell in different if not math.isfinite(float(cell))}
    require_none(endless, called, "must be of finite numbers", cells, lines)
    return np.array([float(cell) for cell in cells])


def require_none(bad: Collection[str], called: str, rule: str, cells: Sequence[str], lines: Sequence[int]) -> None:
    """Refuse the first of the bad cells."""
    if bad:
        place = next(place for place, cell in enumerate(cells) if cell in bad)
        raise ValueError(f"{called} {rule}, got {clipped(cells[place])!r} in line {lines[place]}.")
