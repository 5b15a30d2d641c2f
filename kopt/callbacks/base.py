"""The registry of callbacks, and the check of the optimizer that a callback is for."""

import keras

from kopt.values.checks import require
from kopt.values.registry import Registry

__all__ = ["registry"]

registry: Registry[keras.callbacks.Callback] = Registry("callbacks")


def optimizer_name(optimizer: str | None) -> str | None:
    """Return the name of the model's attribute that is the optimizer; raise ValueError when it is no name."""
    require(optimizer is None or isinstance(optimizer, str), "optimizer", "must be an attribute's name", optimizer)
    return optimizer
