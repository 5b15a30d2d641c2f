"""Columns of a table: numbers, true or false, texts, words or dates. What is not certain is refused, or said."""

import collections
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from kopt.data.cell_texts import as_texts
from kopt.data.dates import ZONED, are_iso, has_times, iso_dates, parsed_dates
from kopt.data.table import RowNumbers
from kopt.values.checks import require
from kopt.values.texts import clipped

__all__ = ["KINDS", "MISSING", "Asked", "Column", "column_of"]

# Texts that mean that a value is missing, in any case and with blanks around, but for columns that `texts` names.
MISSING = ("", "n/a", "na", "nan", "null", "none", "-", "?")
NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*", re.ASCII)
DIGITS = re.compile(r"[-+0-9.eE\s]*", re.ASCII)  # what numbers are made of
WHOLE = re.compile(r"\s*[-+]?\d+\s*", re.ASCII)
CODE = re.compile(r"\s*[-+]?0\d+\s*", re.ASCII)  # 007: a number would lose its zeros
CODES = re.compile(r"^\s*[-+]?0\d+\s*$", re.ASCII | re.MULTILINE)  # one in many lines
DATE = re.compile(r"\s*\d{4}-\d\d-\d\d([T ].*)?\s*", re.ASCII)
BOOLEANS = ({"True", "False"}, {"TRUE", "FALSE"}, {"true", "false"})
LONG = 15  # digits that a float holds
ODD_SHARE = 0.02  # of the cells of a column that may be no numbers, nor mean missing, before it is refused
LATER_SHARE = 0.5  # the same of later rows, which may be a few
WORDS, DIFFERENT = 3, 50  # a text has as many words on average, of a column with more different ones: no categories

KINDS = ("number", "flag", "text", "words", "date", "time")  # "time" is a date whose hour counts


@dataclass(frozen=True)
class Asked:
    """How a column is to be read: its name, the line of each row, and what the user or an earlier reading says.

    Example:
        >>> Asked("size", [2, 3]).called
        "column 'size'"
    """

    name: str
    lines: RowNumbers
    unit: str = "line"
    kind: str | None = None  # when it is known: one of KINDS, or "dates" for one of the two
    named: bool = False  # whether the user named the column: then 007 is a number, and "n/a" among texts a text
    strict: bool = True  # whether cells that mean missing are refused among numbers
    target: bool = False
    pattern: str = ""  # of dates
    later: bool = False  # whether later rows are read as the first were, perhaps a few

    @property
    def called(self) -> str:
        return f"column {clipped(self.name)!r}"

    def refuse(self, bad: Collection[str], rule: str, cells: Sequence[str]) -> NoReturn:
        """Refuse the first of the bad cells."""
        place = next(place for place, cell in enumerate(cells) if cell in bad)
        raise ValueError(f"{self.called} {rule}, got {clipped(cells[place])!r} in {self.unit} {self.lines[place]}.")

    def refuse_any(self, bad: Collection[str], rule: str, cells: Sequence[str]) -> None:
        """Refuse the first of the bad cells when there are any."""
        if bad:
            self.refuse(bad, rule, cells)


@dataclass(frozen=True)
class Column:
    """The values of a column, where they are missing, and what was inferred.

    Example:
        >>> Column("number", np.array([1, 0]), np.array([False, True])).notes
        ()
    """

    kind: str  # one of KINDS
    values: np.ndarray  # int64, float64, bool, object or datetime64[us]; anything where it is missing
    missing: np.ndarray
    notes: tuple[str, ...] = ()


