"""Gradient clipping: limits on the size of gradients."""

from abc import abstractmethod
from collections.abc import Sequence

import tensorflow as tf

from kopt.rules.norms import limited, unit_norms
from kopt.values.checks import require
from kopt.values.deprecation import warn_moved
from kopt.values.fields import Number, Value
from kopt.values.registry import Registry
from kopt.values.types import Scalar, Tensor

__all__ = ["Adaptive", "ClipValue", "GlobalNorm", "GradientClip", "Norm", "registry"]

registry: Registry["GradientClip"] = Registry("clips")


class GradientClip(Value):
    """A limit on gradients: a pure function over lists, which `TrainStep` applies to the whole batch's gradient.

    Example:
        >>> import tensorflow as tf
        >>> clipped, = GlobalNorm(1.0)([tf.constant([3.0, 4.0])], [tf.zeros(2)])
        >>> print(clipped.numpy().round(2))
        [0.6 0.8]
    """

    in_fit = "kopt.training.TrainStep(model, clip={})"

    @abstractmethod
    def __call__(self, gradients: Sequence[Tensor], parameters: Sequence[Tensor], scale: Scalar = 1.0) -> list[Tensor]:
        """Return the clipped gradients.

        Args:
            gradients: Dense tensors, one a parameter.
            parameters: The parameters' values.
            scale: The factor by which the gradients are too large because the loss is scaled; 1 where it is not.

        Returns:
            Tensors of the same shapes and dtypes, multiplied by the same scale.
        """


@registry.register
class GlobalNorm(GradientClip):
    """Scale all gradients by one factor when their global norm is above a limit.

    gradient * min(1, limit / sqrt(sum of squares of all gradients)): the direction stays.

    Args:
        limit: The largest norm, > 0.

    Raises:
        ValueError: When the limit is out of range.

    Example:
        >>> clipped, = GlobalNorm(10.0)([tf.constant([3.0, 4.0])], [tf.zeros(2)])
        >>> print(clipped.numpy())
        [3. 4.]

    Source:
        Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks, 2013, algorithm 1.
    """

    limit: Number

    def check(self) -> None:
        require_limit(self.limit)

    def __call__(self, gradients: Sequence[Tensor], parameters: Sequence[Tensor], scale: Scalar = 1.0) -> list[Tensor]:
        norm = tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(tf.cast(gradient, "float32"))) for gradient in gradients]))
        return [limited(gradient, norm, product(self.limit, scale)) for gradient in gradients]


@registry.register
class Norm(GradientClip):
    """Scale the gradient of each parameter whose norm is above a limit.

    gradient * min(1, limit / sqrt(sum(gradient ** 2))).

    Args:
        limit: The largest norm, > 0.

    Raises:
        ValueError: When the limit is out of range.

    Example:
        >>> clipped, = Norm(1.0)([tf.constant([3.0, 4.0])], [tf.zeros(2)])
        >>> print(clipped.numpy().round(2))
        [0.6 0.8]

    Source:
        `clipnorm` of Keras' optimizers.
    """

    limit: Number

    def check(self) -> None:
        require_limit(self.limit)

    def __call__(self, gradients: Sequence[Tensor], parameters: Sequence[Tensor], scale: Scalar = 1.0) -> list[Tensor]:
        norms = [tf.sqrt(tf.reduce_sum(tf.square(tf.cast(gradient, "float32")))) for gradient in gradients]
        return [limited(gradient, norm, product(self.limit, scale)) for gradient, norm in zip(gradients, norms)]


@registry.register
class ClipValue(GradientClip):
    """Clip every number of a gradient to [-limit, limit].

    min(max(gradient, -limit), limit): the direction may change.

    Args:
        limit: The largest size of a number, > 0.

    Raises:
        ValueError: When the limit is out of range.

    Example:
        >>> clipped, = ClipValue(1.0)([tf.constant([3.0, -0.5])], [tf.zeros(2)])
        >>> print(clipped.numpy())
        [ 1.  -0.5]

    Source:
        `clipvalue` of Keras' optimizers.
    """

    limit: Number

    def check(self) -> None:
        require_limit(self.limit)

    def __call__(self, gradients: Sequence[Tensor], parameters: Sequence[Tensor], scale: Scalar = 1.0) -> list[Tensor]:
        bound = product(self.limit, scale)
        return [
            tf.clip_by_value(gradient, tf.cast(-bound, gradient.dtype), tf.cast(bound, gradient.dtype))
            for gradient in gradients
        ]


@registry.register
class Adaptive(GradientClip):
    """Limit each unit's gradient to a share of the unit's own norm (AGC).

    For each output unit, a column of a matrix or a filter of a convolution: gradient * min(1, limit * max(norm of the
    unit's weights, epsilon) / norm of its gradient); a vector is one unit.

    Args:
        limit: The share, > 0; 0.01 in the paper.
        epsilon: The least norm that a unit is taken to have, so that zero weights can move; > 0.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> clipped, = Adaptive(0.1)([tf.constant([[3.0], [4.0]])], [tf.constant([[6.0], [8.0]])])
        >>> print(clipped.numpy().round(2).T)
        [[0.6 0.8]]

    Source:
        Brock, De, Smith and Simonyan, High-Performance Large-Scale Image Recognition Without Normalization, 2021,
        equation 3.
    """

    limit: Number = 0.01
    epsilon: Number = 1e-3

    def check(self) -> None:
        require_limit(self.limit)
        require(self.epsilon > 0, "epsilon", "must be > 0", self.epsilon)

    def __call__(self, gradients: Sequence[Tensor], parameters: Sequence[Tensor], scale: Scalar = 1.0) -> list[Tensor]:
        clipped = []
        for gradient, parameter in zip(gradients, parameters, strict=True):
            size = tf.maximum(unit_norms(parameter), tf.cast(self.epsilon, "float32"))
            clipped.append(limited(gradient, unit_norms(gradient), size * product(self.limit, scale)))
        return clipped


def product(limit: Scalar, scale: Scalar) -> Tensor:
    return tf.cast(limit, "float32") * tf.cast(scale, "float32")


def require_limit(limit: Scalar) -> None:
    require(limit > 0, "limit", "must be > 0", limit)


def __getattr__(name: str) -> type[GradientClip]:
    """Return the class of an earlier name."""
    if name == "Clip":
        warn_moved("kopt.training.clips.Clip", "kopt.training.clips.GradientClip")
        return GradientClip
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
