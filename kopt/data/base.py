"""Data: three splits of arrays, and what a simple model makes of them."""

import hashlib
from abc import abstractmethod
from typing import Any, NamedTuple

import keras
import numpy as np

from kopt.tasks.task import Task, better, score_of
from kopt.values.fields import Value
from kopt.values.registry import Registry

__all__ = ["Baseline", "Data", "Split", "Splits", "registry"]

registry: Registry["Data"] = Registry("data")


class Split(NamedTuple):
    """Inputs and targets of one split, row by row; inputs are an array, or columns by name."""

    x: Any
    y: np.ndarray


class Splits(NamedTuple):
    """What to train on, to choose by, and to report on; `checksum` is the sha256 of the whole source."""

    train: Split
    validation: Split
    test: Split
    checksum: str


class Baseline(NamedTuple):
    """What a simple model reaches on the test split."""

    name: str
    value: float


class Data(Value):
    """A data set: a Value that loads its splits, always the same ones for the same fields.

    Example:
        >>> from kopt.data import Digits
        >>> splits = Digits().load()
        >>> [len(split.y) for split in (splits.train, splits.validation, splits.test)]
        [1168, 270, 359]
    """

    @property
    def task(self) -> Task:
        """What the targets are: integer classes, numbers, numbers of the coming times, items, or characters."""
        return "classification"

    @property
    def labels(self) -> tuple[str, ...]:
        """What the classes, or the items, are called; their numbers where this is empty."""
        return ()

    def read_as(self) -> dict[str, str]:
        """Return what each column, and y, was taken for, where the source does not say it."""
        return {}

    def score(self) -> Any:
        """The Keras metric by which runs on these data are judged, fresh."""
        return score_of(self.task)

    @property
    def higher_is_better(self) -> bool:
        """Whether more of the score is better."""
        return better(self.score().name) == "max"

    @abstractmethod
    def load(self) -> Splits:
        """Load and split the data; no network is used.

        Raises:
            ImportError: When the package that holds the data is not installed.
            ValueError: When the source is not what it was, or a split would be empty.
        """

    @abstractmethod
    def baseline(self, splits: Splits) -> Baseline:
        """Fit a simple model to the training split and score it on the test split, by `score`."""

    def scored(self, y: Any, outputs: Any) -> float:
        """The score of outputs that were computed elsewhere."""
        metric = self.score()
        metric.update_state(keras.ops.convert_to_tensor(y), keras.ops.convert_to_tensor(outputs))
        return float(metric.result())


def checksum(*arrays: np.ndarray) -> str:
    """The sha256 of arrays' bytes, in order; of texts, in UTF-8, with their lengths."""
    digest = hashlib.sha256()
    for array in map(np.asarray, arrays):
        if array.dtype.kind in "OU":
            texts = [str(text).encode() for text in array.ravel()]
            digest.update(np.array([len(text) for text in texts], "int64").tobytes() + b"".join(texts))
        else:
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def take(x: Any, rows: Any) -> Any:
    """Some rows of inputs."""
    return {name: column[rows] for name, column in x.items()} if isinstance(x, dict) else x[rows]
