"""Multi-layer perceptron."""

from dataclasses import KW_ONLY

import keras
import numpy as np

from kopt.models.base import Model, registry
from kopt.models.columns import columns_encoder
from kopt.tasks.task import PlainTask
from kopt.values.checks import require
from kopt.values.field_paths import replace
from kopt.values.fields import Number
from kopt.values.types import ArrayLike

__all__ = ["MLP"]

# What a recipe without a model takes.
TABLE = {"units": (128, 64), "bins": 16, "dropout": 0.1}
NUMBERS = {"units": (128, 64), "dropout": 0.1, "standardize": True}
NO_ACTIVATIONS = ("get", "serialize", "deserialize")  # functions of the same module


@registry.register
class MLP(Model):
    """Dense layers: h = activation(W h + b) for each of `units`, then a linear layer.

    The first one to try on a table. Without units it is linear or logistic regression.

    Args:
        inputs: Shape of one example as the network takes it; None in a recipe, whose data and `bins` give it.
        outputs: Number of classes, or of numbers to predict, >= 1; None in a recipe, whose data give it.
        units: Width of each hidden layer, each >= 1.
        activation: The name of a Keras activation.
        dropout: Share of each hidden layer's outputs dropped in training, in [0, 1).
        scale: Factor of the raw input.
        bins: Bins of each number of a table, >= 0; see `models.columns.columns_encoder`.
        start: The bias of the outputs before training; give the mean of the targets when it is far from 0.
        spread: Factor of the outputs, > 0; give the deviation of the targets when it is far from 1.
        standardize: Whether each number of an example is standardized by its mean and deviation over the training
            split; columns by name always are.
        task: "classification", "regression" or "forecast".

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> MLP((10,), 1, units=(5,), task="regression").build().count_params()
        61

    Source:
        Rumelhart, Hinton and Williams, Learning representations by back-propagating errors, 1986.
    """

    takes = ("numbers", "columns")
    suits = {
        ("columns", "classification"): TABLE,
        ("columns", "regression"): TABLE | {"task": "regression"},
        ("numbers", "classification"): NUMBERS,
        ("numbers", "regression"): NUMBERS | {"task": "regression"},
        ("numbers", "forecast"): NUMBERS | {"task": "forecast"},
    }
    inputs: tuple[int, ...] | None = None
    outputs: int | None = None
    _: KW_ONLY
    units: tuple[int, ...] = (64,)
    activation: str = "relu"
    dropout: Number = 0.0
    scale: Number = 1.0
    bins: int = 0
    start: Number = 0.0
    spread: Number = 1.0
    standardize: bool = False
    task: PlainTask = "classification"

    def check(self) -> None:
        sized = self.inputs is None or (len(self.inputs) >= 1 and all(size >= 1 for size in self.inputs))
        require(sized, "inputs", "must be sizes >= 1", self.inputs)
        known = self.activation not in NO_ACTIVATIONS and callable(getattr(keras.activations, self.activation, None))
        require(known, "activation", "must be the name of a Keras activation", self.activation)
        require(self.outputs is None or self.outputs >= 1, "outputs", "must be >= 1", self.outputs)
        require(all(size >= 1 for size in self.units), "units", "must be >= 1 each", self.units)
        require(0 <= self.dropout < 1, "dropout", "must be in [0, 1)", self.dropout)
        require(self.bins >= 0, "bins", "must be >= 0", self.bins)
        require(self.spread > 0, "spread", "must be > 0", self.spread)

    def encoder(self, x: ArrayLike) -> keras.Model | None:
        if isinstance(x, dict):
            return columns_encoder(x, bins=self.bins)
        return standardizer(x) if self.standardize else None

    def suited(self, x: ArrayLike, y: np.ndarray) -> "MLP":
        """Return the model with the mean and the deviation of numbers to predict, which are seldom near 0 and 1."""
        if self.task == "classification":
            return self
        endless = int(np.sum(~np.isfinite(y)))
        require(endless == 0, "y of the training split", "must be finite", f"{endless} that are not")
        spread = float(f"{np.std(y):.3g}")
        return replace(self, {"start": float(f"{np.mean(y):.3g}"), "spread": spread if spread > 0 else 1.0})

    def build(self) -> keras.Model:
        self.require_sizes("inputs", "outputs")
        assert self.inputs is not None
        layers = keras.layers
        x = inputs = keras.Input(self.inputs)
        x = layers.Rescaling(self.scale)(x) if self.scale != 1 else x
        x = layers.Flatten()(x) if len(self.inputs) > 1 else x
        for units in self.units:
            x = layers.Dense(units, self.activation)(x)
            x = layers.Dropout(self.dropout)(x) if self.dropout else x
        start = keras.initializers.Constant(self.start / self.spread) if self.start else "zeros"
        x = layers.Dense(self.outputs, bias_initializer=start)(x)
        # In float32 under any policy: float16 has no numbers beyond 65,504.
        x = layers.Rescaling(self.spread, dtype="float32")(x) if self.spread != 1 else x
        return keras.Model(inputs, x, name="mlp")


def standardizer(x: np.ndarray) -> keras.Model:
    """Return a model that standardizes each number of an example; one that never varies becomes 0."""
    mean, variance = x.mean(0, dtype="float64"), x.var(0, dtype="float64")
    layer = keras.layers.Normalization(
        axis=tuple(range(1, x.ndim)), mean=mean, variance=np.where(variance > 0, variance, 1)
    )
    inputs = keras.Input(x.shape[1:])
    return keras.Model(inputs, layer(inputs), name="standardized")
