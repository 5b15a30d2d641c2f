"""mapped: a function of one member as a function of stacked members."""

import logging
from collections.abc import Callable

import tensorflow as tf

from kopt.values.types import Nest, Tensor

__all__ = ["mapped"]

TENSORFLOW = logging.getLogger("tensorflow")
IN_TURN = "Using a while_loop"  # how the warning begins that an operation, such as a random one, is not vectorized


class Quiet(logging.Filter):
    """Drops the warning that an operation is computed for one member after the other."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith(IN_TURN)


def mapped(function: Callable[..., Nest]) -> Callable[..., Nest]:
    """Return a function mapped over the first axis of all tensors in its arguments.

    Args:
        function: A function of nests of tensors.

    Returns:
        A function of the same nests, of stacked tensors.

    Example:
        >>> mapped(lambda state, number: state["a"] * number)({"a": tf.ones((2, 3))}, tf.constant([1.0, 2.0])).shape
        TensorShape([2, 3])

    Source:
        `tf.vectorized_map`.
    """

    def of_all(*arguments: Nest) -> Nest:
        tensors = [leaf for leaf in tf.nest.flatten(arguments) if leaf is not None]

        def one(rows: list[Tensor]) -> Nest:
            left = iter(rows)
            given = tf.nest.map_structure(lambda leaf: None if leaf is None else next(left), arguments)
            return function(*given)

        quiet = Quiet()
        TENSORFLOW.addFilter(quiet)
        try:
            return tf.vectorized_map(one, tensors)
        finally:
            TENSORFLOW.removeFilter(quiet)

    return of_all
