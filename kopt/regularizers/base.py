"""Regularizer: what is added to the loss for the weights being what they are."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from kopt.values.checks import require
from kopt.values.fields import Value
from kopt.values.registry import Registry

__all__ = ["Regularizer", "get", "registry"]

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
            weights: A float tensor or variable of any shape that the formula takes.

        Returns:
            A scalar of the weights' dtype.
        """
        return self.penalty(as_floats(weights))

    def anchored(self, weights: Mapping[str, Any]) -> Any:
        """This regularizer for weights whose values now are these; itself, where what they are now does not matter."""
        return self


def get(identifier: Any) -> Any:
    """Build a regularizer from a text, as Keras' `get` does for its own.

    Args:
        identifier: "l2(1e-4)", "l1_l2(1e-5, l2=1e-4)", "group_lasso(1e-3, groups='filters')" or a name alone; a
            regularizer or None is given back.

    Returns:
        The regularizer, or None.

    Raises:
        ValueError: When the text names no regularizer, or not its arguments, or it is neither a text, a regularizer nor
            None.

    Example:
        >>> get("l2(1e-4)"), get("l1_l2(1e-5, l2=0.1)")
        (L2(), L1L2(1e-05, l2=0.1))

    Source:
        `keras.regularizers.get`.
    """
    if isinstance(identifier, str):
        return registry.parse(identifier)
    known = identifier is None or isinstance(identifier, keras.regularizers.Regularizer)
    require(known, "regularizer", "must be a kopt regularizer, its text or None", identifier)
    return identifier


def as_floats(weights: Any) -> Any:
    tensor = ops.convert_to_tensor(weights)
    return tensor if keras.backend.is_float_dtype(tensor.dtype) else ops.cast(tensor, "float32")


def scaled(strength: Any, samples: int | None, weights: Any) -> Any:
    """The factor of a penalty, in the weights' dtype: strength, or strength / (2 * samples)."""
    return ops.convert_to_tensor(strength if samples is None else strength / (2 * samples), weights.dtype)


def require_strength(name: str, strength: Any, samples: int | None) -> None:
    require(strength >= 0, name, "must be >= 0", strength)
    require(samples is None or samples > 0, "samples", "must be > 0", samples)


def require_matrix(name: str, weights: Any) -> None:
    rule = f"must be a tensor of two axes or more for {name}"
    require(len(weights.shape) >= 2, "weights", rule, f"the shape {tuple(weights.shape)}")
