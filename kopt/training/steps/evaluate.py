"""EvaluateStep: evaluation of one batch, the same on any number of replicas."""

import keras
import tensorflow as tf

from kopt import keras_internals as internals
from kopt.keras_internals import Portion
from kopt.training.feed.batches import rows
from kopt.training.steps.portions import LossMeasurements, counted, summed
from kopt.values.deprecation import warn_moved
from kopt.values.types import Batch, KerasModel, Nest

__all__ = ["EvaluateStep"]


class EvaluateStep:
    """One evaluation step on one batch: the compiled loss and metrics, on one device those of Keras' own `test_step`.

    On several replicas the loss is divided by the size of the whole batch, as in `TrainStep`.

    Args:
        model: A compiled Keras model.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="zeros")])
        >>> model.compile("sgd", "mse")
        >>> float(EvaluateStep(model)((np.eye(2, dtype="float32"), np.ones((2, 1), "float32")))["loss"])
        1.0

    Source:
        `keras.Model.test_step`.
    """

    def __init__(self, model: KerasModel):
        self.model, self.measured = model, LossMeasurements(model)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EvaluateStep) and other.model is self.model

    def __hash__(self) -> int:
        return id(self.model)

    def __call__(self, data: Batch) -> Nest:
        """Update the metrics with one batch.

        Args:
            data: (x,), (x, y) or (x, y, sample_weight), this replica's part of the batch.

        Returns:
            The metrics' results so far.
        """
        model = self.model
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            return self.of_share(x, y, sample_weight)
        predictions = internals.forward(model, x, training=False)
        loss = internals.compute_loss(model, x, y, predictions, sample_weight, training=False)
        internals.track_loss(model, loss, rows(x))
        return model.compute_metrics(x, y, predictions, sample_weight=sample_weight)

    def of_share(self, x: Nest, y: Nest, sample_weight: Nest) -> Nest:
        """Update the metrics with one replica's share of a batch, which may be empty."""
        model = self.model
        internals.separate_losses(model)
        predictions = internals.forward(model, x, training=False)
        kinds = self.measured.kinds(x, y, predictions, sample_weight, training=False)
        portion = Portion(rows(x), summed(rows(x)), summed, kinds=kinds)
        loss = internals.portion_loss(model, portion, x, y, predictions, sample_weight, training=False)
        internals.track_portion(model, loss, portion)
        return counted(model, x, y, predictions, sample_weight)


def __getattr__(name: str) -> type[EvaluateStep]:
    """Return the class of an earlier name."""
    if name == "TestStep":
        warn_moved("kopt.training.steps.evaluate.TestStep", "kopt.training.steps.evaluate.EvaluateStep")
        return EvaluateStep
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
