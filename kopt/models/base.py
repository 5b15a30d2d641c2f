"""Model: what is trained, as a value that builds it."""

from abc import abstractmethod
from typing import Any, Literal

import keras

from kopt.fields import Value
from kopt.registry import Registry

__all__ = ["Model", "registry"]

registry: Registry["Model"] = Registry("models")

Task = Literal["classification", "regression"]


class Model(Value):
    """An architecture with its sizes; `build()` makes the Keras model, `loss()` and `metrics()` fit its outputs.

    Args:
        inputs: Shape of one example.
        outputs: Number of classes, or of numbers to predict.

    Example:
        >>> from kopt.models import MLP
        >>> MLP((4,), 3).build().output_shape
        (None, 3)
    """

    inputs: tuple[int, ...]
    outputs: int

    @property
    def task(self) -> Task:
        """What the outputs are: logits over classes, or numbers."""
        return "classification"

    @abstractmethod
    def build(self) -> keras.Model:
        """Make the model, with fresh weights and uncompiled; raw input goes in, scaling is inside."""

    def loss(self) -> keras.losses.Loss:
        """Cross-entropy over integer classes, or the mean squared error."""
        if self.task == "classification":
            return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        return keras.losses.MeanSquaredError()

    def metrics(self) -> list[Any]:
        """Accuracy, or the mean absolute error."""
        return ["accuracy"] if self.task == "classification" else ["mae"]
