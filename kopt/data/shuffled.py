"""Data sets whose rows are shuffled by a seed and cut into three splits."""

from abc import abstractmethod
from dataclasses import KW_ONLY

import numpy as np

from kopt.data.base import Data, Inputs, Split, Splits, take
from kopt.data.splitting import Cuts, split_rows
from kopt.values.checks import require
from kopt.values.fields import Number

__all__ = ["Shuffled"]


class Shuffled(Data):
    """Data of independent rows: `rows()` returns all, and a seed says which rows are in which split.

    The test split depends only on `seed`, `test` and `examples`.

    Example:
        >>> from kopt.data import Digits
        >>> issubclass(Digits, Shuffled)
        True
    """

    _: KW_ONLY
    validation: Number = 0.15
    test: Number = 0.2
    seed: int = 0
    examples: int | None = None

    def check(self) -> None:
        require_shares(self.validation, self.test)
        require(self.seed >= 0, "seed", "must be >= 0", self.seed)
        require(self.examples is None or self.examples >= 30, "examples", "must be >= 30", self.examples)

    @abstractmethod
    def rows(self) -> tuple[Inputs, np.ndarray, str]:
        """Return all inputs, all targets, and the sha256 of the source."""

    def cuts(self, order: np.ndarray, y: np.ndarray) -> Cuts:
        """Return the rows of each split, given the numbers of rows in shuffled order and all targets."""
        return split_rows(order, "random", None, validation=self.validation, test=self.test)

    def load(self) -> Splits:
        x, y, digest = self.rows()
        order = np.random.default_rng(self.seed).permutation(len(y))[: self.examples]
        training, validating, testing = (Split(take(x, rows), y[rows]) for rows in self.cuts(order, y))
        return Splits(training, validating, testing, digest)


def require_shares(validation: Number, test: Number) -> None:
    require(0 < validation < 1, "validation", "must be in (0, 1)", validation)
    require(0 < test < 1 - validation, "test", "must leave rows to train on", test)
