"""Data of the user's: arrays in memory, and CSV files."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY
from typing import Any, Literal

import numpy as np

from kopt.data.base import Baseline, Inputs, Splits, checksum, registry
from kopt.data.baselines import boosting, ridge
from kopt.data.coercion import as_inputs, as_plain, as_targets, looks_like_classes
from kopt.data.shuffled import Shuffled
from kopt.data.table import Table, column_of, read_table
from kopt.tasks.task import PlainTask
from kopt.values.checks import require, unknown
from kopt.values.places import as_path
from kopt.values.texts import clipped
from kopt.values.types import ArrayLike

__all__ = ["CSV", "Arrays", "arrays", "csv"]

KINDS = {"i": "whole numbers", "f": "numbers", "b": "true or false", "O": "texts"}  # by a NumPy type's kind
HELD: dict[str, tuple[Inputs, np.ndarray]] = {}  # by sha256, because a value holds no arrays


@registry.register
class Arrays(Shuffled):
    """The arrays of a call of `data.arrays`, by their sha256; equal arrays are equal data.

    Args:
        sha256: The sha256 of the arrays.
        task: "classification", "regression" or "forecast".
        names: Names of the classes; empty for their numbers.
        validation: The share of rows to validate on, in (0, 1).
        test: The share of rows to test on, in (0, 1 - validation).
        seed: Seed of the shuffle before the split.
        examples: Number of rows to use, for a quick try; None for all.

    Raises:
        ValueError: When an argument is out of range; when loaded, when no such arrays were given in this process.

    Example:
        >>> Arrays("0" * 64).load()
        Traceback (most recent call last):
        ValueError: sha256 must be of arrays that data.arrays(x, y) was given in this process, got '00...00'.

    Source:
        Folklore: data are named by what they are.
    """

    sha256: str
    _: KW_ONLY
    task: PlainTask = "classification"
    names: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        return self.names

    def rows(self) -> tuple[Inputs, np.ndarray, str]:
        rule = "must be of arrays that data.arrays(x, y) was given in this process"
        require(self.sha256 in HELD, "sha256", rule, self.sha256)
        return *HELD[self.sha256], self.sha256

    def baseline(self, splits: Splits) -> Baseline:
        return boosting(self, splits) if isinstance(splits.train.x, dict) else ridge(self, splits)


@registry.register
class CSV(Shuffled):
    """A table in a CSV file: columns of numbers and of texts, one of them the target.

    x: float32 and texts by column; y: (n,) int32, the number of the class in sorted order, or float32. In names of
    columns every character but letters, digits, dots and hyphens becomes "_", because layers get these names. Nothing
    is guessed: a column holds numbers (1, -2.5, 1e3), or True and False, or texts. Dates, 1,5, a number with a leading
    zero (007) and a word among numbers (NA) are refused with their line, unless `texts`, `numbers` or `ignore` names
    the column. Empty cells are missing values.

    Args:
        path: A file in UTF-8, whose first line has the names of the columns.
        target: The name of the column to predict, as in the file.
        task: "classification" or "regression".
        ignore: Columns to leave out, such as row numbers.
        texts: Columns that are read as texts, such as postal codes: they become one-hot.
        numbers: Columns that are read as numbers, though some begin with 0.
        missing: Whether rows with a missing value are refused or dropped.
        validation: The share of rows to validate on, in (0, 1).
        test: The share of rows to test on, in (0, 1 - validation).
        seed: Seed of the shuffle before the split.
        examples: Number of rows to use, for a quick try; None for all.

    Raises:
        ValueError: When loaded, when there is no such file or column, rows are not of equal length, a column is not of
            one kind, or a value is missing.

    Example:
        >>> CSV("no.csv", target="price").load()
        Traceback (most recent call last):
        ValueError: path must be of a file, got 'no.csv'.

    Source:
        Python's module csv.
    """

    path: str
    _: KW_ONLY
    target: str
    task: PlainTask = "classification"
    ignore: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    missing: Literal["refuse", "drop"] = "refuse"

    @property
    def labels(self) -> tuple[str, ...]:
        return as_targets(self.columns([self.target])[self.target], self.task)[1]

    def check(self) -> None:
        super().check()
        require(self.target not in self.ignore, "target", "must not be ignored", self.target)
        both = sorted(set(self.texts) & set(self.numbers))
        require(not both, "texts and numbers", "must name different columns", both)

    def columns(self, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Return columns by name, or all used columns for None, with the rows that are used."""
        table = self.table()
        places = self.places(table)
        rows = self.whole(table, places)
        lines = [table.lines[row] for row in rows]
        found = {}
        for name in places if names is None else names:
            cells = [table.rows[row][places[name]] for row in rows]
            found[name] = column_of(name, cells, lines, text=name in self.texts, number=name in self.numbers)
        return found

    def table(self) -> Table:
        path = as_path(self.path, "path")
        require(os.path.isfile(path), "path", "must be of a file", clipped(self.path))  # a name may be too long to ask
        return read_table(path)

    def places(self, table: Table) -> dict[str, int]:
        """Return the name and position of each used column."""
        asked = {"target": [self.target], "ignore": self.ignore, "texts": self.texts, "numbers": self.numbers}
        for kind, names in asked.items():
            for name in names:
                if name not in table.names:
                    raise unknown(kind, name, map(clipped, table.names))
        used = [name for name in table.names if name not in self.ignore]
        rule = "must have names that differ, and no empty one, but for those that ignore names"
        again = sorted({name for name in used if not name.strip() or used.count(name) > 1})
        require(not again, f"columns of {self.path}", rule, again)
        return {name: place for place, name in enumerate(table.names) if name not in self.ignore}

    def whole(self, table: Table, places: Mapping[str, int]) -> list[int]:
        """Return the numbers of the rows without a missing value."""
        lacking = {name: sum(row[place] == "" for row in table.rows) for name, place in places.items()}
        lacking = {name: count for name, count in lacking.items() if count}
        empty = [name for name, count in lacking.items() if count == len(table.rows)]
        require(not empty, "ignore", f"must name the columns of {self.path} that are empty", empty)
        rule = f"must have no missing values in {self.path}, or missing='drop' must be given"
        require(self.missing == "drop" or not lacking, "columns", rule, lacking)
        rows = [place for place, row in enumerate(table.rows) if all(row[place] for place in places.values())]
        require(len(rows) >= 30, "path", "must be of a file with >= 30 whole rows", len(rows))
        return rows

    def rows(self) -> tuple[Inputs, np.ndarray, str]:
        columns = self.columns()
        y, _ = as_targets(columns.pop(self.target), self.task)
        nameless = [clipped(name) for name in columns if not layer_name(name)]
        require(not nameless, "columns", "must have letters or digits in their names, or be ignored", nameless)
        names = [layer_name(name) for name in columns]
        require(len(set(names)) == len(names), "columns", "must differ in letters and digits", list(columns))
        return as_inputs(dict(zip(names, columns.values()))), y, self.table().sha256

    def read_as(self) -> dict[str, str]:
        found = self.columns()
        target = {"y": KINDS[found.pop(self.target).dtype.kind]}
        return {layer_name(name): KINDS[column.dtype.kind] for name, column in found.items()} | target

    def baseline(self, splits: Splits) -> Baseline:
        return boosting(self, splits)


