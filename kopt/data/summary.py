"""Summaries of data: shapes, types, missing values, class balance, rows that are in two splits."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kopt.data.advice import class_warnings, column_warnings
from kopt.data.base import Data
from kopt.values.html_table import html_table
from kopt.values.moved_names import moved_names
from kopt.values.texts import clipped, printable

__all__ = ["Summary", "summary"]

__getattr__ = moved_names(__name__, {"Look": "Summary", "look": "summary"})

SHOWN = 8  # classes, or texts, that are listed
SHORT = 40  # characters of each
LINES = 20  # of a summary that a prompt shows


class Summary(NamedTuple):
    """The summary of a data set; `str` gives it as a text, a notebook shows it as a table.

    Example:
        >>> Summary((6, 2, 2), ["x: float32 (3,)"], "2 classes", 0, 1).repeated_in_test
        1
    """

    rows: tuple[int, int, int]
    columns: list[str]
    targets: str
    repeated_in_validation: int
    repeated_in_test: int
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        lines = str(self).splitlines()
        more = f"... {len(lines) - LINES} lines more, by print"
        return "\n".join(map(printable, lines if len(lines) <= LINES else [*lines[: LINES - 1], more]))

    def _repr_html_(self) -> str:
        head, *lines = str(self).splitlines()
        parts = (line.partition(": ") for line in lines)
        return html_table(head, [(name, text) for name, _, text in parts])

    def __str__(self) -> str:
        train, validation, test = (f"{count:,}" for count in self.rows)
        repeated = f"{self.repeated_in_validation} of validation, {self.repeated_in_test} of test"
        lines = [f"rows: {train} to train, {validation} to validate, {test} to test on", *self.columns, self.targets]
        said = [f"note: {printable(note)}" for note in self.notes]
        said += [f"look: {printable(warning)}" for warning in self.warnings]
        return "\n".join([*lines, f"inputs that are in training too: {repeated}", *said])


def summary(data: Data) -> Summary:
    """Summarize data before anything is trained on them.

    Args:
        data: A data set; `data.arrays` and `data.csv` make one from the user's arrays or file.

    Returns:
        The number of rows of each split; a line for each column with type, shape, range and missing values; the balance
        or range of the targets; how many rows of the other splits have inputs that the training split has too; notes,
        which say what was inferred or left out when the data were read; and warnings, which say what to look at and
        what to do: identifiers, near-constant columns, columns of many categories, classes of few rows.

    Raises:
        ImportError: When the data's package is not installed.
        ValueError: When the data cannot be loaded.

    Example:
        >>> from kopt.data import Digits
        >>> print(summary(Digits()))
        rows: 1,168 to train, 270 to validate, 359 to test on
        x: float32 (8, 8, 1), from 0 to 16, mean 4.88, 0 missing
        y: int32, 10 classes: 0 10.5 %, 1 9.9 %, ...
        inputs that are in training too: 0 of validation, 0 of test

    Source:
        Karpathy, A Recipe for Training Neural Networks, 2019: become one with the data.
    """
    splits = data.load()
    parts = (splits.train, splits.validation, splits.test)
    names = list(splits.train.x) if isinstance(splits.train.x, dict) else ["x"]
    columns = [(name, [part.x[name] if isinstance(part.x, dict) else part.x for part in parts]) for name in names]
    counts = len(splits.train.y), len(splits.validation.y), len(splits.test.y)
    kinds = data.read_as()
    lines = [described(*column, kinds.get(column[0])) for column in columns]
    validation, test = repetitions([column for _, column in columns])
    targets = balance(data, [part.y for part in parts], kinds.get("y"))
    named = dict(columns) if isinstance(splits.train.x, dict) else {}  # nobody can ignore the only input
    warnings = (*column_warnings(data, named), *class_warnings(data, [part.y for part in parts]))
    return Summary(counts, lines, targets, validation, test, data.notes(), warnings)


def described(name: str, columns: list[np.ndarray], read_as: str | None = None) -> str:
    """Return a line about a column of all splits."""
    column = np.concatenate(columns)
    name = printable(name)
    shape = f" {column.shape[1:]}" if column.ndim > 1 else ""
    if column.dtype.kind == "O":
        kinds, counts = np.unique([str(text) for text in column], return_counts=True)
        if len(kinds) > SHOWN:
            lengths = [len(str(text)) for text in column]
            sizes = f"{np.median(lengths):.0f} characters at the median, {lengths.count(0)} empty"
            return f"{name}: texts, {len(kinds):,} different, {sizes}"
        percents = [f"{100 * count / len(column):.1f} %" for count in counts]
        shares = ", ".join(f"{clipped(kind, SHORT) or 'missing'} {percent}" for kind, percent in zip(kinds, percents))
        return f"{name}: texts, {shares}"
    numbers = column.astype("float64")
    missing = int(np.isnan(numbers).sum())
    shape += f" of {read_as}" if read_as else ""
    if missing == numbers.size:
        return f"{name}: {column.dtype}{shape}, all {missing} missing"
    spread = f"from {np.nanmin(numbers):.4g} to {np.nanmax(numbers):.4g}, mean {np.nanmean(numbers):.3g}"
    return f"{name}: {column.dtype}{shape}, {spread}, {missing} missing"


def balance(data: Data, targets: list[np.ndarray], read_as: str | None) -> str:
    """Return a line about the targets: for classes, their shares in training, and the classes that training lacks."""
    if data.task != "classification":
        return described("y", targets, read_as)
    kinds, counts = np.unique(targets[0], return_counts=True)
    labels = data.labels
    called = lambda kind: clipped(labels[int(kind)], SHORT) if labels else str(int(kind))
    shares = [f"{called(kind)} {100 * count / len(targets[0]):.1f} %" for kind, count in zip(kinds, counts)]
    unseen = sorted(set(np.concatenate(targets[1:]).tolist()) - set(kinds.tolist()))
    lacking = f"; not in training: {', '.join(map(called, unseen))}" if unseen else ""
    listed = f"{', '.join(shares[:SHOWN])}{', ...' if len(shares) > SHOWN else ''}"
    origin = f" of {read_as}" if read_as else ""
    return f"y: {targets[0].dtype}{origin}, {len(kinds)} classes: {listed}{lacking}"


def repetitions(columns: Sequence[list[np.ndarray]]) -> tuple[int, int]:
    """Return how many rows of the validation and test splits are equal to a row of the training split."""
    codes = np.zeros(sum(map(len, columns[0])), "int64")
    for parts in columns:
        new = codes_of(np.concatenate(parts))
        codes = np.unique(codes * (new.max() + 1) + new, return_inverse=True)[1]
    train, validation, _ = np.cumsum([len(part) for part in columns[0]])
    seen = np.isin(codes, codes[:train])
    return int(seen[train:validation].sum()), int(seen[validation:].sum())


def codes_of(column: np.ndarray) -> np.ndarray:
    """Return a number for each row; equal rows, and those that are NaN in the same places, have equal numbers."""
    if column.dtype.kind == "O":
        known: dict[str, int] = {}
        return np.fromiter((known.setdefault(text, len(known)) for text in column), "int64", len(column))
    if column.ndim == 1:
        return np.unique(column, return_inverse=True)[1]
    rows = np.ascontiguousarray(column.reshape(len(column), -1))
    return codes_of(np.array([row.tobytes() for row in rows], object))
