"""Model: what is trained, as a value that builds it."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import keras

from kopt.tasks.task import Task, loss_of, score_of
from kopt.values.fields import Value
from kopt.values.registry import Registry

__all__ = ["Model", "registry"]

registry: Registry["Model"] = Registry("models")


class Model(Value):
    """An architecture with its sizes; `build()` makes the Keras model, `loss()` and `metrics()` fit its outputs.

    Every model has `inputs`, the shape of one example as the network takes it, and `outputs`, the number of classes,
    of numbers, or of items. What turns raw input into that is `encoder(x)`, made from the training inputs; a saved run
    has it inside.

    Example:
        >>> from kopt.models import MLP
        >>> MLP((4,), 3).build().output_shape
        (None, 3)
    """

    takes: ClassVar[tuple[str, ...]] = ("numbers",)  # kinds of raw inputs: "numbers", "columns" by name, "texts"

    if TYPE_CHECKING:  # fields of some, properties of others

        @property
        def inputs(self) -> Any: ...

        @property
        def outputs(self) -> Any: ...

    @property
    def task(self) -> Task:
        """What the outputs are: logits over classes, numbers, items, or characters."""
        return "classification"

    @abstractmethod
    def build(self) -> keras.Model:
        """Make the network, with fresh weights and uncompiled."""

    def encoder(self, x: Any) -> keras.Model | None:
        """Make what turns raw inputs into the network's, from training inputs; None where they are the same."""
        return None

    def loss(self) -> keras.losses.Loss:
        """The loss that belongs to the outputs."""
        return loss_of(self.task)

    def metrics(self) -> list[Any]:
        """The score that belongs to the outputs."""
        return [score_of(self.task)]