def layer_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("_")


def arrays(x: ArrayLike, y: ArrayLike, *, task: PlainTask | None = None, **fields: Any) -> Arrays:
    """Make a data set of arrays, for a recipe; its name is the sha256 of the arrays.

    A copy of the arrays is kept until the process ends.

    Args:
        x: (n, ...) numbers, (n,) texts, or columns of either by name, (n,) each, as a dict or a pandas DataFrame.
        y: (n,) or (n, k). Texts, booleans and up to 20 different whole numbers are classes, numbered in sorted order;
            `labels` has their names. Other numbers are regression targets.
        task: "classification", "regression", or "forecast" for (n, k) coming values; None to choose by y.
        **fields: `validation`, `test`, `seed`, `names`: see `Arrays`.

    Returns:
        The data set; `data.summary` describes it.

    Raises:
        ValueError: When x or y has another kind or shape, or they do not have the same number of rows, 30 or more.

    Example:
        >>> given = arrays(np.zeros((100, 4)), np.arange(100) % 3)
        >>> given.task, given.load().train.x.shape
        ('classification', (65, 4))

    Source:
        `keras.Model.fit`.
    """
    for name in fields:
        if name not in OPTIONS:
            raise unknown("argument", name, OPTIONS)
    x, y = as_inputs(x), as_plain(y, "y")
    counts = sorted({len(column) for column in (x.values() if isinstance(x, dict) else [x])} | {len(y)})
    require(len(counts) == 1 and counts[0] >= 30, "x and y", "must have the same number of rows, >= 30", counts)
    task = task or ("classification" if looks_like_classes(y) else "regression")
    y, names = as_targets(y, task)
    given = tuple(fields.pop("names", names))
    require(len(set(given)) == len(names), "names", f"must be {len(names)} different ones, one a class", given)
    digest = of_arrays(x, y)
    HELD[digest] = x, y
    return Arrays(digest, **{"task": task, "names": given} | fields)


OPTIONS = ("validation", "test", "seed", "names", "examples")


def csv(path: str, *, target: str, task: PlainTask | None = None, **fields: Any) -> CSV:
    """Make a data set of a CSV file, for a recipe.

    Args:
        path: A file in UTF-8, whose first line has the names of the columns.
        target: The column to predict.
        task: "classification" or "regression"; None to choose by the target: texts, booleans and up to 20
            different whole numbers are classes.
        **fields: `ignore`, `texts`, `numbers`, `missing`, `validation`, `test`, `seed`: see `CSV`.

    Returns:
        The data set; `data.summary` describes it.

    Raises:
        ValueError: When there is no such file or column, rows are not of equal length, a column is not of one kind, or
            a value is missing.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
        ...     _ = file.write("size,kind,price\\n" + "\\n".join(f"{n},{'ab'[n % 2]},{n / 3}" for n in range(100)))
        ...     file.flush()
        ...     csv(file.name, target="price").task
        'regression'

    Source:
        Python's module csv.
    """
    place = str(path)
    given = CSV(place, target=target, **fields)
    looks = "classification" if looks_like_classes(given.columns([target])[target]) else "regression"
    return CSV(place, target=target, **{"task": task or looks} | fields)


def of_arrays(x: Inputs, y: np.ndarray) -> str:
    """Return the sha256 of arrays with their names, shapes and types."""
    columns = list(x.items()) if isinstance(x, dict) else [(None, x)]
    structure = repr([(name, column.shape, column.dtype.name) for name, column in [*columns, ("y", y)]])
    return checksum(np.array([structure]), *(column for _, column in columns), y)
