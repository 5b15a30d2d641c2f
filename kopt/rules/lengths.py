"""Lengths of whole tensors that neither overflow nor vanish."""

import tensorflow as tf

from kopt.rules.matrices import working_dtype
from kopt.values.types import Tensor

__all__ = ["length", "mean_length"]


def length(tensor: Tensor, axis: int | None = None) -> Tensor:
    """Return the Euclidean norm of a tensor or, along an axis, of its parts; at least in float32.

    The numbers are divided by the largest one first: the squares of 1e30 and of 1e-30 are no float32 numbers.

    Args:
        tensor: A tensor of any shape; of no numbers the length is 0.
        axis: The axis that is summed over, and stays with one place; None for all.

    Returns:
        A scalar, or a tensor of the lengths.

    Example:
        >>> round(float(length(tf.constant([3e30, 4e30]))) / 1e30, 3)
        5.0

    Source:
        Folklore.
    """
    numbers = tf.cast(tensor, working_dtype(tensor))
    largest = tf.maximum(tf.reduce_max(tf.abs(numbers), axis, keepdims=True), 0)  # of no numbers it is -inf
    scaled = tf.math.divide_no_nan(numbers, largest)
    whole = largest * tf.sqrt(tf.reduce_sum(tf.square(scaled), axis, keepdims=True))
    return tf.reshape(whole, []) if axis is None else whole


def mean_length(tensor: Tensor) -> Tensor:
    """Return the root of the mean square of a tensor.

    Args:
        tensor: A tensor of any shape; of no numbers the root is 0.

    Returns:
        A scalar, at least in float32.

    Example:
        >>> float(mean_length(tf.constant([1.0, 7.0])))
        5.0

    Source:
        Folklore.
    """
    return length(tensor) / max(1, tensor.shape.num_elements()) ** 0.5
