"""Tables as data: columns become inputs, for training and for later prediction, and rows three splits."""

import dataclasses
import logging
import re
from collections.abc import Iterator
from typing import Self

import numpy as np

from kopt.data.base import Baseline, Inputs, Splits
from kopt.data.baselines import boosting
from kopt.data.coercion import WHOLE, as_inputs, as_targets, looks_like_classes
from kopt.data.column import column_of
from kopt.data.columnar import Columnar, Reading, remember
from kopt.data.dates import date_numbers
from kopt.data.frames import table_of
from kopt.data.splitting import Cuts, require_apart, split_rows
from kopt.tasks.task import PlainTask
from kopt.values.checks import require
from kopt.values.columns import WORDS
from kopt.values.texts import clipped
from kopt.values.types import ArrayLike

__all__ = ["Tabular"]

log = logging.getLogger("kopt")

READ_AS = {"i": "whole numbers", "f": "numbers", "b": "true or false", "O": "texts"}  # by a NumPy type's kind
PARTS = ("date", "time", "words")  # kinds whose inputs have another ending: .year, .words
SAME = ({"number", "flag"}, {"date", "time"}, {"text", "words"})  # kinds that give inputs of one kind


class Tabular(Columnar):
    """A table of a file or of a frame: its inputs are columns by name.

    A column of dates becomes `name.year`, `name.month`, `name.weekday` and `name.days` (and `name.hour`, when some are
    not midnight); a column of words becomes `name.words`.

    Example:
        >>> from kopt.data import CSV
        >>> issubclass(CSV, Tabular)
        True
    """

    @property
    def labels(self) -> tuple[str, ...]:
        if self.names or self.task != "classification":
            return self.names
        return as_targets(self.reading().values(self.target), self.task)[1]

    @property
    def imputes(self) -> bool:
        return self.missing == "impute"

    def resolved(self, task: PlainTask | None) -> Self:
        """Return the value with the task, the kinds and the classes that were found: later tables are read alike."""
        reading = self.reading()
        y = reading.values(self.target)
        task = task or ("classification" if looks_like_classes(y) else "regression")
        kinds = tuple((name, column.kind) for name, column in reading.columns.items())
        found = dataclasses.replace(self, task=task, kinds=kinds, names=as_targets(y, task)[1])
        remember(found.key(), reading)
        return found

    def input_kinds(self) -> dict[str, str]:
        """Return the kind of each column that the model gets, from the source when `kinds` does not say it."""
        kinds = dict(self.kinds) or {name: column.kind for name, column in self.reading().columns.items()}
        out = {self.target, self.group, *self.ignore} | ({self.by} if self.split in ("group", "given") else set())
        return {name: kind for name, kind in kinds.items() if name not in out}

    def rows(self) -> tuple[Inputs, np.ndarray, str]:
        reading = self.reading()
        y, names = as_targets(reading.values(self.target), self.task)
        require(
            self.names in ((), names), "names", f"must be the classes of {clipped(self.target)!r}, {names}", self.names
        )
        return self.inputs(reading), y, self.digest()

    def inputs(self, reading: Reading) -> Inputs:
        """Return the columns of a reading as the model gets them."""
        names = list(self.input_kinds())
        require(len(names) > 0, "columns", "must be more than the target and those that are left out", names)
        nameless = [clipped(name) for name in names if not layer_name(name)]
        require(not nameless, "columns", "must have letters or digits in their names, or be ignored", nameless)
        parts = [part for name in names for part in parts_of(name, reading, rounded=name in self.numbers)]
        found = dict(parts)
        require(len(found) == len(parts), "columns", "must differ in letters and digits", names)
        return as_inputs(found)

    def columns_of(self, rows: ArrayLike) -> Inputs:
        """Return later rows as inputs, each column read as it was in the source.

        Args:
            rows: A pandas or polars frame, columns by name, a list of dicts, or the path of a CSV or Parquet file;
                columns that are no inputs are left out.

        Returns:
            Name -> (n,) float32 or texts; a missing value is NaN or an empty text.

        Raises:
            ValueError: When a column is not there or is of another kind, or a value is missing and the data have not
                `missing="impute"`.
        """
        table = table_of(rows, "rows")
        kinds = self.input_kinds()
        absent = [clipped(name) for name in kinds if name not in table.names]
        require(not absent, "rows", "must have all columns of the inputs", absent)
        columns = {}
        for name, kind in kinds.items():
            asked = dataclasses.replace(self.asked(name, table), kind=kind, strict=False, later=True)
            columns[name] = found = column_of(table.columns[table.names.index(name)], asked)
            alike = found.kind == kind or any({found.kind, kind} <= same for same in SAME)
            fits = alike or bool(found.missing.all())
            require(fits, asked.called, f"must be of the kind {kind!r} as in training", found.kind)
            lacking = np.flatnonzero(found.missing)
            rule = "must have no missing value, for the model imputes only with missing='impute'"
            where = [f"{table.unit} {table.lines[row]}" for row in lacking[:3]]
            require(self.imputes or not where, asked.called, rule, where)
            for note in found.notes:
                log.warning("%s", note)
            columns[name] = dataclasses.replace(found, kind=kind)
        return self.inputs(Reading(columns, np.arange(len(table.lines)), ()))

    def cuts(self, order: np.ndarray, y: np.ndarray) -> Cuts:
        reading = self.reading()
        stratified = y if self.split == "stratified" else None
        values = reading.values(self.by) if self.by is not None else stratified
        classes = self.by is not None or self.split != "stratified" or self.task == "classification"
        require(classes, "by", "must be the name of a column for split='stratified' of a regression", self.by)
        cuts = split_rows(order, self.split, values, validation=self.validation, test=self.test)
        if self.group is not None:
            require_apart(cuts, reading.values(self.group), self.group)
        return cuts

    def read_as(self) -> dict[str, str]:
        reading = self.reading()
        kinds = {name: READ_AS.get(reading.values(name).dtype.kind, "dates") for name in self.input_kinds()}
        return {layer_name(name): kind for name, kind in kinds.items()} | {
            "y": READ_AS[reading.values(self.target).dtype.kind]
        }

    def notes(self) -> tuple[str, ...]:
        way = {
            "random": "",
            "stratified": f"split by chance, within each value of {self.by or self.target!r}",
            "time": f"split by time: trained on the first rows by {self.by!r}, tested on the last",
            "group": f"split by group: all rows of a value of {self.by!r}, which is no input, are in one split",
            "given": f"split as {self.by!r} says, which is no input",
        }[self.split]
        return (*self.reading().notes, *([way] if way else []))

    def name_in_source(self, name: str) -> str:
        base = name.rpartition(".")[0]
        for source, kind in self.input_kinds().items():
            if layer_name(source) == (base if kind in PARTS and layer_name(source) != name else name):
                return source
        return name

    def baseline(self, splits: Splits) -> Baseline:
        return boosting(self, splits)


def parts_of(name: str, reading: Reading, *, rounded: bool = False) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the inputs of a column: one, or several of a date; large whole numbers only where they may be rounded."""
    values, kind, named = reading.values(name), reading.columns[name].kind, layer_name(name)
    if reading.columns[name].values.dtype.kind == "i":  # values with a gap are floats
        most = int(np.nanmax(np.abs(values.astype("float64")), initial=0))
        rule = f"must hold whole numbers up to {WHOLE}, or be named in numbers, which rounds them, in texts or ignore"
        require(rounded or most <= WHOLE, f"column {clipped(name)!r}", rule, most)
        values = values.astype("float64")
    if kind in ("date", "time"):
        points = values if values.dtype.kind == "M" else np.full(len(values), np.datetime64("NaT", "us"))
        yield from date_numbers(named, points, times=kind == "time").items()
    elif kind == "words":
        yield named if named.endswith(WORDS) else named + WORDS, values
    else:
        yield named, values


def layer_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("_")
