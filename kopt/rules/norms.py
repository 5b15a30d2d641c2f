"""Norms of a tensor, whole, along an axis and by output units; and the scale that bounds one."""

import tensorflow as tf
from keras import ops

from kopt.rules.axes import working_dtype
from kopt.values.types import Tensor

__all__ = ["length", "limited", "mean_length", "unit_norms"]


def length(tensor: Tensor, axis: int | tuple[int, ...] | None = None) -> Tensor:
    """Return the Euclidean norm of a tensor or, along axes, of its parts; at least in float32.

    The numbers are divided by the largest one first: the squares of 1e30 and of 1e-30 are no float32 numbers.

    Args:
        tensor: A tensor of any shape; of no numbers the norm is 0.
        axis: The axis or axes along which parts are measured; None for all numbers.

    Returns:
        A scalar or, along axes, a tensor with these axes of size 1.

    Example:
        >>> float(length(tf.constant([3e30, 4e30]))) == float(tf.constant(5e30))
        True

    Source:
        Blue, A Portable Fortran Program to Find the Euclidean Norm of a Vector, 1978.
    """
    numbers = tf.cast(tensor, working_dtype(tensor))
    largest = tf.maximum(tf.reduce_max(tf.abs(numbers), axis, keepdims=True), 0)  # of no numbers it is -inf
    scaled = tf.math.divide_no_nan(numbers, largest)
    whole = largest * tf.sqrt(tf.reduce_sum(tf.square(scaled), axis, keepdims=True))
    return tf.reshape(whole, []) if axis is None else whole


def mean_length(tensor: Tensor) -> Tensor:
    """Return the root of the mean square of a tensor; 0 of a tensor without numbers.

    Args:
        tensor: A tensor of any shape.

    Returns:
        A scalar, at least in float32.

    Example:
        >>> round(float(mean_length(tf.constant([1.0, 7.0]))), 3)
        5.0

    Source:
        Folklore.
    """
    return length(tensor) / max(1, tensor.shape.num_elements()) ** 0.5


def unit_norms(tensor: Tensor) -> Tensor:
    """Return the norm of each output unit's numbers: of a column, or of a filter; a vector is one unit.

    Args:
        tensor: A tensor whose last axis is that of the outputs, as in Keras.

    Returns:
        A float32 tensor in a shape that broadcasts over the tensor.

    Example:
        >>> print(unit_norms(ops.array([[3.0, 0.0], [4.0, 2.0]])).numpy())
        [[5. 2.]]

    Source:
        Brock, De, Smith and Simonyan, High-Performance Large-Scale Image Recognition Without Normalization, 2021,
        section 4.1.
    """
    vector = sum(size != 1 for size in tensor.shape) <= 1
    axes = tuple(range(len(tensor.shape) - (0 if vector else 1)))
    return ops.cast(length(tensor, axes), "float32")


def limited(gradient: Tensor, norm: Tensor, bound: Tensor) -> Tensor:
    """Return a gradient, scaled down where its norm is above a bound.

    Args:
        gradient: The gradient.
        norm: Its norm, or the norms of its units.
        bound: The largest norm.

    Returns:
        A tensor like the gradient.

    Example:
        >>> print(limited(ops.array([3.0, 4.0]), 5.0, 1.0).numpy().round(2))
        [0.6 0.8]

    Source:
        Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks, 2013, algorithm 1.
    """
    factor = bound / ops.maximum(norm, bound)
    return gradient * ops.cast(factor, gradient.dtype)
