"""Data: three splits of arrays, and what a simple model makes of them."""

import hashlib
from abc import abstractmethod
from typing import Any, Literal, NamedTuple

import numpy as np

from kopt.checks import require
from kopt.fields import Value
from kopt.registry import Registry

__all__ = ["Baseline", "Data", "Split", "Splits", "registry"]

Task = Literal["classification", "regression"]

registry: Registry["Data"] = Registry("data")


class Split(NamedTuple):
    """Inputs and targets of one split, row by row."""

    x: np.ndarray
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
        """What the targets are: integer classes, or numbers."""
        return "classification"

    @abstractmethod
    def load(self) -> Splits:
        """Load and split the data; no network is used.

        Raises:
            ImportError: When the package that holds the data is not installed.
            ValueError: When the source is not what it was, or a split would be empty.
        """

    @abstractmethod
    def baseline(self, splits: Splits) -> Baseline:
        """Fit a simple model to the training split and score it on the test split, in the recipe's metric."""


def checksum(*arrays: np.ndarray) -> str:
    """The sha256 of arrays' bytes, in order."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def split(x: np.ndarray, y: np.ndarray, *, validation: float, test: float, seed: int, digest: str) -> Splits:
    """Cut shuffled rows into three: the test rows depend on the seed and `test` only."""
    order = np.random.default_rng(seed).permutation(len(x))
    tests, validations = round(test * len(x)), round(validation * len(x))
    cuts = order[:tests], order[tests : tests + validations], order[tests + validations :]
    for name, rows in zip(("test", "validation", "train"), cuts):
        require(len(rows) > 0, f"the {name} split", "must not be empty", len(x))
    testing, validating, training = (Split(x[rows], y[rows]) for rows in cuts)
    return Splits(training, validating, testing, digest)


def require_shares(validation: Any, test: Any) -> None:
    require(0 < validation < 1, "validation", "must be in (0, 1)", validation)
    require(0 < test < 1 - validation, "test", "must leave rows to train on", test)
