"""Multi-layer perceptron."""

from dataclasses import KW_ONLY

import keras

from kopt.models.base import Model, registry
from kopt.models.columns import columns_encoder
from kopt.tasks.task import PlainTask
from kopt.values.checks import require
from kopt.values.fields import Number
from kopt.values.types import ArrayLike

__all__ = ["MLP"]

NO_ACTIVATIONS = ("get", "serialize", "deserialize")  # functions of the same module


@registry.register
class MLP(Model):
    """Dense layers: h = activation(W h + b) for each of `units`, then a linear layer.

    The first one to try on a table. Without units it is linear or logistic regression.

    Args:
        inputs: Shape of one example.
        outputs: Number of classes, or of numbers to predict; >= 1.
        units: Width of each hidden layer, each >= 1.
        activation: The name of a Keras activation.
        dropout: Share of each hidden layer's outputs dropped in training, in [0, 1).
        scale: Factor of the raw input.
        bins: Bins of each number of a table, >= 0; see `models.columns.columns_encoder`.
        start: The bias of the outputs before training; give the mean of the targets when it is far from 0.
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
    inputs: tuple[int, ...]
    outputs: int
    _: KW_ONLY
    units: tuple[int, ...] = (64,)
    activation: str = "relu"
    dropout: Number = 0.0
    scale: Number = 1.0
    bins: int = 0
    start: Number = 0.0
    task: PlainTask = "classification"

    def check(self) -> None:
        sized = len(self.inputs) >= 1 and all(size >= 1 for size in self.inputs)
        require(sized, "inputs", "must be sizes >= 1", self.inputs)
        known = self.activation not in NO_ACTIVATIONS and callable(getattr(keras.activations, self.activation, None))
        require(known, "activation", "must be the name of a Keras activation", self.activation)
        require(self.outputs >= 1, "outputs", "must be >= 1", self.outputs)
        require(all(size >= 1 for size in self.units), "units", "must be >= 1 each", self.units)
        require(0 <= self.dropout < 1, "dropout", "must be in [0, 1)", self.dropout)
        require(self.bins >= 0, "bins", "must be >= 0", self.bins)

    def encoder(self, x: ArrayLike) -> keras.Model | None:
        return columns_encoder(x, bins=self.bins) if isinstance(x, dict) else None

    def build(self) -> keras.Model:
        layers = keras.layers
        x = inputs = keras.Input(self.inputs)
        x = layers.Rescaling(self.scale)(x) if self.scale != 1 else x
        x = layers.Flatten()(x) if len(self.inputs) > 1 else x
        for units in self.units:
            x = layers.Dense(units, self.activation)(x)
            x = layers.Dropout(self.dropout)(x) if self.dropout else x
        start = keras.initializers.Constant(self.start) if self.start else "zeros"
        return keras.Model(inputs, layers.Dense(self.outputs, bias_initializer=start)(x), name="mlp")