def column_of(cells: Sequence[str] | np.ndarray, asked: Asked) -> Column:
    """Return the cells of a column as numbers, booleans, texts or points in time.

    A column of mixed kinds is refused, unless at most 2 % of the cells of a column of numbers are no numbers and
    missing values are allowed. So are other cells with digits that are not numbers (1,5, 12:30, 5 %), and whole numbers
    that begin with 0: only the user knows their meaning.

    Args:
        cells: The cells as in a file, or the array of a frame.
        asked: How to read them.

    Returns:
        The column.

    Raises:
        ValueError: When cells are of different kinds, a number is not finite, or the user must name the kind.

    Example:
        >>> column_of(["1", "2.5"], Asked("size", [2, 3])).values
        array([1. , 2.5])
        >>> column_of(["1", "n/a"], Asked("size", [2, 3]))
        Traceback (most recent call last):
        ValueError: column 'size' must be of numbers alone, or be named in texts, got 'n/a' in line 3.
        >>> found = column_of(["1", "n/a"], Asked("size", [2, 3], strict=False))
        >>> found.missing, found.notes
        (array([False,  True]), ("column 'size': 'n/a' (1) taken as missing",))
    """
    if isinstance(cells, np.ndarray):
        if asked.kind not in ("text", "words") or cells.dtype.kind == "O":
            return of_array(cells, asked)
        is_date = cells.dtype.kind == "M"
        require(not is_date, asked.called, "must hold texts, and no points in time, as in training", cells.dtype.name)
        cells = as_texts(cells)
    if asked.kind == "text" and asked.named:
        return Column("text", np.array(cells, object), mask(cells, {""}))
    return (plain_numbers(cells) if asked.kind in (None, "number") else None) or of_texts(cells, asked)


def plain_numbers(cells: Sequence[str]) -> Column | None:
    """Return a column in which every cell is a number or empty and none needs a closer look, else None.

    It looks at all cells as one text, and not at each.
    """
    lacks = "" in cells
    filled = [cell or "0" for cell in cells] if lacks else cells
    lines = "\n".join(filled)
    if not DIGITS.fullmatch(lines) or CODES.search(lines) or not any(cells):
        return None
    if max(map(len, filled)) > LONG and any(len(cell) > LONG and "." not in cell for cell in filled):
        return None
    try:
        values = np.fromiter(map(float, filled), "float64", len(filled))
    except ValueError:
        return None
    whole = not any(mark in lines for mark in ".eE")
    values = values.astype("int64") if whole else values
    return Column("number", values, mask(cells, {""} if lacks else set())) if np.isfinite(values).all() else None


def of_texts(cells: Sequence[str], asked: Asked) -> Column:
    """Return a column whose cells are not all plain numbers."""
    different = set(cells)
    gaps = {cell for cell in different if cell.strip().lower() in MISSING}
    present = different - gaps
    kind = asked.kind or kind_of(present, asked)
    if kind == "number":
        return of_numbers(cells, asked, present, gaps)
    if kind in ("date", "time", "dates"):
        return of_dates(cells, asked, present, gaps)
    if kind == "text" and asked.kind is None:
        rule, odd = "must be of numbers such as 1.5", {cell for cell in present if is_odd(cell)}
        wrong = present - set(iso_dates(odd))
        if wrong and 2 * len(wrong) < len(present):  # dates, but for these
            rule, odd = "must be of dates as 2026-01-31 alone", wrong
        asked.refuse_any(odd, f"{rule}, or be named in texts, dates or ignore", cells)
    if kind == "flag":
        return of_flags(cells, asked, present, gaps)
    notes, lacking = gap_notes(cells, gaps, asked), mask(cells, gaps)
    values = np.array(["" if lacks else cell for cell, lacks in zip(cells, lacking)] if gaps else cells, object)
    if kind == "words" and not (asked.named or asked.later):
        notes = (*notes, f"{asked.called}: texts of several words, taken as a bag of words")
    return Column("words" if kind == "words" else "text", values, lacking, notes)


def kind_of(present: Collection[str], asked: Asked) -> str:
    """Return the kind of the different cells that are not missing."""
    if not asked.target and are_words(present):
        return "words"
    if any(map(NUMBER.fullmatch, present)):
        return "number"
    if present and any(set(present) <= pair for pair in BOOLEANS):
        return "flag"
    return "date" if not asked.target and are_iso(present) else "text"


