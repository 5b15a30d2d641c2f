"""Knobs and slots: live numbers and arrays that are saved with the model."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

__all__ = ["Knob", "Slots", "held_knob", "held_slots"]

PREFIX = "kopt_"  # of the attributes by which optimizers hold Knobs and Slots


@keras.saving.register_keras_serializable(package="kopt")
class Knob(keras.layers.Layer):
    """One live scalar: programs read the variable, so that setting it needs no retrace.

    It is a Keras layer because an optimizer that holds one saves it in `.keras` and `.weights.h5` files. A file that
    lacks it leaves the value as it is.

    Args:
        value: The first value.
        dtype: The variable's type, Keras' float type by default.

    Example:
        >>> knob = Knob(1.0)
        >>> knob.set(0.5)
        >>> float(knob)
        0.5
    """

    def __init__(self, value: float = 1.0, dtype: str | None = None, **arguments: Any):
        super().__init__(dtype=dtype, trainable=False, **arguments)
        self.value = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(value),
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
            name="value",
        )
        self.built = True

    def set(self, value: float) -> None:
        """Write the value, from outside a program."""
        self.value.assign(value)

    def __float__(self) -> float:
        return float(keras.ops.convert_to_numpy(self.value))

    def load_own_variables(self, store: Any) -> None:
        """Take the value from a file, where it has one."""
        if "0" in store.keys():
            self.value.assign(np.asarray(store["0"]))


@keras.saving.register_keras_serializable(package="kopt")
class Slots(keras.layers.Layer):
    """Live arrays that an optimizer which holds them saves, as it does Knobs.

    A file that lacks them, or has others, leaves them as they are.

    Args:
        shapes: The shape of each.
        dtypes: The type of each.

    Example:
        >>> slots = Slots([(2,), (3, 1)], ["float32", "int32"])
        >>> [tuple(array.shape) for array in slots.arrays]
        [(2,), (3, 1)]
    """

    def __init__(self, shapes: Sequence[Sequence[int]], dtypes: Sequence[str], **arguments: Any):
        super().__init__(trainable=False, **arguments)
        how: dict[str, Any] = {"trainable": False, "autocast": False, "aggregation": "only_first_replica"}
        self.arrays = [
            self.add_weight(shape=tuple(shape), initializer="zeros", dtype=dtype, name=f"array_{place}", **how)
            for place, (shape, dtype) in enumerate(zip(shapes, dtypes))
        ]
        self.built = True

    def load_own_variables(self, store: Any) -> None:
        """Take the arrays from a file, where it has the same."""
        there = [store[str(place)] for place in range(len(store.keys()))]
        if [tuple(array.shape) for array in there] == [tuple(array.shape) for array in self.arrays]:
            for array, value in zip(self.arrays, there):
                array.assign(np.asarray(value))


def held_knob(holder: Any, name: str, value: float, dtype: str | None = None) -> Knob:
    """Give the Knob of that name that an object holds, made at the first call.

    Args:
        holder: An optimizer; it saves what it holds.
        name: The attribute.
        value: The first value.
        dtype: The variable's type, Keras' float type by default.

    Returns:
        The Knob.

    Example:
        >>> import keras
        >>> optimizer = keras.optimizers.SGD(0.1)
        >>> held_knob(optimizer, "mine", 2.0) is held_knob(optimizer, "mine", 3.0)
        True
    """
    if not hasattr(holder, name):
        setattr(holder, name, Knob(value, dtype))
    return getattr(holder, name)


def held_slots(holder: Any, name: str, like: Sequence[Any]) -> Slots:
    """Give the Slots of that name that an object holds, made at the first call, or when the arrays are to be others.

    Args:
        holder: An optimizer; it saves what it holds.
        name: The attribute.
        like: Variables or arrays of the same shapes and types.

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
    held = getattr(holder, name, None)
    same = held is not None and [(tuple(one.shape), one.dtype) for one in held.arrays] == list(zip(shapes, dtypes))
    if not same:
        setattr(holder, name, Slots(shapes, dtypes))
    return getattr(holder, name)
