"""Penalties on the size of each weight: L1, L2 and both."""

from typing import Any

from keras import ops

from kopt.fields import Number
from kopt.regularizers.base import Regularizer, registry, require_strength, scaled

__all__ = ["L1", "L1L2", "L2"]


@registry.register
class L1(Regularizer):
    """The sum of absolute weights.

    strength * sum(|w|), or strength / (2 * samples) * sum(|w|). Drives weights to exactly zero: a choice of features.

    Args:
        strength: The factor (lambda), >= 0.
        samples: The number m of training examples, for the textbook's lambda / (2 m); None for lambda alone.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> float(L1(0.5)([1.0, -2.0]))
        1.5

    Source:
        Tibshirani, Regression Shrinkage and Selection via the Lasso, 1996, equation 1.
    """

    strength: Number = 1e-4
    samples: int | None = None

    def check(self) -> None:
        require_strength("strength", self.strength, self.samples)

    def penalty(self, weights: Any) -> Any:
        return scaled(self.strength, self.samples, weights) * ops.sum(ops.absolute(weights))


@registry.register
class L2(Regularizer):
    """The sum of squared weights.

    strength * sum(w ** 2), or strength / (2 * samples) * sum(w ** 2). Shrinks every weight a little: ridge regression.

    Args:
        strength: The factor (lambda), >= 0.
        samples: The number m of training examples, for the textbook's lambda / (2 m); None for lambda alone.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> float(L2(0.5)([1.0, -2.0]))
        2.5

    Source:
        Hoerl and Kennard, Ridge Regression, 1970; Krogh and Hertz, A Simple Weight Decay Can Improve Generalization,
        1991.
    """

    strength: Number = 1e-4
    samples: int | None = None

    def check(self) -> None:
        require_strength("strength", self.strength, self.samples)

    def penalty(self, weights: Any) -> Any:
        return scaled(self.strength, self.samples, weights) * ops.sum(ops.square(weights))


@registry.register
class L1L2(Regularizer):
    """Both sums: the elastic net.

    l1 * sum(|w|) + l2 * sum(w ** 2), each divided by 2 * samples where samples is given. Like L1, but of correlated
    features it keeps the group.

    Args:
        l1: The factor of the absolute weights, >= 0.
        l2: The factor of the squared weights, >= 0.
        samples: The number m of training examples, for lambda / (2 m); None for lambda alone.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> float(L1L2(0.5, 0.25)([1.0, -2.0]))
        2.75

    Source:
        Zou and Hastie, Regularization and Variable Selection via the Elastic Net, 2005, equation 3.
    """

    l1: Number = 1e-4
    l2: Number = 1e-4
    samples: int | None = None

    def check(self) -> None:
        require_strength("l1", self.l1, self.samples)
        require_strength("l2", self.l2, self.samples)

    def penalty(self, weights: Any) -> Any:
        absolute = scaled(self.l1, self.samples, weights) * ops.sum(ops.absolute(weights))
        return absolute + scaled(self.l2, self.samples, weights) * ops.sum(ops.square(weights))