def are_words(present: Collection[str]) -> bool:
    """Return whether texts are sentences: 3 words on average, and more than 50 different ones."""
    return len(present) > DIFFERENT and sum(len(cell.split()) for cell in present) >= WORDS * len(present)


def is_odd(cell: str) -> bool:
    """Return whether a cell that is not a number has digits and no letters, or is a date: 1,5, 12:30, 5 %."""
    return bool(DATE.fullmatch(cell)) or any(map(str.isdigit, cell)) and not any(map(str.isalpha, cell))


def of_numbers(cells: Sequence[str], asked: Asked, present: set[str], gaps: set[str]) -> Column:
    """Return a column of numbers; gaps and a few other cells are missing when that is allowed."""
    odd = {cell for cell in present if not NUMBER.fullmatch(cell)}
    rule = "must be of numbers alone" + ("" if asked.named else ", or be named in texts")
    notes = gap_notes(cells, gaps, asked)
    if asked.strict:
        asked.refuse_any(odd | gaps - {""}, rule, cells)
    elif odd:
        notes = (*notes, odd_note(cells, odd, gaps, asked, rule))
    numbers = present - odd
    if asked.kind is None and not asked.named:
        codes = {cell for cell in numbers if CODE.fullmatch(cell)}
        asked.refuse_any(codes, "begins with 0, and must be named in texts or in numbers", cells)
    lacking = mask(cells, gaps | odd)
    there = cells if not gaps | odd else ["0" if lacks else cell for cell, lacks in zip(cells, lacking)]
    return Column("number", as_numbers(there, cells, numbers, asked), lacking, notes)


def odd_note(cells: Sequence[str], odd: set[str], gaps: set[str], asked: Asked, rule: str) -> str:
    """Return what to say about a few cells that are no numbers, and refuse the column when there are many."""
    counts = collections.Counter(cell for cell in cells if cell in odd)
    count, total = counts.total(), sum(cell not in gaps for cell in cells)
    if count > (LATER_SHARE if asked.later else ODD_SHARE) * total:
        asked.refuse(odd, rule, cells)
    examples = ", ".join(repr(clipped(cell, 20)) for cell, _ in counts.most_common(3))
    share = f"{100 * (1 - count / total):.1f} %"
    return f"{asked.called}: numbers, as {share} of its cells are; the others ({count}) taken as missing: {examples}"


def as_numbers(there: Sequence[str], cells: Sequence[str], numbers: set[str], asked: Asked) -> np.ndarray:
    """Return int64 when all cells are whole numbers, else float64; refuse numbers that would be rounded."""
    joined = "".join(numbers)
    whole = not any(mark in joined for mark in ".eE")
    power = 63 if whole else 53
    long = {cell for cell in numbers if len(cell.strip()) > LONG and WHOLE.fullmatch(cell)}
    large = {cell for cell in long if len(cell.strip()) > 20 or not -(2**power) <= int(cell) < 2**power}
    asked.refuse_any(large, f"must be of whole numbers below 2 ** {power}, or be named in texts", cells)
    if whole:
        return np.fromiter(map(int, there), "int64", len(there))
    values = np.fromiter(map(float, there), "float64", len(there))
    if not np.isfinite(values).all():
        endless = {cell for cell in numbers if not math.isfinite(float(cell))}
        asked.refuse_any(endless, "must be of finite numbers", cells)
    return values


def of_dates(cells: Sequence[str], asked: Asked, present: set[str], gaps: set[str]) -> Column:
    """Return a column of points in time."""
    points = parsed_dates(present, asked.pattern)
    rule = f"must be of dates as 2026-01-31, or have their pattern in dates=('{clipped(asked.name)}=%d/%m/%Y',)"
    asked.refuse_any(present - set(points), rule, cells)
    never = np.datetime64("NaT", "us")
    known = {cell: points[cell].astype("int64") for cell in points} | dict.fromkeys(gaps, never.astype("int64"))
    values = np.fromiter(map(known.__getitem__, cells), "int64", len(cells)).view("datetime64[us]")
    notes = gap_notes(cells, gaps, asked)
    if any(map(ZONED.fullmatch, points)):
        notes = (*notes, f"{asked.called}: times with a zone, taken in UTC")
    return dated(values, asked, notes)


