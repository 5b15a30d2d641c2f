"""The metric "penalty": the penalties of a model's weights in its logs."""

import weakref

import keras
from keras import ops

from kopt.keras_internals import add_metric, remove_metric, weight_penalties
from kopt.values.types import KerasModel, Nest, Tensor

__all__ = ["Penalty", "put_into_logs"]


class Penalty(keras.metrics.Metric):
    """The sum of the penalties of a model's weights at the time of the logs.

    It is computed from the weights, without a state: val_loss - val_penalty is the loss on the validation data alone,
    and "penalty" is that after the last update of an epoch.

    Args:
        model: The model; the metric holds a weak reference.

    Example:
        >>> dense = keras.layers.Dense(1, kernel_initializer="ones", kernel_regularizer=keras.regularizers.L2(0.5))
        >>> model = keras.Sequential([keras.Input((2,)), dense])
        >>> float(Penalty(model).result())
        1.0
    """

    def __init__(self, model: KerasModel):
        super().__init__(name="penalty")
        self.model = weakref.ref(model)

    def update_state(self, *arguments: Nest, **named: Nest) -> None:
        """Do nothing: the weights are the state."""

    def result(self) -> Tensor:
        """Return the sum of the penalties of the present weights."""
        model = self.model()
        penalties = [] if model is None else weight_penalties(model)
        return ops.sum([ops.cast(penalty, self.dtype) for penalty in penalties]) if penalties else ops.zeros(())


def put_into_logs(model: KerasModel, wanted: bool) -> None:
    """Add "penalty" to the logs of a model, or remove it.

    Args:
        model: A built Keras model.
        wanted: Whether the logs hold "penalty" from now on.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> put_into_logs(model, True)
        >>> [metric.name for metric in model.metrics]
        ['penalty']
    """
    remove_metric(model, Penalty)
    if wanted:
        add_metric(model, Penalty(model))
