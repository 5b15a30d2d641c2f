"""Forecasters: models of the next values of a series, from a window of its past."""

from abc import abstractmethod
from dataclasses import KW_ONLY

import keras
from keras import layers, ops

from kopt.models.base import Model, registry
from kopt.tasks.task import Task
from kopt.values.checks import require
from kopt.values.fields import Number
from kopt.values.types import Tensor

__all__ = ["Forecaster", "ForecastMLP", "ForecastTCN"]


class Forecaster(Model):
    """A model of the next values of the first channel of a window.

    Each window is centered and scaled by the mean and deviation of each channel, and the forecast is scaled back. So
    the model works at levels that the training data do not have.

    Args:
        inputs: (length, channels) of a window, whose first channel is forecast; None in a recipe, whose data give it.
        outputs: Number of values to forecast, >= 1; None in a recipe, whose data give it.
        dropout: Share dropped in training, in [0, 1).

    Example:
        >>> ForecastMLP((336, 6), 48).build().output_shape
        (None, 48)
    """

    inputs: tuple[int, ...] | None = None
    outputs: int | None = None
    _: KW_ONLY
    dropout: Number = 0.0

    @property
    def task(self) -> Task:
        return "forecast"

    def check(self) -> None:
        window = self.inputs is None or (len(self.inputs) == 2 and min(self.inputs) >= 1)
        require(window, "inputs", "must be (length, channels), each >= 1", self.inputs)
        require(self.outputs is None or self.outputs >= 1, "outputs", "must be >= 1", self.outputs)
        require(0 <= self.dropout < 1, "dropout", "must be in [0, 1)", self.dropout)

    def build(self) -> keras.Model:
        self.require_sizes("inputs", "outputs")
        window = keras.Input(self.inputs)
        mean = ops.mean(window, axis=1, keepdims=True)
        deviation = ops.sqrt(ops.var(window, axis=1, keepdims=True) + 1e-6)
        ahead = layers.Dense(self.outputs)(self.features((window - mean) / deviation))
        return keras.Model(window, ahead * deviation[:, 0, :1] + mean[:, 0, :1], name=type(self).__name__.lower())

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Turn (n, length, channels) centered windows into (n, features)."""


@registry.register
class ForecastMLP(Forecaster):
    """Dense layers over the whole window.

    Args:
        inputs: (length, channels) of a window, whose first channel is forecast; None in a recipe, whose data give it.
        outputs: Number of values to forecast, >= 1; None in a recipe, whose data give it.
        dropout: Share of each layer's outputs dropped in training, in [0, 1).
        units: Width of each hidden layer, each >= 1.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> ForecastMLP((10, 1), 2, units=(4,)).build().count_params()
        54

    Source:
        Rumelhart, Hinton and Williams, 1986; Kim et al., Reversible Instance Normalization, 2022, for the scaling.
    """

    _: KW_ONLY
    suits = {("windows", "forecast"): {}}
    units: tuple[int, ...] = (256, 128)

    def check(self) -> None:
        super().check()
        require(all(size >= 1 for size in self.units), "units", "must be >= 1 each", self.units)

    def features(self, x: Tensor) -> Tensor:
        x = layers.Flatten()(x)
        for units in self.units:
            x = layers.Dense(units, "relu")(x)
            x = layers.Dropout(self.dropout)(x) if self.dropout else x
        return x


@registry.register
class ForecastTCN(Forecaster):
    """Causal convolutions of width 3 with residuals, whose dilation doubles with each layer; the last position counts.

    Args:
        inputs: (length, channels) of a window, whose first channel is forecast; None in a recipe, whose data give it.
        outputs: Number of values to forecast, >= 1; None in a recipe, whose data give it.
        dropout: Share of each layer's outputs dropped in training, in [0, 1).
        filters: Number of filters of each layer, >= 1.
        levels: Number of layers, >= 1; the receptive field has 2 ** (levels + 1) - 1 positions.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> ForecastTCN((64, 2), 4, filters=8, levels=4).build().output_shape
        (None, 4)

    Source:
        Bai, Kolter and Koltun, An Empirical Evaluation of Generic Convolutional and Recurrent Networks, 2018.
    """

    _: KW_ONLY
    filters: int = 32
    levels: int = 7

    def check(self) -> None:
        super().check()
        require(self.filters >= 1, "filters", "must be >= 1", self.filters)
        require(self.levels >= 1, "levels", "must be >= 1", self.levels)

    def features(self, x: Tensor) -> Tensor:
        x = layers.Dense(self.filters)(x)
        for level in range(self.levels):
            inner = layers.Conv1D(self.filters, 3, padding="causal", dilation_rate=2**level, activation="relu")(x)
            x = x + (layers.Dropout(self.dropout)(inner) if self.dropout else inner)
        return x[:, -1]
