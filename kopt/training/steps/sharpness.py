"""Sharpness: where a step of two gradients takes the second one, so that training ends in flat minima."""

from abc import abstractmethod
from collections.abc import Sequence

import tensorflow as tf

from kopt.values.checks import require
from kopt.values.fields import Number, Value
from kopt.values.registry import Registry
from kopt.values.types import Scalar, Tensor

__all__ = ["ASAM", "SAM", "Sharpness", "registry"]

registry: Registry["Sharpness"] = Registry("sharpness")
TINY = 1e-12  # added to a norm, so that a gradient of 0 moves nothing


class Sharpness(Value):
    """How far the weights are moved for the second gradient: a pure function over lists, which `TrainStep` calls.

    Example:
        >>> import tensorflow as tf
        >>> moved, = SAM(0.5).moved([tf.constant([3.0, 4.0])], [tf.zeros(2)])
        >>> print(moved.numpy().round(2))
        [0.3 0.4]
    """

    in_fit = "kopt.training.TrainStep(model, sharpness={})"

    @abstractmethod
    def moved(self, gradients: Sequence[Tensor], parameters: Sequence[Tensor], scale: Scalar = 1.0) -> list[Tensor]:
        """Return the weights at which the second gradient is taken.

        Args:
            gradients: Dense tensors, one a parameter: the gradient of the whole batch.
            parameters: The parameters' values.
            scale: The factor by which the gradients are too large because the loss is scaled; 1 where it is not.

        Returns:
            Tensors of the parameters' shapes and dtypes.
        """


@registry.register
class SAM(Sharpness):
    """Take the gradient at the worst weights within a radius, to first order.

    The second gradient is that at w + rho * g / (|g| + 1e-12), where g is the gradient of the whole batch and |g| its
    norm over all weights. An update costs two forward and backward passes: twice the operations.

    Args:
        rho: The radius, > 0; 0.05 in the paper for CIFAR-10 and ImageNet, 0.1 for CIFAR-100.

    Raises:
        ValueError: When the radius is out of range.

    Example:
        >>> import keras
        >>> from kopt.training import TrainStep
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> step = TrainStep(model, sharpness=SAM(0.05))

    Source:
        Foret, Kleiner, Mobahi and Neyshabur, Sharpness-Aware Minimization for Efficiently Improving Generalization,
        2021, algorithm 1. The authors' code (google-research/sam) draws dropout from one key in both passes, as here;
        by default it moves each device's weights by that device's gradient (m-sharpness), which is another algorithm
        for each number of devices: here g is the gradient of the whole batch, as with their `sync_perturbations`. Small
        epsilons follow pytorch_optimizer and davda54/sam, which draw dropout anew in the second pass.
    """

    rho: Number = 0.05

    def check(self) -> None:
        require(self.rho > 0, "rho", "must be > 0", self.rho)

    def moved(self, gradients: Sequence[Tensor], parameters: Sequence[Tensor], scale: Scalar = 1.0) -> list[Tensor]:
        gradients = unscaled(gradients, scale)
        share = tf.cast(self.rho, "float32") / (norm(gradients) + TINY)
        return [added(one, gradient * share) for one, gradient in zip(parameters, gradients, strict=True)]


@registry.register
class ASAM(Sharpness):
    """Take the gradient at the worst weights within a radius that grows with each weight: scaling a layer changes less.

    The second gradient is that at w + rho * T ** 2 * g / (|T * g| + 1e-12). T = |w| + eta for each weight of a tensor
    of two dimensions or more, and 1 for vectors and scalars. An update costs two forward and backward passes.

    Args:
        rho: The radius, > 0; 0.5 in the paper for CIFAR-10, 1 for CIFAR-100.
        eta: What is added to a weight's size, so that weights of 0 move too; >= 0.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> import tensorflow as tf
        >>> moved, = ASAM(0.5, eta=0).moved([tf.constant([[3.0, 4.0]])], [tf.constant([[1.0, 0.0]])])
        >>> print(moved.numpy().round(2))
        [[1.5 0. ]]

    Source:
        Kwon, Kim, Park and Choi, ASAM: Adaptive Sharpness-Aware Minimization for Scale-Invariant Learning of Deep
        Neural Networks, 2021, algorithm 1. As the authors' code (SamsungLabs/ASAM) does, biases have T = 1; there the
        scales of normalization, which are vectors named weight, have |w| + eta, and 1 here. pytorch_optimizer's
        `adaptive=True` has T = |w| for all, biases too, which do not move then until they are not 0.
    """

    rho: Number = 0.5
    eta: Number = 0.01

    def check(self) -> None:
        require(self.rho > 0, "rho", "must be > 0", self.rho)
        require(self.eta >= 0, "eta", "must be >= 0", self.eta)

    def moved(self, gradients: Sequence[Tensor], parameters: Sequence[Tensor], scale: Scalar = 1.0) -> list[Tensor]:
        sizes = [self.size(parameter) for parameter in parameters]
        steeper = [size * one for size, one in zip(sizes, unscaled(gradients, scale), strict=True)]
        share = tf.cast(self.rho, "float32") / (norm(steeper) + TINY)
        return [added(one, size * steep * share) for one, size, steep in zip(parameters, sizes, steeper)]

    def size(self, parameter: Tensor) -> Tensor:
        """Return T."""
        if len(parameter.shape) < 2:
            return tf.ones([], "float32")
        return tf.abs(tf.cast(parameter, "float32")) + tf.cast(self.eta, "float32")


def unscaled(gradients: Sequence[Tensor], scale: Scalar) -> list[Tensor]:
    """Return gradients in float32, divided by the scale of the loss."""
    return [tf.cast(gradient, "float32") / tf.cast(scale, "float32") for gradient in gradients]


def norm(tensors: Sequence[Tensor]) -> Tensor:
    """Return the norm over all tensors."""
    return tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(one)) for one in tensors]))


def added(parameter: Tensor, move: Tensor) -> Tensor:
    """Return the moved parameter, where the move is finite: an overflow of the norm moves nothing, NaN would spread."""
    move = tf.where(tf.math.is_finite(move), move, tf.zeros_like(move))
    return parameter + tf.cast(move, parameter.dtype)
