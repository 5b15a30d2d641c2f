"""Model: an architecture as a value that builds the Keras model."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, Self, TypeAlias

import keras
import numpy as np

from kopt.tasks.task import Task, loss_of, score_of
from kopt.values.checks import require
from kopt.values.field_paths import read, replace
from kopt.values.fields import Value, hints
from kopt.values.registry import Registry
from kopt.values.types import ArrayLike, FieldValue

__all__ = ["Kind", "Model", "choices", "registry"]

# Kinds of raw inputs: numbers, among which images (n, height, width, channels) and windows (n, length, channels) have
# models of their own; pairs of a user and an item; columns by name; texts.
Kind = Literal["numbers", "images", "windows", "pairs", "columns", "texts"]
Suited: TypeAlias = Mapping[tuple[Kind, Task], Mapping[str, FieldValue]]

registry: Registry["Model"] = Registry("models")


class Model(Value):
    """An architecture with its sizes; `build()` makes the Keras model, `loss()` and `metrics()` fit its outputs.

    Every model has `inputs`, the shape of one example as the network takes it, and `outputs`, the number of classes,
    of numbers, or of items. Both may be None in a recipe, whose data give them. `encoder(x)`, made from the training
    inputs, turns raw input into that shape; the model of a saved run contains it.

    Attributes:
        takes: Kinds of raw inputs: "numbers", "columns" by name, "texts".
        from_data: The fields that may be None, for data to give them.
        suits: The kinds of data and the tasks for which a recipe without a model takes this one, each with the fields
            that differ from their defaults; a kind and a task have one model.

    Example:
        >>> from kopt.models import MLP
        >>> MLP((4,), 3).build().output_shape
        (None, 3)
    """

    takes: ClassVar[tuple[str, ...]] = ("numbers",)
    from_data: ClassVar[tuple[str, ...]] = ("inputs", "outputs")
    suits: ClassVar[Suited] = {}

    if TYPE_CHECKING:  # fields of some models, properties of others

        @property
        def inputs(self) -> tuple[int, ...] | None: ...

        @property
        def outputs(self) -> int | None: ...

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

    # What a recipe asks

    def sizes_in(self, x: np.ndarray, outputs: int) -> Mapping[str, FieldValue]:
        """Return the fields that data give.

        Args:
            x: The training inputs as the encoder gives them.
            outputs: The number of classes, of numbers, or of items in the targets.

        Returns:
            Field -> its value for these data, for each of `from_data`.
        """
        return {"inputs": tuple(x.shape[1:]), "outputs": outputs}

    def sized(self, x: np.ndarray, outputs: int) -> "Model":
        """Return the model with the fields that are None filled in from data, as `sizes_in` finds them."""
        lacking = self.open_sizes()
        found = self.sizes_in(x, outputs) if lacking else {}
        return replace(self, {name: found[name] for name in lacking}) if lacking else self

    def open_sizes(self) -> list[str]:
        """Return the fields among `from_data` that are None."""
        return [name for name in self.from_data if name in hints(type(self)) and read(self, name) is None]

    def suited(self, x: ArrayLike, y: np.ndarray) -> Self:
        """Return the model, which was chosen for data, with the fields that their raw training split decides."""
        return self

    def notes(self) -> list[str]:
        """Return sentences for the log of a run: what of the model a user may not expect."""
        return []

    # What a model asks

    def require_sizes(self, *names: str) -> None:
        """Raise ValueError when a field that data give is None: outside a recipe it must be given."""
        for name in names:
            given = read(self, name)
            require(given is not None, name, "must be given where no recipe finds it in its data", given)


def choices() -> dict[tuple[Kind, Task], Model]:
    """List the models that recipes take when they are given none.

    Returns:
        The kind of raw inputs and the task -> the model, without the sizes that data give.

    Example:
        >>> choices()["images", "classification"]
        ConvNet()
    """
    return {case: kind(**fields) for kind in registry.values() for case, fields in kind.suits.items()}
