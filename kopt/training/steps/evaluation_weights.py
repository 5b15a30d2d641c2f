"""Evaluation weights: a second set of weights, by which a model is evaluated and saved, but not trained."""

import functools
from collections.abc import Callable

import tensorflow as tf

from kopt import keras_internals as internals
from kopt.state.knob import held_knob
from kopt.state.slots import held_slots
from kopt.training.steps.installing import holder
from kopt.values.types import KerasModel, Tensor, Variable


class EvaluationWeights:
    """A second set of values for a model's trainable weights, saved with the optimizer.

    Training uses one set; evaluate, predict, checkpoints and files see the other. While the evaluation weights are
    *shown*, the model's variables hold them, and `arrays` hold the training weights.

    Args:
        model: The compiled model, built.
    """

    def __init__(self, model: KerasModel):
        self.model, self.strategy = model, model.distribute_strategy
        self.weights = list(model.trainable_weights)
        held_by = holder(model)
        with self.strategy.scope():
            self.arrays = held_slots(held_by, "kopt_evaluation", self.weights).arrays
            self.shown = held_knob(held_by, "kopt_evaluation_shown", 0.0)
            self.size = held_knob(held_by, "kopt_evaluation_size", 0.0, "float64")

    @functools.cached_property
    def exchange(self) -> Callable[[], None]:
        """The program that exchanges both sets, a concrete function: TensorFlow warns of one that is traced often."""
        return tf.function(self._exchange, autograph=False).get_concrete_function()

    def show(self) -> None:
        """Put the evaluation weights into the model, and the training weights into `arrays`."""
        if not float(self.shown):
            self.exchange()
            self.shown.set(1.0)

    def hide(self) -> None:
        """Put the training weights back into the model."""
        if float(self.shown):
            self.exchange()
            self.shown.set(0.0)

    def forget(self) -> None:
        """Drop the training weights: training goes on from the weights that the model has."""
        self.shown.set(0.0)

    def untouched(self) -> bool:
        """Return whether the weights that the model shows are still those that `show` put there."""
        shown, now = float(self.size), float(self._size())
        return abs(shown - now) <= 1e-9 * abs(shown)

    def _exchange(self) -> None:
        def swap(weight: Variable, other: Variable) -> None:
            value = tf.identity(weight)
            weight.assign(tf.cast(other, weight.dtype))
            other.assign(tf.cast(value, other.dtype))

        with self.strategy.scope():
            for weight, other in zip(self.weights, self.arrays):
                self.strategy.extended.update(internals.raw(weight), swap, args=(internals.raw(other),), group=False)
            self.size.value.assign(self._size())

    def _size(self) -> Tensor:
        """Return the sum of the absolute weights, which tells whether somebody has changed them."""
        return tf.add_n(
            [tf.reduce_sum(tf.abs(tf.cast(tf.convert_to_tensor(weight), "float64"))) for weight in self.weights]
        )
