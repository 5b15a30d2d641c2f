"""mapped: a function of one member as a function of stacked members."""

import logging
from collections.abc import Callable

import tensorflow as tf

from kopt.values.types import Nest, Tensor

__all__ = ["mapped", "traced"]

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


def traced(function: Callable[..., Nest]) -> Callable[..., Nest]:
    """Return a function mapped over the first axis, in a graph that is traced once for each number of members.

    TensorFlow warns of a function that it traces for several numbers of members by itself.

    Args:
        function: A function of nests of tensors.

    Returns:
        A function of the same nests, of stacked tensors.

    Example:
        >>> squared = traced(lambda row: row**2)
        >>> [squared(tf.ones((members, 2))).shape[0] for members in (3, 5, 3)]
        [3, 5, 3]

    Source:
        `tf.function`.
    """
    made: dict[int, Callable[..., Nest]] = {}

    def of_all(*arguments: Nest) -> Nest:
        members = int(tf.nest.flatten(arguments)[0].shape[0])
        if members not in made:
            made[members] = tf.function(mapped(function), autograph=False).get_concrete_function(*arguments)
        return made[members](*arguments)

    return of_all
