"""Regularizer: a weight penalty added to the loss."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import overload

import keras
from keras import ops

from kopt.values.checks import require
from kopt.values.fields import Value
from kopt.values.registry import Registry
from kopt.values.types import Scalar, Tensor, Variable

__all__ = ["Regularizer", "get", "registry"]

registry: Registry["Regularizer"] = Registry("regularizers")


class Regularizer(Value, keras.regularizers.Regularizer):
    """A penalty on one weight tensor; also a `keras.regularizers.Regularizer`.

    A subclass defines `penalty`, and multiplies each of its terms by `scaled(strength, samples, weights)`.

    Example:
        >>> from kopt.regularizers import L2
        >>> float(L2(0.5)([1.0, 2.0]))
        2.5
        >>> float(L2(0.5, samples=5)([1.0, 2.0]))
        0.25
    """

    in_fit = "kopt.regularizers.attach(model, {})"

    @abstractmethod
    def penalty(self, weights: Tensor) -> Tensor:
        """Return the penalty of one weight tensor: the formula."""

    def __call__(self, weights: Tensor) -> Tensor:
        """Return the penalty of one weight tensor.

        Args:
            weights: A float tensor or variable, of a shape that the formula takes.

        Returns:
            A scalar of the dtype of the weights.
        """
        return self.penalty(as_floats(weights))

    def anchored(self, weights: Mapping[str, Variable]) -> keras.regularizers.Regularizer:
        """Return the regularizer to attach to some weights; a subclass may keep their present values in it."""
        return self


@overload
def get(identifier: str) -> Regularizer: ...


@overload
def get(identifier: None) -> None: ...


@overload
def get(identifier: keras.regularizers.Regularizer) -> keras.regularizers.Regularizer: ...


def get(identifier: str | keras.regularizers.Regularizer | None) -> keras.regularizers.Regularizer | None:
    """Build a regularizer from a text, as Keras' `get` does for its own regularizers.

    Args:
        identifier: "l2(1e-4)", "l1_l2(1e-5, l2=1e-4)", "group_lasso(1e-3, groups='filters')" or a name alone; a
            regularizer or None is returned unchanged.

    Returns:
        The regularizer, or None.

    Raises:
        ValueError: When the text names no regularizer or gives it wrong arguments, or the identifier is of another
            type.

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


def as_floats(weights: Tensor) -> Tensor:
    tensor = ops.convert_to_tensor(weights)
    return tensor if keras.backend.is_float_dtype(tensor.dtype) else ops.cast(tensor, "float32")


def scaled(strength: Scalar, samples: int | None, weights: Tensor) -> Tensor:
    """Return the factor of a penalty in the dtype of the weights: strength, or strength / (2 * samples)."""
    return ops.convert_to_tensor(strength if samples is None else strength / (2 * samples), weights.dtype)


def require_strength(name: str, strength: float, samples: int | None) -> None:
    require(strength >= 0, name, "must be >= 0", strength)
    require(samples is None or samples > 0, "samples", "must be > 0", samples)


def require_matrix(name: str, weights: Tensor) -> None:
    rule = f"must be a tensor of two axes or more for {name}"
    require(len(weights.shape) >= 2, "weights", rule, f"the shape {tuple(weights.shape)}")
