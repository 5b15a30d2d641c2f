"""Evaluation weights: what a model is judged and saved by, where training goes on from others."""

from typing import Any

import tensorflow as tf

from kopt import keras_internals as internals
from kopt.state.knobs import held_knob, held_slots
from kopt.training.steps.installing import holder


class EvaluationWeights:
    """A second set of values for a model's trainable weights, saved with the optimizer.

    Training goes on from one set; evaluate, predict, checkpoints and files are to see the other. While it is *shown*,
    the model's own weights hold the evaluation weights, and `arrays` those of training.

    Args:
        model: The compiled model, built.
    """

    def __init__(self, model: Any):
        self.model, self.strategy = model, model.distribute_strategy
        self.weights = list(model.trainable_weights)
        held_by = holder(model)
        with self.strategy.scope():
            self.arrays = held_slots(held_by, "kopt_evaluation", self.weights).arrays
            self.shown = held_knob(held_by, "kopt_evaluation_shown", 0.0)
            self.size = held_knob(held_by, "kopt_evaluation_size", 0.0, "float64")
        self.exchange = tf.function(self._exchange, autograph=False)

    def show(self) -> None:
        """Put the evaluation weights into the model, those of training aside."""
        if not float(self.shown):
            self.exchange()
            self.shown.set(1.0)

    def hide(self) -> None:
        """Put the weights of training back."""
        if float(self.shown):
            self.exchange()
            self.shown.set(0.0)

    def forget(self) -> None:
        """Let training go on from what the model has."""
        self.shown.set(0.0)

    def untouched(self) -> bool:
        """Whether the evaluation weights that are shown are still those that were put there."""
        shown, now = float(self.size), float(self._size())
        return abs(shown - now) <= 1e-9 * abs(shown)

    def _exchange(self) -> None:
        def swap(weight: Any, other: Any) -> None:
            value = tf.identity(weight)
            weight.assign(tf.cast(other, weight.dtype))
            other.assign(tf.cast(value, other.dtype))

        with self.strategy.scope():
            for weight, other in zip(self.weights, self.arrays):
                self.strategy.extended.update(internals.raw(weight), swap, args=(internals.raw(other),), group=False)
            self.size.value.assign(self._size())

    def _size(self) -> Any:
        return tf.add_n(
            [tf.reduce_sum(tf.abs(tf.cast(tf.convert_to_tensor(weight), "float64"))) for weight in self.weights]
        )
