"""Rows that are shuffled by a seed and cut into three."""

from abc import abstractmethod
from dataclasses import KW_ONLY
from typing import Any

import numpy as np

from kopt.data.base import Data, Split, Splits, take
from kopt.values.checks import require
from kopt.values.fields import Number

__all__ = ["Shuffled"]


class Shuffled(Data):
    """Data whose rows are independent: `rows()` gives them all, and a seed says which of them go where.

    The test rows depend on the seed and on `test` only.

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
    def rows(self) -> tuple[Any, np.ndarray, str]:
        """All inputs, all targets, and the sha256 of the source."""

    def load(self) -> Splits:
        x, y, digest = self.rows()
        order = np.random.default_rng(self.seed).permutation(len(y))[: self.examples]
        tests, validations = round(self.test * len(order)), round(self.validation * len(order))
        cuts = order[:tests], order[tests : tests + validations], order[tests + validations :]
        for name, rows in zip(("test", "validation", "train"), cuts):
            require(len(rows) > 0, f"the {name} split", "must not be empty", len(y))
        testing, validating, training = (Split(take(x, rows), y[rows]) for rows in cuts)
        return Splits(training, validating, testing, digest)


def require_shares(validation: Any, test: Any) -> None:
    require(0 < validation < 1, "validation", "must be in (0, 1)", validation)
    require(0 < test < 1 - validation, "test", "must leave rows to train on", test)
