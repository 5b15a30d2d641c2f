"""One's own data: arrays in memory, and CSV files."""

import hashlib
import pathlib
from dataclasses import KW_ONLY
from typing import Any, Literal

import numpy as np

from kopt.checks import needs, require, unknown
from kopt.data.base import Baseline, Splits, checksum, registry
from kopt.data.baselines import boosting, ridge
from kopt.data.shuffled import Shuffled
from kopt.tasks import Task

__all__ = ["CSV", "Arrays", "arrays", "csv"]

HELD: dict[str, tuple[Any, np.ndarray]] = {}  # by their sha256: a value holds no arrays


@registry.register
class Arrays(Shuffled):
    """Arrays that `data.arrays` was given, by their sha256; equal arrays are equal data.

    Args:
        sha256: Of the arrays.
        task: "classification" or "regression".
        names: What the classes are called; none for their numbers.
        validation: The share of rows to choose by, in (0, 1).
        test: The share of rows to report on, in (0, 1 - validation).
        seed: Which rows go where.
        examples: Take only so many rows, for a quick look; None for all.

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
    task: Task = "classification"
    names: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        return self.names

    def rows(self) -> tuple[Any, np.ndarray, str]:
        rule = "must be of arrays that data.arrays(x, y) was given in this process"
        require(self.sha256 in HELD, "sha256", rule, self.sha256)
        return *HELD[self.sha256], self.sha256

    def baseline(self, splits: Splits) -> Baseline:
        return boosting(self, splits) if isinstance(splits.train.x, dict) else ridge(self, splits)


@registry.register
class CSV(Shuffled):
    """A table in a CSV file: columns of numbers and of texts, one of them the target.

    x: float32 and texts by column; y: (n,) int32, the place of the class among all in order, or float32.

    Args:
        path: Of the file; its first line has the columns' names.
        target: The column to predict.
        task: "classification" or "regression".
        ignore: Columns to leave out, such as row numbers.
        missing: What to do with rows that lack a value: refuse the file, or drop them.
        validation: The share of rows to choose by, in (0, 1).
        test: The share of rows to report on, in (0, 1 - validation).
        seed: Which rows go where.
        examples: Take only so many rows, for a quick look; None for all.

    Raises:
        ImportError: When loaded, when pandas is not installed.
        ValueError: When loaded, when there is no such file or column, or a value is missing.

    Example:
        >>> CSV("no.csv", target="price").load()
        Traceback (most recent call last):
        ValueError: path must be of a file, got 'no.csv'.

    Source:
        `pandas.read_csv`.
    """

    path: str
    _: KW_ONLY
    target: str
    task: Task = "classification"
    ignore: tuple[str, ...] = ()
    missing: Literal["refuse", "drop"] = "refuse"

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(map(str, np.unique(self.table()[self.target]))) if self.task == "classification" else ()

    def table(self) -> Any:
        """The rows that are used, as a pandas DataFrame."""
        require(pathlib.Path(self.path).is_file(), "path", "must be of a file", self.path)
        table = needs("pandas", "recipes").read_csv(self.path)
        for name in (self.target, *self.ignore):
            if name not in table.columns:
                raise unknown("column", name, table.columns)
        table = table.drop(columns=list(self.ignore))
        lacking = {name: int(count) for name, count in table.isna().sum().items() if count}
        rule = f"must have no missing values in {self.path}, or missing='drop' must be given"
        require(self.missing == "drop" or not lacking, "columns", rule, lacking)
        return table.dropna()

    def rows(self) -> tuple[Any, np.ndarray, str]:
        table = self.table()
        target = table.pop(self.target)
        y = np.unique(target, return_inverse=True)[1].astype("int32")
        if self.task != "classification":
            require(target.dtype.kind in "iufb", "target", "must be a column of numbers", self.target)
            y = target.to_numpy("float32")
        digest = hashlib.sha256(pathlib.Path(self.path).read_bytes()).hexdigest()
        return {name: as_column(column) for name, column in table.items()}, y, digest

    def baseline(self, splits: Splits) -> Baseline:
        return boosting(self, splits)


def arrays(x: Any, y: Any, *, task: Task | None = None, **fields: Any) -> Arrays:
    """Take arrays as data, for a recipe: they are split as any other, and named by their sha256.

    A copy of them is kept as long as this process lives.

    Args:
        x: (n, ...) numbers or texts, or columns by name, (n,) each.
        y: (n,) or (n, k); whole numbers from 0 on, booleans or texts are classes, other numbers are regressed.
        task: "classification" or "regression"; None for what y looks like.
        **fields: `validation`, `test`, `seed`, `names`: see `Arrays`.

    Returns:
        The data; `data.look` shows them.

    Raises:
        ValueError: When x and y do not have the same number of rows, 30 or more.

    Example:
        >>> given = arrays(np.zeros((100, 4)), np.arange(100) % 3)
        >>> given.task, given.load().train.x.shape
        ('classification', (65, 4))

    Source:
        `keras.Model.fit`.
    """
    x = {name: as_column(column) for name, column in x.items()} if isinstance(x, dict) else as_array(x)
    y, names = np.asarray(y), ()
    counts = {len(column) for column in (x.values() if isinstance(x, dict) else [x])} | {len(y)}
    require(len(counts) == 1 and min(counts) >= 30, "x and y", "must have the same number of rows, >= 30", counts)
    if task is None:
        task = "regression" if y.dtype.kind == "f" else "classification"
    if task == "classification" and y.dtype.kind in "OUS":
        kinds, y = np.unique(y.astype(str), return_inverse=True)
        names = tuple(kinds.tolist())
    whole = y.dtype.kind in "iub" and y.min() >= 0
    require(task != "classification" or whole, "y", "must be classes: whole numbers >= 0, or texts", y.dtype.name)
    y = y.astype("int32" if task == "classification" else "float32")
    digest = of_arrays(x, y)
    HELD[digest] = x, y
    return Arrays(digest, **{"task": task, "names": names} | fields)


def csv(path: str, *, target: str, task: Task | None = None, **fields: Any) -> CSV:
    """Take a CSV file as data, for a recipe.

    Args:
        path: Of the file; its first line has the columns' names.
        target: The column to predict.
        task: "classification" or "regression"; None for what the target looks like: texts, booleans and up to 20
            different whole numbers are classes.
        **fields: `ignore`, `missing`, `validation`, `test`, `seed`: see `CSV`.

    Returns:
        The data; `data.look` shows them.

    Raises:
        ImportError: When pandas is not installed.
        ValueError: When there is no such file or column, or a value is missing.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
        ...     _ = file.write("size,kind,price\\n" + "\\n".join(f"{n},{'ab'[n % 2]},{n / 3}" for n in range(100)))
        ...     file.flush()
        ...     csv(file.name, target="price").task
        'regression'

    Source:
        `pandas.read_csv`.
    """
    given = CSV(str(path), target=target, **fields)
    column = given.table()[target]
    few = column.dtype.kind in "iu" and column.nunique() <= FEW
    looks = "classification" if few or column.dtype.kind not in "iuf" else "regression"
    return CSV(str(path), target=target, **{"task": task or looks} | fields)


FEW = 20  # different whole numbers that look like classes


def as_column(column: Any) -> np.ndarray:
    """A column as float32, or as texts."""
    column = np.asarray(column)
    return column.astype("float32") if column.dtype.kind in "iufb" else np.array([str(one) for one in column], object)


def as_array(x: Any) -> np.ndarray:
    x = np.asarray(x)
    return np.array([str(one) for one in x], object) if x.dtype.kind in "OUS" else x.astype("float32")


def of_arrays(x: Any, y: np.ndarray) -> str:
    return checksum(*(x.values() if isinstance(x, dict) else [x]), y)
