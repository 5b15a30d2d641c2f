"""Slots: live arrays that are saved with the optimizer that holds them."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kopt.values.types import ArrayLike, Config, KerasOptimizer, TensorSpec, Variable

__all__ = ["Slots", "held_slots"]


@keras.saving.register_keras_serializable(package="kopt")
class Slots(keras.layers.Layer):
    """Live arrays: an optimizer that holds them saves them, as it saves Knobs.

    A file that lacks the arrays, or has arrays of other shapes, leaves the values as they are.

    Args:
        shapes: The shape of each.
        dtypes: The type of each.

    Example:
        >>> slots = Slots([(2,), (3, 1)], ["float32", "int32"])
        >>> [tuple(array.shape) for array in slots.arrays]
        [(2,), (3, 1)]
    """

    def __init__(
        self, shapes: Sequence[Sequence[int]], dtypes: Sequence[str], **arguments: Any
    ):  # keras.layers.Layer's
        super().__init__(trainable=False, **arguments)
        how: Config = {"trainable": False, "autocast": False, "aggregation": "only_first_replica"}
        self.arrays = [
            self.add_weight(shape=tuple(shape), initializer="zeros", dtype=dtype, name=f"array_{place}", **how)
            for place, (shape, dtype) in enumerate(zip(shapes, dtypes))
        ]
        self.built = True

    def load_own_variables(self, store: Mapping[str, ArrayLike]) -> None:
        """Read the arrays from a file, where the file has arrays of the same shapes."""
        there = [store[str(place)] for place in range(len(store.keys()))]
        if [tuple(array.shape) for array in there] == [tuple(array.shape) for array in self.arrays]:
            for array, value in zip(self.arrays, there):
                array.assign(np.asarray(value))


def held_slots(holder: KerasOptimizer, name: str, like: Sequence[Variable | TensorSpec | np.ndarray]) -> Slots:
    """Return the Slots that an optimizer holds by a name; a call with other shapes or types makes new ones.

    Args:
        holder: The optimizer, which saves the Slots that it holds.
        name: The attribute.
        like: Variables, specs or arrays of the same shapes and types.

    Returns:
        The Slots.

    Example:
        >>> import keras
        >>> optimizer = keras.optimizers.SGD(0.1)
        >>> len(held_slots(optimizer, "mine", [np.zeros(2), np.zeros(3)]).arrays)
        2
    """
    shapes = [tuple(one.shape) for one in like]
    dtypes = [keras.backend.standardize_dtype(one.dtype) for one in like]
    held: Slots | None = vars(holder).get(name)
    same = held is not None and [(tuple(one.shape), one.dtype) for one in held.arrays] == list(zip(shapes, dtypes))
    if not same:
        setattr(holder, name, Slots(shapes, dtypes))
    return getattr(holder, name)
