"""Tables of the user's: a CSV file, a Parquet file, a frame in memory."""

import os
import pathlib
from typing import ClassVar

import numpy as np

from kopt.data.base import registry
from kopt.data.frames import read_parquet, table_digest, table_of
from kopt.data.table import Table, file_digest, read_table
from kopt.data.tabular import Tabular
from kopt.tasks.task import PlainTask
from kopt.values.checks import require
from kopt.values.places import as_path
from kopt.values.texts import clipped
from kopt.values.types import ArrayLike, FieldValue

__all__ = ["CSV", "Frame", "Parquet", "csv", "frame", "parquet"]

HELD: dict[str, Table] = {}  # by sha256, because a value holds no arrays


@registry.register
class CSV(Tabular):
    """A table in a CSV file: columns of numbers, of texts, of words and of dates, one of them the target.

    x: float32 and texts by column; y: (n,) int32, the number of the class in sorted order, or float32. In names of
    columns every character but letters, digits, dots and hyphens becomes "_", because layers get these names. A column
    holds numbers (1, -2.5, 1e3), or True and False, or ISO dates, or texts. Decimal commas (1,5), other dates, a number
    with a leading zero (007) and a word among numbers are refused with their line, unless `texts`, `numbers`, `dates`
    or `ignore` names the column. Empty cells are missing values, and so are "n/a", "na", "nan", "null", "none", "-" and
    "?" in any case, unless `texts` names the column. What was inferred is in `notes()`, and so in `data.summary`.

    With missing="drop" rows with a missing value are left out. With "impute" they stay (but where the target is
    missing), and the model imputes: see `kopt.models.columns.columns_encoder`. With both, up to 2 % of the cells of a
    column of numbers may be something else, and are missing.

    Args:
        path: A file in UTF-8, whose first line has the names of the columns.
        target: The name of the column to predict, as in the file.
        task: "classification" or "regression".
        ignore: Columns to leave out, such as row numbers.
        texts: Columns that are read as texts, such as postal codes: they become one-hot.
        numbers: Columns that are read as numbers, though some begin with 0.
        missing: Whether missing values are refused, their rows dropped, or imputed by the model.
        dates: Columns that are read as dates: they become year, month, weekday, days since 1970, and the hour if some
            are not midnight. "when=%d/%m/%Y" says how they are written.
        words: Columns whose texts become a bag of words. Columns of 3 words or more on average and more than 50
            different texts do so too.
        split: "random", "stratified" (by `by`, or else by the classes), "time" (the latest rows are tested on),
            "group" (all rows of a value of `by` are in one split) or "given" (`by` has "train", "validation" or
            "test").
        by: The column to split by; for "group" and "given" it is no input.
        group: A column whose values must not be in two splits, else the data are refused; it is no input.
        kinds: The kinds of columns as `data.csv` found them, so that later tables are read in the same way.
        names: The names of the classes as `data.csv` found them.
        validation: The share of rows to validate on, in (0, 1).
        test: The share of rows to test on, in (0, 1 - validation).
        seed: Seed of the shuffle before the split.
        examples: Number of rows to use, for a quick try; None for all.

    Raises:
        ValueError: When loaded, when there is no such file or column, rows are not of equal length, a column is not of
            one kind, or a value is missing.

    Example:
        >>> CSV("no.csv", "price").load()
        Traceback (most recent call last):
        ValueError: path must be of a file, got 'no.csv'.

    Source:
        Python's module csv.
    """

    path: str
    target: str

    def file(self) -> pathlib.Path:
        path = as_path(self.path, "path")
        require(os.path.isfile(path), "path", "must be of a file", clipped(self.path))  # a name may be too long to ask
        return path

    @property
    def source(self) -> str:
        return self.path

    def digest(self) -> str:
        return file_digest(self.file())

    def table(self) -> Table:
        return read_table(self.file())


@registry.register
class Parquet(CSV):
    """A table in a Parquet file; its columns have types, and texts are read as those of a CSV file are.

    Args:
        path: The file.
        target: The name of the column to predict.
        **fields: As those of `CSV`.

    Raises:
        ImportError: When pyarrow is not installed.
        ValueError: When loaded, as `CSV`.

    Example:
        >>> Parquet("no.parquet", "price").load()
        Traceback (most recent call last):
        ValueError: path must be of a file, got 'no.parquet'.

    Source:
        https://parquet.apache.org.
    """

    def table(self) -> Table:
        return read_parquet(self.file())


