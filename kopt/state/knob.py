"""Knob: one live number that is saved with the optimizer that holds it."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kopt.values.types import ArrayLike, KerasOptimizer

__all__ = ["PREFIX", "Knob", "held_knob"]

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

    def __init__(self, value: float = 1.0, dtype: str | None = None, **arguments: Any):  # those of keras.layers.Layer
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

    def load_own_variables(self, store: Mapping[str, ArrayLike]) -> None:
        """Read the value from a file, where the file has one."""
        if "0" in store.keys():
            self.value.assign(np.asarray(store["0"]))


def held_knob(holder: KerasOptimizer, name: str, value: float, dtype: str | None = None) -> Knob:
    """Return the Knob that an optimizer holds by a name; the first call makes it.

    Args:
        holder: The optimizer, which saves the Knobs that it holds.
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
