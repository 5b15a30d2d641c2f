"""Penalties on the size of each weight: L1, L2 and both.

Layers save them under the names and with the arguments of Keras' own, so that Keras without kopt loads the file. With
kopt, loading gives the classes of this file.
"""

from collections.abc import Mapping
from typing import Self

import keras
from keras import ops

from kopt.regularizers.base import Regularizer, registry, require_strength, scaled
from kopt.values.fields import Number
from kopt.values.types import Json, Tensor

__all__ = ["L1", "L1L2", "L2", "from_terms", "terms"]


@registry.register
class L1(Regularizer):
    """The sum of absolute weights.

    strength * sum(|w|), or strength / (2 * samples) * sum(|w|). Drives weights to exactly zero: selects features.

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

    def get_config(self) -> dict[str, float]:
        """Return the arguments of `keras.regularizers.L1` for the same penalty; `samples` divides the factor."""
        return {"l1": divided(self.strength, self.samples)}

    @classmethod
    def from_config(cls, config: Mapping[str, Json]) -> Self:
        """Build it from what `get_config` returned, or from the fields."""
        return cls(config["l1"]) if "l1" in config else super().from_config(config)

    def penalty(self, weights: Tensor) -> Tensor:
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

    def get_config(self) -> dict[str, float]:
        """Return the arguments of `keras.regularizers.L2` for the same penalty; `samples` divides the factor."""
        return {"l2": divided(self.strength, self.samples)}

    @classmethod
    def from_config(cls, config: Mapping[str, Json]) -> Self:
        """Build it from what `get_config` returned, or from the fields."""
        return cls(config["l2"]) if "l2" in config else super().from_config(config)

    def penalty(self, weights: Tensor) -> Tensor:
        return scaled(self.strength, self.samples, weights) * ops.sum(ops.square(weights))


@registry.register
class L1L2(Regularizer):
    """The sums of absolute and of squared weights: the elastic net.

    l1 * sum(|w|) + l2 * sum(w ** 2), each divided by 2 * samples when samples is given. Selects features as L1 does,
    but keeps or drops correlated features together.

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

    def get_config(self) -> dict[str, float]:
        """Return the arguments of `keras.regularizers.L1L2` for the same penalty; `samples` divides the factors."""
        return {"l1": divided(self.l1, self.samples), "l2": divided(self.l2, self.samples)}

    def penalty(self, weights: Tensor) -> Tensor:
        absolute = scaled(self.l1, self.samples, weights) * ops.sum(ops.absolute(weights))
        return absolute + scaled(self.l2, self.samples, weights) * ops.sum(ops.square(weights))


def terms(regularizer: object) -> tuple[float, float] | None:
    """Return the factors of sum(|w|) and of sum(w ** 2) in a penalty.

    Args:
        regularizer: Kopt's or Keras' L1, L2 or L1L2, or any other object.

    Returns:
        Both factors; None for an object of another class.

    Example:
        >>> terms(L2(0.5, samples=5)), terms(keras.regularizers.L1(0.5)), terms("l2")
        ((0.0, 0.05), (0.5, 0.0), None)
    """
    if not isinstance(regularizer, SUMS) or type(regularizer) not in SUMS:
        return None
    config = regularizer.get_config()
    return float(config.get("l1", 0.0)), float(config.get("l2", 0.0))


def from_terms(l1: float, l2: float) -> L1 | L2 | L1L2:
    """Build the penalty that has two factors.

    Args:
        l1: The factor of sum(|w|), >= 0.
        l2: The factor of sum(w ** 2), >= 0.

    Returns:
        The simplest penalty that has both factors.

    Example:
        >>> from_terms(0, 0.5), from_terms(0.1, 0), from_terms(0.1, 0.5)
        (L2(0.5), L1(0.1), L1L2(0.1, l2=0.5))
    """
    return L1L2(l1, l2) if l1 and l2 else L1(l1) if l1 else L2(l2)


SUMS = (L1, L2, L1L2, keras.regularizers.L1, keras.regularizers.L2, keras.regularizers.L1L2)


def divided(strength: float, samples: int | None) -> float:
    return strength if samples is None else strength / (2 * samples)
