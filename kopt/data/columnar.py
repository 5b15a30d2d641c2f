"""How the columns of a table are read: which kind each is, which rows are used, and what is said about it."""

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np

from kopt.data.column import KINDS, Asked, Column, column_of
from kopt.data.shuffled import Shuffled
from kopt.data.splitting import SplitKind
from kopt.data.table import Table
from kopt.tasks.task import PlainTask
from kopt.values.checks import require, unknown
from kopt.values.texts import clipped

__all__ = ["Columnar", "Reading"]

FEWEST = 30  # rows
READINGS = 2  # of the last tables, that are kept


class Reading(NamedTuple):
    """The columns of a table, the rows of it that are used, and what was inferred."""

    columns: dict[str, Column]
    rows: np.ndarray
    notes: tuple[str, ...]

    def values(self, name: str) -> np.ndarray:
        """Return the values of a column in the used rows: texts are empty where one is missing, other values NaN."""
        column, missing = self.columns[name], self.columns[name].missing[self.rows]
        values = column.values[self.rows]
        if column.kind in ("number", "flag") and missing.any():
            return np.where(missing, np.nan, values.astype("float64"))
        return values


READ: dict[tuple["Columnar", str], Reading] = {}  # by value and sha256 of the source


class Columnar(Shuffled):
    """A table with a target, and how its columns are read; `Tabular` says how they become inputs and splits.

    Example:
        >>> from kopt.data import CSV
        >>> issubclass(CSV, Columnar)
        True
    """

    _: KW_ONLY
    task: PlainTask = "classification"
    ignore: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    missing: Literal["refuse", "drop", "impute"] = "refuse"
    dates: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    split: SplitKind = "random"
    by: str | None = None
    group: str | None = None
    kinds: tuple[tuple[str, str], ...] = ()
    names: tuple[str, ...] = ()
    reads = "tables"
    argument: ClassVar[str] = "path"  # that says where the table is

    if TYPE_CHECKING:  # a field of each table, after the one that says where it is

        @property
        def target(self) -> str: ...

    @abstractmethod
    def table(self) -> Table:
        """Return the cells of the source."""

    @abstractmethod
    def digest(self) -> str:
        """Return the sha256 of the source."""

    @property
    @abstractmethod
    def source(self) -> str:
        """What the source is called in errors."""

    @property
    def target_column(self) -> str:
        return self.target

    def check(self) -> None:
        super().check()
        require(self.target not in self.ignore, "target", "must not be ignored", self.target)
        named = [*self.texts, *self.numbers, *self.patterns(), *self.words]
        both = sorted({name for name in named if named.count(name) > 1})
        others = ", and dates and words too" if self.dates or self.words else ""
        require(not both, "texts and numbers", f"must name different columns{others}", both)
        pairs = all(len(pair) == 2 and pair[1] in KINDS for pair in self.kinds)
        require(pairs, "kinds", f"must be pairs of a column and one of {', '.join(KINDS)}", self.kinds)
        self.check_split()

    def check_split(self) -> None:
        """Refuse columns that do not go with the way of splitting."""
        if self.split == "random":
            require(self.by is None, "by", "must be None for split='random'", self.by)
        if self.split in ("time", "group", "given"):
            require(self.by is not None, "by", f"must be the name of a column for split={self.split!r}", self.by)
            require(self.by != self.target, "by", "must be of another column than the target", self.by)
        require(self.group != self.target, "group", "must be of another column than the target", self.group)

    def patterns(self) -> dict[str, str]:
        """Return the columns that the user named as dates, and how each is written."""
        return {name: pattern for name, _, pattern in (one.partition("=") for one in self.dates)}

    def key(self) -> tuple["Columnar", str]:
        """Return what a reading depends on: all fields but the shares of the splits, the task and its classes."""
        plain = dataclasses.replace(
            self, validation=0.15, test=0.2, seed=0, examples=None, task="classification", names=()
        )
        return plain, self.digest()

    def reading(self) -> Reading:
        """Return the columns of the source; the last two readings are kept."""
        key = self.key()
        if key not in READ:
            remember(key, self.read(self.table()))
        return READ[key]

    def columns(self, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Return columns by name, or all used columns for None, with the rows that are used."""
        reading = self.reading()
        return {name: reading.values(name) for name in (reading.columns if names is None else names)}

    def read(self, table: Table) -> Reading:
        """Read the used columns of a table, and choose its rows."""
        places = self.places(table)
        cells = {name: table.columns[place] for name, place in places.items()}
        empty = {name: column.count("") for name, column in cells.items() if isinstance(column, list)}
        self.require_present(empty, len(table.lines))
        columns = {}
        for name, place in places.items():
            columns[name] = column_of(cells.pop(name), self.asked(name, table))
            table.columns[place] = []  # the cells and the values of the whole table are not in memory together
        rows, notes = self.whole(columns, len(table.lines))
        return Reading(columns, rows, (*(note for column in columns.values() for note in column.notes), *notes))

    def asked(self, name: str, table: Table) -> Asked:
        """Return how a column is to be read."""
        patterns, known = self.patterns(), dict(self.kinds).get(name)
        wanted = {"text": self.texts, "number": self.numbers, "dates": patterns, "words": self.words}
        named = next((kind for kind, names in wanted.items() if name in names), None)
        kind = known if named is None or named == "dates" and known in ("date", "time") else named
        strict, target = self.missing == "refuse", name == self.target
        return Asked(name, table.lines, table.unit, kind, named is not None, strict, target, patterns.get(name, ""))

    def places(self, table: Table) -> dict[str, int]:
        """Return the name and position of each used column."""
        asked = {"target": [self.target], "ignore": self.ignore, "texts": self.texts, "numbers": self.numbers}
        asked |= {"dates": [*self.patterns()], "words": self.words}
        asked |= {kind: [name] for kind, name in (("by", self.by), ("group", self.group)) if name is not None}
        for kind, names in asked.items():
            for name in names:
                if name not in table.names:
                    raise unknown(kind, name, map(clipped, table.names))
        ignored = set(self.ignore) - {self.by, self.group}
        used = [name for name in table.names if name not in ignored]
        rule = "must have names that differ, and no empty one, but for those that ignore names"
        again = sorted({name for name in used if not name.strip() or used.count(name) > 1})
        require(not again, f"columns of {self.source}", rule, again)
        return {name: place for place, name in enumerate(table.names) if name not in ignored}

    def require_present(self, lacking: Mapping[str, int], rows: int) -> None:
        """Refuse columns without a value, and missing values when they are refused."""
        lacking = {name: count for name, count in lacking.items() if count}
        empty = [name for name, count in lacking.items() if count == rows]
        require(not empty, "ignore", f"must name the columns of {self.source} that are empty", empty)
        rule = f"must have no missing values in {self.source}, or missing='drop' or 'impute' must be given"
        require(self.missing != "refuse" or not lacking, "columns", rule, lacking)

    def whole(self, columns: Mapping[str, Column], rows: int) -> tuple[np.ndarray, list[str]]:
        """Return the rows that are used, and what is said about missing values."""
        lacking = {name: int(column.missing.sum()) for name, column in columns.items() if column.missing.any()}
        if self.missing == "refuse":
            said = [note for name in lacking for note in columns[name].notes if note.endswith("taken as missing")]
            rule = (
                f"must have no missing values in {self.source}, or missing='drop' or 'impute', or texts= must be given"
            )
            require(not said, "columns", rule, said)
        self.require_present(lacking, rows)
        needed = {self.target, self.group, self.by} if self.missing == "impute" else set(columns)
        gaps = [columns[name].missing for name in lacking if name in needed]
        kept = np.flatnonzero(~np.any(gaps, axis=0)) if gaps else np.arange(rows)
        require(len(kept) >= FEWEST, self.argument, f"must be of a file with >= {FEWEST} whole rows", len(kept))
        notes = []
        if gaps:
            where = listed({name: count for name, count in lacking.items() if name in needed})
            notes.append(f"{rows - len(kept):,} of {rows:,} rows left out for missing values: {where}")
        imputed = listed({name: int(columns[name].missing[kept].sum()) for name in lacking if name not in needed})
        return kept, [*notes, f"missing values that the model imputes: {imputed}"] if imputed else notes


def listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{clipped(name)} {count:,}" for name, count in counts.items() if count)


def remember(key: tuple[Columnar, str], reading: Reading) -> None:
    """Keep a reading, and forget the oldest one when there are more than two."""
    READ.pop(key, None)
    READ[key] = reading
    while len(READ) > READINGS:
        del READ[next(iter(READ))]
