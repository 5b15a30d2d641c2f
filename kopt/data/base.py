"""Data: three splits of arrays, and a baseline, the score of a simple model."""

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import keras
import numpy as np

from kopt.data.coercion import Framed, as_inputs
from kopt.tasks.directions import better
from kopt.tasks.metrics import Direction
from kopt.tasks.task import Task, score_of
from kopt.values.fields import Value
from kopt.values.html_table import html_table
from kopt.values.registry import Registry
from kopt.values.types import ArrayLike

__all__ = ["Baseline", "Data", "Split", "Splits", "registry"]

Inputs: TypeAlias = Any  # numpy.ndarray, or a dict of columns by name: whoever reads it knows its data or asks

registry: Registry["Data"] = Registry("data")


class Split(NamedTuple):
    """The inputs and targets of one split, row by row; inputs are an array, or columns by name."""

    x: Inputs
    y: np.ndarray

    def __repr__(self) -> str:
        return f"Split(x: {shape_of(self.x)}, y: {shape_of(self.y)})"


class Splits(NamedTuple):
    """The splits to train, validate and test on; `checksum` is the sha256 of the whole source."""

    train: Split
    validation: Split
    test: Split
    checksum: str

    def __repr__(self) -> str:
        return f"Splits(train={self.train}, validation={self.validation}, test={self.test})"

    def _repr_html_(self) -> str:
        parts = zip(("train", "validation", "test"), self)
        return html_table("Splits", [(name, shape_of(x), shape_of(y)) for name, (x, y) in parts], ("", "x", "y"))


class Baseline(NamedTuple):
    """The score of a simple model on the test split."""

    name: str
    value: float


class Data(Value):
    """A data set: a Value that loads its splits; equal fields give equal splits.

    Example:
        >>> from kopt.data import Digits
        >>> splits = Digits().load()
        >>> [len(split.y) for split in (splits.train, splits.validation, splits.test)]
        [1168, 270, 359]
    """

    @property
    def task(self) -> Task:
        """The kind of the targets: integer classes, numbers, the next values of a series, items, or characters."""
        return "classification"

    # The kind of raw inputs, as `models.base.Kind` names it, where an array does not tell it: "pairs" of user and item.
    kind: ClassVar[str | None] = None
    # What `columns_of` reads from the paths of files itself.
    reads: ClassVar[Literal["tables", "images"] | None] = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes or items; when empty, reports show their numbers."""
        return ()

    def read_as(self) -> dict[str, str]:
        """Return the kind that each column and y was read as, when the source does not state kinds."""
        return {}

    @property
    def imputes(self) -> bool:
        """Whether inputs may have missing values (NaN, or an empty text) because the model imputes them."""
        return False

    def notes(self) -> tuple[str, ...]:
        """Return what was inferred or left out when the data were read, a sentence each."""
        return ()

    @property
    def target_column(self) -> str | None:
        """The name of the column of the targets, where the source has columns."""
        return None

    @property
    def text_column(self) -> str | None:
        """The name of the column of the texts, where the inputs are one column of them."""
        return None

    def name_in_source(self, name: str) -> str:
        """Return the name in the source of the column that became an input."""
        return name

    def columns_of(self, rows: ArrayLike) -> Inputs:
        """Return raw rows of later use as inputs, in the very form that `load` gives.

        Args:
            rows: An array of numbers, texts, or columns by name.

        Returns:
            Inputs: an array, or columns by name.
        """
        if isinstance(rows, (Framed, Mapping)):
            return as_inputs(rows)
        array = np.asarray(rows)
        kinds = {"U": "object", "S": "object", "T": "object", "f": "float32"}
        return array.astype(kinds.get(array.dtype.kind, array.dtype))

    def score(self) -> keras.metrics.Metric:
        """Return a fresh Keras metric, by which runs on these data are judged."""
        return score_of(self.task)

    @property
    def direction(self) -> Direction:
        """Whether more of the score is better, "max", or less, "min".

        It is the direction of `score()`. A data set may declare it for a metric that has none: `direction = "min"`.

        Raises:
            ValueError: When the direction of the metric is not known.
        """
        return better(self.score())

    @property
    def higher_is_better(self) -> bool:
        """Whether more of the score is better."""
        return self.direction == "max"

    @abstractmethod
    def load(self) -> Splits:
        """Load and split the data; nothing is downloaded.

        Raises:
            ImportError: When the package that holds the data is not installed.
            ValueError: When the source has changed, or a split would be empty.
        """

    @abstractmethod
    def baseline(self, splits: Splits) -> Baseline:
        """Fit a simple model to the training split and score it on the test split, by `score`."""

    def scored(self, y: ArrayLike, outputs: ArrayLike) -> float:
        """Return the score of outputs."""
        metric = self.score()
        metric.update_state(keras.ops.convert_to_tensor(y), keras.ops.convert_to_tensor(outputs))
        return float(metric.result())


def shape_of(part: Inputs) -> str:
    """Return the type and the shape of an array, or the number of columns and of their rows."""
    if isinstance(part, dict):
        rows = len(next(iter(part.values()), ()))
        return f"{len(part)} columns of {rows:,} rows"
    return f"{np.asarray(part).dtype} {np.shape(part)}"


def checksum(*arrays: np.ndarray) -> str:
    """Return the sha256 of the bytes of arrays, in order; texts count in UTF-8, with their lengths."""
    digest = hashlib.sha256()
    for array in map(np.asarray, arrays):
        if array.dtype.kind in "OU":
            texts = [str(text).encode() for text in array.ravel()]
            digest.update(np.array([len(text) for text in texts], "int64").tobytes() + b"".join(texts))
        else:
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def take(x: Inputs, rows: slice | np.ndarray) -> Inputs:
    """Return some rows of inputs."""
    return {name: column[rows] for name, column in x.items()} if isinstance(x, dict) else x[rows]
