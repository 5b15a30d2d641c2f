"""TowardStart: a penalty on the distance from the starting weights."""

import base64
import copy
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kopt.regularizers.base import Regularizer, as_floats, registry, require_strength, scaled
from kopt.values.checks import require
from kopt.values.fields import Number
from kopt.values.types import Config, Json, Tensor, Variable

__all__ = ["Anchored", "TowardStart"]


@registry.register
class TowardStart(Regularizer):
    """The squared distance from the starting weights, for fine-tuning.

    strength * sum((w - start) ** 2). `attach` takes the present weights as the start, and the model's file keeps them
    as text, a third longer than the weights themselves. `penalty` is the formula over the difference.

    Args:
        strength: The factor (lambda, the paper's alpha / 2), >= 0.
        samples: The number m of training examples, for lambda / (2 m); None for lambda alone.

    Raises:
        ValueError: When an argument is out of range; when it is called before it is attached.

    Example:
        >>> import keras
        >>> from kopt.regularizers import attach
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="dense")])
        >>> attach(model, TowardStart(0.5))
        ['dense/kernel']
        >>> _ = model.layers[0].kernel.assign_add([[0.0], [2.0]])
        >>> print(round(float(model.losses[0]), 4))
        2.0

    Source:
        Li, Grandvalet and Davoine, Explicit Inductive Bias for Transfer Learning with Convolutional Networks, 2018,
        equation 2 (L2-SP).
    """

    strength: Number = 1e-2
    samples: int | None = None

    def check(self) -> None:
        require_strength("strength", self.strength, self.samples)

    def penalty(self, weights: Tensor) -> Tensor:
        return scaled(self.strength, self.samples, weights) * ops.sum(ops.square(weights))

    def __call__(self, weights: Tensor) -> Tensor:
        attached = f"must be attached to weights to start from them: attach(model, {self!r})"
        raise ValueError(f"regularizer {attached}, got it without.")

    def anchored(self, weights: Mapping[str, Variable]) -> "Anchored":
        # Copies: an array on the memory of a variable would change with the variable.
        return Anchored(self, {name: ops.convert_to_numpy(value).copy() for name, value in weights.items()})


@keras.saving.register_keras_serializable(package="kopt")
class Anchored(keras.regularizers.Regularizer):
    """A penalty on the difference from starting values; an attention layer has one for all its kernels.

    Args:
        of: The formula over the difference.
        starts: The path of each weight within its layer -> its starting values.

    Example:
        >>> print(float(Anchored(TowardStart(0.5), {"kernel": np.array([1.0, 2.0])})(np.array([1.0, 4.0]))))
        2.0
    """

    def __init__(self, of: Regularizer, starts: Mapping[str, np.ndarray]):
        self.of, self.starts = of, dict(starts)
        with tf.init_scope():  # a program takes these tensors as inputs; it does not copy them as constants
            self.tensors = {name: tf.constant(start) for name, start in self.starts.items()}

    def __call__(self, weights: Tensor) -> Tensor:
        tensor = as_floats(weights)
        return self.of.penalty(tensor - ops.cast(self.tensors[self.name_of(weights)], tensor.dtype))

    def started(self, of: Regularizer, tensors: Mapping[str, Tensor]) -> "Anchored":
        """Return the penalty of another formula from other starting values, which may be tensors of a program."""
        other = copy.copy(self)
        other.of, other.tensors = of, dict(tensors)
        return other

    def name_of(self, weights: Tensor) -> str:
        """Return the key in `starts` of a weight."""
        if len(self.starts) == 1:
            return next(iter(self.starts))
        path = weights.path if isinstance(weights, keras.Variable) else ""
        found = next((name for name in self.starts if f"/{path}".endswith(f"/{name}")), None)
        require(found is not None, "weights", f"must be a variable of one of the paths {sorted(self.starts)}", path)
        return str(found)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Anchored)
            and (self.of, self.starts.keys()) == (other.of, other.starts.keys())
            and all(np.array_equal(start, other.starts[name]) for name, start in self.starts.items())
        )

    def __hash__(self) -> int:
        return hash((self.of, tuple(sorted(self.starts))))

    def __repr__(self) -> str:
        return repr(self.of)

    def get_config(self) -> Config:
        """Return the formula, and the starting values as text."""
        starts = {name: to_text(start) for name, start in self.starts.items()}
        return {"of": keras.saving.serialize_keras_object(self.of), "starts": starts}

    @classmethod
    def from_config(cls, config: Config) -> "Anchored":
        """Build it from its config."""
        starts = {name: from_text(start) for name, start in config["starts"].items()}
        return cls(keras.saving.deserialize_keras_object(config["of"]), starts)


def to_text(array: np.ndarray) -> dict[str, Json]:
    text = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
    return {"dtype": array.dtype.name, "shape": list(array.shape), "base64": text}


def from_text(text: Mapping[str, Json]) -> np.ndarray:
    flat = np.frombuffer(base64.b64decode(text["base64"]), text["dtype"])
    return flat.reshape(text["shape"])
