"""Regularizer: what is added to the loss for the weights being what they are."""

from abc import abstractmethod
from typing import Any

import keras
from keras import ops

from kopt.checks import require
from kopt.fields import Value
from kopt.registry import Registry

__all__ = ["Regularizer", "registry"]

registry: Registry["Regularizer"] = Registry("regularizers")


class Regularizer(Value, keras.regularizers.Regularizer):
    """A penalty on one weight tensor, also a `keras.regularizers.Regularizer`.

    Subclasses write `penalty` with strength 1 for each of their terms and multiply by `scaled(strength)`.

    Example:
        >>> from kopt.regularizers import L2
        >>> float(L2(0.5)([1.0, 2.0]))
        2.5
        >>> float(L2(0.5, samples=5)([1.0, 2.0]))
        0.25
    """

    @abstractmethod
    def penalty(self, weights: Any) -> Any:
        """The formula, over one weight tensor."""

    def __call__(self, weights: Any) -> Any:
        """The penalty of one weight tensor.

        Args:
            weights: A float tensor or variable of any shape.

        Returns:
            A scalar of the weights' dtype.
        """
        tensor = ops.convert_to_tensor(weights)
        return self.penalty(tensor if keras.backend.is_float_dtype(tensor.dtype) else ops.cast(tensor, "float32"))


def scaled(strength: Any, samples: int | None, weights: Any) -> Any:
    """The factor of a penalty, in the weights' dtype: strength, or strength / (2 * samples)."""
    return ops.convert_to_tensor(strength if samples is None else strength / (2 * samples), weights.dtype)


def require_strength(name: str, strength: Any, samples: int | None) -> None:
    require(strength >= 0, name, "must be >= 0", strength)
    require(samples is None or samples > 0, "samples", "must be > 0", samples)
