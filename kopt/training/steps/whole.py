"""A batch at once, on one device; and the second gradient of a step that takes two."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import keras
import tensorflow as tf

from kopt import keras_internals as internals
from kopt.training.feed.batches import rows
from kopt.training.steps.portions import Gradients, at_places, dense, summed
from kopt.training.steps.sharpness import Sharpness
from kopt.values.types import Batch, KerasModel, Nest, Scalar, Tensor, Variable


class Computation(Protocol):
    """How a replica computes gradients of its batch: `Whole` or `Portions`."""

    def of_batch(self, data: Batch) -> tuple[Gradients, Tensor, Callable[[], Nest]]:
        """Return the gradients, the loss, and a function that gives the logs."""

    def at(self, data: Batch, moved: Sequence[Tensor]) -> Gradients:
        """Return the gradients of the same batch at other weights; all else is as it was, and stays as it is."""

    def metrics(self) -> Mapping[str, Tensor]:
        """Return the metrics of the last batch alone, over all replicas, after its logs; not the losses."""


class Whole:
    """The computation of the gradients and loss of a batch at once, as Keras' own step does it.

    Args:
        model: The compiled model.
        weights: The variables to differentiate by.
        as_keras: Whether gradients of embeddings stay sparse.
        again: Whether `at` will be called: statistics and seeds are kept for it.
    """

    def __init__(self, model: KerasModel, weights: Sequence[Variable], as_keras: bool, again: bool):
        self.model, self.weights, self.as_keras = model, weights, as_keras
        self.start = internals.state_of(model) if again else []
        self.last: tuple[Nest, Nest, Nest, Nest] = (None, None, None, None)

    def of_batch(self, data: Batch) -> tuple[Gradients, Tensor, Callable[[], Nest]]:
        """Return the gradients, the loss, and a function that gives the logs."""
        model = self.model
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            predictions = internals.forward(model, x, training=True)
            loss = internals.compute_loss(model, x, y, predictions, sample_weight, training=True)
            internals.track_loss(model, loss, rows(x))
            scaled = model.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, self.weights)
        gradients = gradients if self.as_keras else [dense(gradient) for gradient in gradients]
        self.last = x, y, predictions, sample_weight
        logs = lambda: model.compute_metrics(x, y, predictions, sample_weight=sample_weight)
        return gradients, tf.reduce_mean(loss), logs

    def metrics(self) -> Mapping[str, Tensor]:
        """Return the metrics of the last batch alone; not the losses."""
        return internals.metrics_alone(self.model, *self.last)

    def at(self, data: Batch, moved: Sequence[Tensor]) -> Gradients:
        """Return the gradients at other weights, with the statistics and seeds of before; no variable changes."""
        model = self.model
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape, internals.elsewhere(self.weights, moved, self.start):
            tape.watch(moved)
            predictions = internals.forward(model, x, training=True)
            loss = internals.compute_loss(model, x, y, predictions, sample_weight, training=True)
            scaled = model.optimizer.scale_loss(loss)
        return [dense(gradient) for gradient in tape.gradient(scaled, moved)]


def second_gradients(
    sharpness: Sharpness,
    computation: Computation,
    data: Batch,
    first: Gradients,
    weights: Sequence[Variable],
    scale: Scalar,
) -> Gradients:
    """Return a replica's gradients at the weights that the gradient of the whole batch, of all replicas, moves.

    They are NaN where the first gradient is not finite, so that the step is skipped.
    """
    places = [place for place, gradient in enumerate(first) if gradient is not None]
    values = [tf.convert_to_tensor(weight) for weight in weights]
    if not places:
        return first  # which `update` refuses in a sentence
    reduced = summed([first[place] for place in places])
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in reduced])
    there = sharpness.moved(reduced, [values[place] for place in places], scale)
    moved = [value if one is None else one for value, one in zip(values, at_places(places, there, len(values)))]
    broken = tf.where(finite, 0.0, float("nan"))
    second = computation.at(data, [tf.identity(one) for one in moved])
    return [None if gradient is None else gradient + tf.cast(broken, gradient.dtype) for gradient in second]
