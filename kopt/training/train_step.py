"""TrainStep: the one GradientTape."""

from typing import Any

import keras
import tensorflow as tf

from kopt.keras_internals import compute_loss, forward, track_loss

__all__ = ["TrainStep"]


class TrainStep:
    """One training step on one batch, from what `compile` was given; the step that `training.Loop` runs.

    gradient = d loss(model(x), y) / d weights, over the whole batch of every replica; the optimizer then updates once.
    On one device it does exactly what Keras' own step does. On several, each replica's loss is weighted by its share of
    the batch, so that an uneven last batch counts right. Gradients are made dense first: Keras' adaptive optimizers
    square the rows of an embedding before they add up duplicates.

    Args:
        model: A compiled Keras model.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="zeros")])
        >>> model.compile("sgd", "mse")
        >>> step = TrainStep(model)
        >>> float(step((np.eye(2, dtype="float32"), np.ones((2, 1), "float32")))["loss"])
        1.0

    Source:
        `keras.Model.train_step`.
    """

    def __init__(self, model: Any):
        self.model = model

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TrainStep) and other.model is self.model

    def __hash__(self) -> int:
        return hash((TrainStep, id(self.model)))

    def __call__(self, data: Any) -> dict[str, Any]:
        """Update the weights for one batch.

        Args:
            data: (x,), (x, y) or (x, y, sample_weight), this replica's part of the batch.

        Returns:
            The metrics' results so far this epoch.

        Raises:
            ValueError: When no weight has a gradient.
        """
        model = self.model
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        examples = tf.shape(next(leaf for leaf in tf.nest.flatten(x) if leaf is not None))[0]
        with tf.GradientTape() as tape:
            predictions = forward(model, x, training=True)
            loss = compute_loss(model, x, y, predictions, sample_weight, training=True)
            track_loss(model, loss, examples)
            loss = model.optimizer.scale_loss(weigh(loss, examples))
        weights = model.trainable_weights
        if weights:
            gradients = [dense(gradient) for gradient in tape.gradient(loss, weights)]
            model.optimizer.apply_gradients(zip(gradients, weights))
        return model.compute_metrics(x, y, predictions, sample_weight=sample_weight)


def weigh(loss: Any, examples: Any) -> Any:
    """Weigh a replica's loss by its share of the global batch: the sum over replicas is then the global mean."""
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if replicas == 1:
        return loss
    total = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, examples)
    return loss * tf.cast(examples * replicas, loss.dtype) / tf.cast(total, loss.dtype)


def dense(gradient: Any) -> Any:
    return tf.convert_to_tensor(gradient) if isinstance(gradient, tf.IndexedSlices) else gradient
