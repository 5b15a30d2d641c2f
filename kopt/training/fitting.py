"""fit: train a model by a Loop with its defaults."""

from typing import Any

import keras

from kopt.training.loop import Loop
from kopt.values.types import KerasModel, Nest

__all__ = ["fit"]


def fit(model: KerasModel, x: Nest = None, y: Nest = None, **arguments: Any) -> keras.callbacks.History:
    """Train a compiled model by a `Loop` with its defaults.

    Args:
        model: A compiled Keras model.
        x: Inputs, as for `Loop.fit`.
        y: Targets.
        **arguments: As for `Loop.fit`.

    Returns:
        The History.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> sorted(fit(model, np.eye(2), np.ones((2, 1)), epochs=3, verbose=0).history)
        ['loss']

    Source:
        `keras.Model.fit`.
    """
    return Loop(model).fit(x, y, **arguments)
