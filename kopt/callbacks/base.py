"""The registry of callbacks, and what they are made of."""

from abc import abstractmethod
from typing import Any

import keras

from kopt.keras_internals import optimizers_of
from kopt.training.hooks import Callback
from kopt.training.steps.installing import own_step
from kopt.values.checks import require
from kopt.values.registry import Registry

__all__ = ["Placed", "registry"]

registry: Registry[keras.callbacks.Callback] = Registry("callbacks")


class Placed(Callback):
    """A callback that puts something into a model's optimizers or training step, which may be replaced in a run.

    Where a callback compiles the model or gives it another optimizer, it is put there anew before the next step.

    Args:
        optimizer: The attribute of the model that is the only optimizer it is for; None for all.
        **arguments: Of another class that it is made of.

    Example:
        >>> class Named(Placed):
        ...     def place(self):
        ...         self.names = list(self.optimizers)
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> named = Named()
        >>> named.set_model(model)
        >>> named.names
        ['optimizer']
    """

    any_stretch = True
    function: Any = None
    parts: list[Any] = []

    def __init__(self, optimizer: str | None = None, **arguments: Any):
        super().__init__(**arguments)
        require(optimizer is None or isinstance(optimizer, str), "optimizer", "must be an attribute's name", optimizer)
        self.optimizer = optimizer

    def set_model(self, model: Any) -> None:
        """Install the callback's part before the training function is made."""
        super().set_model(model)
        self.place()
        self.parts = self.parts_now()

    @abstractmethod
    def place(self) -> None:
        """Install the callback's part in the model's optimizers or training step, unless it is there."""

    def place_anew(self) -> None:
        """Move the callback's part to new optimizers in the middle of a run, with its state."""
        self.place()

    @property
    def optimizers(self) -> dict[str, Any]:
        """Return the optimizers that it is for, by name."""
        return optimizers_of(self.model, own_step(self.model), self.optimizer)

    def parts_now(self) -> list[Any]:
        return [self.model.optimizer, *self.optimizers.values(), *self.model.trainable_weights]

    def follow(self) -> None:
        """Install the part again after optimizers or trainable weights were replaced; compile drops the traced step."""
        model = self.model
        if model.train_function is self.function is not None and model.optimizer is self.parts[0]:
            return
        parts = self.parts_now()
        if len(parts) != len(self.parts) or any(one is not other for one, other in zip(parts, self.parts)):
            self.place_anew()
            self.parts = self.parts_now()
            model.train_function = None  # what was traced, and is watched, is of the parts before
        if model.train_function is None:
            model.make_train_function()  # model.fit would call the one that compile has dropped
        self.function = model.train_function

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.follow()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.follow()
