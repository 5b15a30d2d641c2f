"""How much memory the state of a rule takes."""

from collections.abc import Sequence

import tensorflow as tf

from kopt.rules.base import Rule
from kopt.values.types import DType

__all__ = ["state_bytes"]


def state_bytes(rule: Rule, shapes: Sequence[Sequence[int]], dtype: DType = "float32") -> int:
    """Count the bytes of a rule's state for parameters of these shapes, without making them.

    The bytes a parameter are this over the number of parameters. A rule that must be bound comes bound.

    Args:
        rule: The rule.
        shapes: The shapes of the parameters.
        dtype: The type of the parameters.

    Returns:
        The bytes of all tensors of the state.

    Example:
        >>> from kopt.rules import Adafactor, Adam, Adam8bit, AdamMini, APOLLO, GaLore
        >>> kernel = (512, 512)
        >>> for rule in (Adam(), AdamMini(), GaLore(), Adam8bit(), Adafactor(), APOLLO()):
        ...     print(f"{type(rule).__name__} {state_bytes(rule, [kernel]) / 512**2:.3f}")
        Adam 8.000
        AdamMini 4.008
        GaLore 3.000
        Adam8bit 2.031
        Adafactor 0.016
        APOLLO 0.016

    Source:
        Folklore.
    """

    with tf.Graph().as_default():  # described and never run
        state = tf.nest.flatten(rule.init([tf.zeros(shape, dtype) for shape in shapes]))
    return sum(int(one.shape.num_elements()) * int(one.dtype.size) for one in state)
