"""Knob: one live scalar that is saved with the model."""

from typing import Any

import keras
import numpy as np

__all__ = ["Knob"]


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
