"""Norms of a tensor, whole and by output units, in float32 for any dtype; and the scale that bounds one."""

from keras import ops

from kopt.values.types import Tensor

__all__ = ["limited", "norm", "unit_norms"]


def norm(tensor: Tensor) -> Tensor:
    """Return the Euclidean norm of all numbers of a tensor.

    Args:
        tensor: A tensor of any shape; of no numbers the norm is 0.

    Returns:
        A float32 scalar.

    Example:
        >>> float(norm(ops.array([3.0, 4.0])))
        5.0

    Source:
        Folklore.
    """
    return ops.sqrt(ops.sum(ops.square(ops.cast(tensor, "float32"))))


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
    vector = sum(length != 1 for length in tensor.shape) <= 1
    axes = tuple(range(len(tensor.shape) - (0 if vector else 1)))
    squares = ops.square(ops.cast(tensor, "float32"))
    return ops.sqrt(ops.sum(squares, axis=axes, keepdims=True) if axes else squares)


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
