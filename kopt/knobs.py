"""Knob: one live scalar that is saved with the model."""

import io
import os
import zipfile
from typing import Any

import h5py
import keras
import numpy as np

__all__ = ["Knob", "held_knob", "load_model"]

PREFIX = "kopt_"  # of the attributes by which optimizers hold Knobs


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


def load_model(path: str | os.PathLike[str], **arguments: Any) -> Any:
    """Load a `.keras` file as Keras does, and the Knobs that its optimizer held: plateau counters, multipliers.

    `keras.saving.load_model` gives the same model, but a fresh optimizer has no place for them and Keras drops them.

    Args:
        path: A `.keras` file.
        **arguments: As for `keras.saving.load_model`.

    Returns:
        The model.

    Example:
        >>> import keras, tempfile
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("adam", "mse")
        >>> model.optimizer.build(model.trainable_variables)
        >>> held_knob(model.optimizer, "kopt_multiplier", 0.5).set(0.25)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/model.keras")
        ...     float(load_model(f"{folder}/model.keras").optimizer.kopt_multiplier)
        0.25
    """
    model = keras.saving.load_model(path, **arguments)
    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r") as file:
        holder, group = model.optimizer, file.get("optimizer", {})
        while holder is not None:
            for name in (name for name in group if name.startswith(PREFIX)):
                value = group[name]["vars"]["0"]
                held_knob(holder, name, float(value[()]), value.dtype.name).set(float(value[()]))
            holder, group = getattr(holder, "inner_optimizer", None), group.get("inner_optimizer", {})
    return model