@registry.register
class Frame(Tabular):
    """The frame of a call of `data.frame`, by its sha256; equal frames are equal data.

    Args:
        sha256: The sha256 of the names, types and values of its columns.
        target: The name of the column to predict.
        **fields: As those of `CSV`.

    Raises:
        ValueError: When loaded, when no such frame was given in this process; else as `CSV`.

    Example:
        >>> Frame("0" * 64, "price").load()
        Traceback (most recent call last):
        ValueError: sha256 must be of a frame that data.frame was given in this process, got '00...00'.

    Source:
        Folklore: data are named by what they are.
    """

    sha256: str
    target: str
    argument: ClassVar[str] = "frame"

    @property
    def source(self) -> str:
        return "the frame"

    def digest(self) -> str:
        require(
            self.sha256 in HELD, "sha256", "must be of a frame that data.frame was given in this process", self.sha256
        )
        return self.sha256

    def table(self) -> Table:
        held = HELD[self.digest()]
        return Table(held.names, list(held.columns), held.lines, held.unit)


def csv(path: str, target: str, *, task: PlainTask | None = None, **fields: FieldValue) -> CSV:
    """Make a data set of a CSV file, for a recipe.

    Args:
        path: A file in UTF-8, whose first line has the names of the columns.
        target: The column to predict.
        task: "classification" or "regression"; None to choose by the target: texts, booleans and up to 20
            different whole numbers are classes.
        **fields: `missing`, `dates`, `words`, `ignore`, `texts`, `numbers`, `split`, `by`, `group`, `validation`,
            `test`, `seed`: see `CSV`.

    Returns:
        The data set, with the kinds and the classes that were found; `data.summary` describes it.

    Raises:
        ValueError: When there is no such file or column, rows are not of equal length, a column is not of one kind, or
            a value is missing.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
        ...     _ = file.write("size,kind,price\\n" + "\\n".join(f"{n},{'ab'[n % 2]},{n / 3}" for n in range(100)))
        ...     file.flush()
        ...     csv(file.name, "price").kinds
        (('size', 'number'), ('kind', 'text'), ('price', 'number'))

    Source:
        Python's module csv.
    """
    return CSV(str(path), target, **fields).resolved(task)


def parquet(path: str, target: str, *, task: PlainTask | None = None, **fields: FieldValue) -> Parquet:
    """Make a data set of a Parquet file, for a recipe.

    Args:
        path: The file.
        target: The column to predict.
        task: "classification" or "regression"; None to choose by the target, as `data.csv` does.
        **fields: As those of `data.csv`.

    Returns:
        The data set; `data.summary` describes it.

    Raises:
        ImportError: When pyarrow is not installed.
        ValueError: As `data.csv`.

    Example:
        >>> parquet("no.parquet", "price")
        Traceback (most recent call last):
        ValueError: path must be of a file, got 'no.parquet'.

    Source:
        https://parquet.apache.org.
    """
    return Parquet(str(path), target, **fields).resolved(task)


def frame(rows: ArrayLike, target: str, *, task: PlainTask | None = None, **fields: FieldValue) -> Frame:
    """Make a data set of a frame in memory, for a recipe; its name is the sha256 of the frame.

    A copy of the frame is kept until the process ends.

    Args:
        rows: A pandas or polars frame, or columns by name.
        target: The column to predict.
        task: "classification" or "regression"; None to choose by the target, as `data.csv` does.
        **fields: As those of `data.csv`.

    Returns:
        The data set; `data.summary` describes it.

    Raises:
        ValueError: When the frame has no such column, and as `data.csv`.

    Example:
        >>> given = frame({"size": [1.5, None, 3.0] * 20, "kind": ["a", "b", "b"] * 20}, "kind", missing="impute")
        >>> given.labels, given.notes()
        (('a', 'b'), ('missing values that the model imputes: size 20',))

    Source:
        `pandas.DataFrame`.
    """
    given = table_of(rows)
    held = Table(given.names, [np.array(column) for column in given.columns], given.lines, given.unit)
    digest = table_digest(held)
    HELD[digest] = held
    return Frame(digest, target, **fields).resolved(task)
