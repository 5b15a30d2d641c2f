"""Model: an architecture as a value that builds the Keras model."""

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import keras

from kopt.tasks.task import Task, loss_of, score_of
from kopt.values.fields import Value
from kopt.values.registry import Registry
from kopt.values.types import ArrayLike

__all__ = ["Model", "registry"]

registry: Registry["Model"] = Registry("models")


class Model(Value):
    """An architecture with its sizes; `build()` makes the Keras model, `loss()` and `metrics()` fit its outputs.

    Every model has `inputs`, the shape of one example as the network takes it, and `outputs`, the number of classes,
    of numbers, or of items. `encoder(x)`, made from the training inputs, turns raw input into that shape; the model of
    a saved run contains it.

    Example:
        >>> from kopt.models import MLP
        >>> MLP((4,), 3).build().output_shape
        (None, 3)
    """

    takes: ClassVar[tuple[str, ...]] = ("numbers",)  # kinds of raw inputs: "numbers", "columns" by name, "texts"

    if TYPE_CHECKING:  # fields of some models, properties of others

        @property
        def inputs(self) -> tuple[int, ...]: ...

        @property
        def outputs(self) -> int: ...

    @property
    def task(self) -> Task:
        """The kind of the outputs: logits over classes, numbers, items, or characters."""
        return "classification"

    @abstractmethod
    def build(self) -> keras.Model:
        """Build the network, with fresh weights and uncompiled."""

    def encoder(self, x: ArrayLike) -> keras.Model | None:
        """Return a model from raw inputs to the network's, made from training inputs; None when they are equal."""
        return None

    def loss(self) -> keras.losses.Loss:
        """Return the loss for the outputs."""
        return loss_of(self.task)

    def metrics(self) -> list[keras.metrics.Metric]:
        """Return the metrics for the outputs; one with a direction of its own declares it (`kopt.tasks.better`)."""
        return [score_of(self.task)]