def dated(values: np.ndarray, asked: Asked, notes: tuple[str, ...] = ()) -> Column:
    """Return a column of points in time, and say that it is one when nobody did."""
    kind = "time" if asked.kind == "time" or asked.kind != "date" and has_times(values) else "date"
    parts = "year, month, weekday and days since 1970" + (", and hour" if kind == "time" else "")
    notes = notes if asked.named or asked.later else (*notes, f"{asked.called}: dates, taken as {parts}")
    return Column(kind, values, np.isnat(values), notes)


def of_array(values: np.ndarray, asked: Asked) -> Column:
    """Return the array of a frame as a column; one of Python objects is read as texts."""
    if values.dtype.kind not in "iufbM":
        require(values.dtype.kind in "OUST", asked.called, "must hold numbers, texts or dates", values.dtype.name)
        return column_of(as_texts(values), asked)
    if values.dtype.kind == "M":
        require(not asked.target, asked.called, "must be of numbers or texts to be the target", values.dtype.name)
        return dated(values.astype("datetime64[us]"), asked)
    never = np.zeros(len(values), bool)
    if values.dtype.kind == "b":
        return Column("flag", values, never)
    fits = values.dtype.kind != "u" or int(values.max(initial=0)) < 2**63
    require(fits, asked.called, "must be of whole numbers below 2 ** 63, or of texts", values.dtype.name)
    return of_floats(values, asked) if values.dtype.kind == "f" else Column("number", values.astype("int64"), never)


def of_floats(values: np.ndarray, asked: Asked) -> Column:
    """Return floats of a frame as a column; infinities are no numbers, as in a file.

    A target of whole numbers with gaps is read as whole numbers, for pandas holds those as floats.
    """
    gaps, endless = np.isnan(values), np.isinf(values)
    notes: tuple[str, ...] = ()
    if endless.any():
        rule = "must be of finite numbers"
        cells = as_texts(values)
        if asked.strict:
            asked.refuse(("inf", "-inf"), rule, cells)
        notes = (odd_note(cells, {"inf", "-inf"}, {""}, asked, rule),)
    lacking = gaps | endless
    there = np.where(lacking, 0, values).astype("float64")
    whole = asked.target and gaps.any() and bool(np.all(there == np.floor(there)) and np.abs(there).max() < 2**53)
    return Column("number", there.astype("int64") if whole else there, lacking, notes)


def mask(cells: Sequence[str], gaps: Collection[str]) -> np.ndarray:
    """Return where cells are among the gaps."""
    return np.fromiter(map(gaps.__contains__, cells), bool, len(cells)) if gaps else np.zeros(len(cells), bool)


def gap_notes(cells: Sequence[str], gaps: set[str], asked: Asked) -> tuple[str, ...]:
    """Return what to say about texts that mean missing; about empty cells there is nothing to say."""
    counts = collections.Counter(cell for cell in cells if cell in gaps and cell) if gaps - {""} else {}
    found = ", ".join(f"{clipped(cell)!r} ({counts[cell]})" for cell in sorted(counts))
    return (f"{asked.called}: {found} taken as missing",) if found else ()


def of_flags(cells: Sequence[str], asked: Asked, present: set[str], gaps: set[str]) -> Column:
    """Return a column of true and false, or refuse cells that are neither."""
    bad = {cell for cell in present if cell.strip().lower() not in ("true", "false")}
    asked.refuse_any(bad, "must be of true and false alone", cells)
    values = mask(cells, {cell for cell in present if cell.strip().lower() == "true"})
    return Column("flag", values, mask(cells, gaps), gap_notes(cells, gaps, asked))
