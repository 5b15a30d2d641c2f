"""TestStep: evaluation on one batch, the same on any number of replicas."""

from typing import Any

import keras
import tensorflow as tf

from kopt import keras_internals as internals
from kopt.keras_internals import Portion
from kopt.training.feed.batches import rows
from kopt.training.steps.portions import Measured, counted, summed

__all__ = ["TestStep"]


class TestStep:
    """One evaluation step: the compiled loss and metrics of a batch, as Keras' own `test_step` has them on one device.

    On several replicas the loss is divided by what the whole batch has, as in `TrainStep`.

    Args:
        model: A compiled Keras model.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="zeros")])
        >>> model.compile("sgd", "mse")
        >>> float(TestStep(model)((np.eye(2, dtype="float32"), np.ones((2, 1), "float32")))["loss"])
        1.0

    Source:
        `keras.Model.test_step`.
    """

    __test__ = False  # no test class of pytest's

    def __init__(self, model: Any):
        self.model, self.measured = model, Measured(model)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TestStep) and other.model is self.model

    def __hash__(self) -> int:
        return id(self.model)

    def __call__(self, data: Any) -> dict[str, Any]:
        """Count one batch in the metrics.

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

    def of_share(self, x: Any, y: Any, sample_weight: Any) -> Any:
        """Count one replica's share of a batch, which may be empty."""
        model = self.model
        internals.separate_losses(model)
        predictions = internals.forward(model, x, training=False)
        kinds = self.measured.kinds(x, y, predictions, sample_weight, training=False)
        portion = Portion(rows(x), summed(rows(x)), summed, kinds=kinds)
        loss = internals.portion_loss(model, portion, x, y, predictions, sample_weight, training=False)
        internals.track_portion(model, loss, portion)
        return counted(model, x, y, predictions, sample_weight)
