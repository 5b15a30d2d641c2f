"""The penalty of a model's weights in its logs."""

import weakref
from typing import Any

import keras
from keras import ops

from kopt.keras_internals import add_metric, remove_metric, weight_penalties

__all__ = ["Penalty", "put_into_logs"]


class Penalty(keras.metrics.Metric):
    """The sum of the penalties of a model's weights as they are when logs are made.

    It is computed from the weights and keeps nothing, so val_loss - val_penalty is the loss on the validation data
    alone, and "penalty" that after an epoch's last update.

    Args:
        model: The model; it is not kept alive.

    Example:
        >>> dense = keras.layers.Dense(1, kernel_initializer="ones", kernel_regularizer=keras.regularizers.L2(0.5))
        >>> model = keras.Sequential([keras.Input((2,)), dense])
        >>> float(Penalty(model).result())
        1.0
    """

    def __init__(self, model: Any):
        super().__init__(name="penalty")
        self.model = weakref.ref(model)

    def update_state(self, *arguments: Any, **named: Any) -> None:
        """Nothing: the weights are the state."""

    def result(self) -> Any:
        """The penalty now."""
        model = self.model()
        penalties = [] if model is None else weight_penalties(model)
        return ops.sum([ops.cast(penalty, self.dtype) for penalty in penalties]) if penalties else ops.zeros(())


def put_into_logs(model: Any, wanted: bool) -> None:
    """Put a model's penalty into its logs, or take it out.

    Args:
        model: A built Keras model.
        wanted: Whether it is to be in the logs.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> put_into_logs(model, True)
        >>> [metric.name for metric in model.metrics]
        ['penalty']
    """
    remove_metric(model, Penalty)
    if wanted:
        add_metric(model, Penalty(model))
