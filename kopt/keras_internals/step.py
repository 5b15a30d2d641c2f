"""Private parts of one training step: the loss of a portion of a batch, and updates by gradients that are reduced."""

import collections
import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from keras.src.backend import get_keras_mask
from keras.src.losses.loss import apply_mask, reduce_weighted_values, unscale_loss_for_distribution

from kopt.keras_internals.models import flat_layers
from kopt.keras_internals.numbers import rated_optimizers


def forward(model: Any, x: Any, training: bool) -> Any:
    """Call a model, with `training` where it takes it."""
    return model(x, training=training) if model._call_has_training_arg else model(x)


def compute_loss(model: Any, x: Any, y: Any, y_pred: Any, sample_weight: Any, training: bool) -> Any:
    """A model's whole loss, penalties included, divided by the number of replicas."""
    return model._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)


def track_loss(model: Any, loss: Any, examples: Any) -> None:
    """Count a batch's loss in the metric "loss"."""
    model._loss_tracker.update_state(unscale_loss_for_distribution(loss), sample_weight=examples)


def track_portion(model: Any, loss: Any, examples: Any) -> None:
    """Count a portion's loss, which is divided by no number of replicas, in the metric "loss"."""
    model._loss_tracker.update_state(loss, sample_weight=examples)


def make_function(model: Any, step: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Keras' function over iterators: runs `step` for `steps_per_execution` batches."""
    return model._make_function(step)


# The loss of a portion


class ThreadLosses(threading.local, collections.UserList):
    """A list of a layer's added losses for each thread: replicas are traced in threads that take turns."""


def separate_losses(model: Any) -> None:
    """Make each replica see the losses that its own call of the layers has added, not those of the last one."""
    for layer in flat_layers(model):
        if not isinstance(layer._losses, ThreadLosses):
            vars(layer)["_losses"] = ThreadLosses()


class Portion(NamedTuple):
    """A part of the global batch that is computed at once: a replica's micro-batch.

    `totals` are the denominators of the compiled losses over the whole batch, where they are known before; else `add`
    adds a portion's own up over the replicas.
    """

    examples: Any
    all_examples: Any
    add: Callable[[Any], Any]
    totals: Sequence[Any] | None = None


def portion_loss(
    model: Any, portion: Portion, x: Any, y: Any, y_pred: Any, sample_weight: Any, *, training: bool
) -> Any:
    """The loss of a portion as if it were the whole batch: times its share of examples, the sum is the batch's loss.

    A mean over examples needs only that; one over elements that a mask leaves, or over weights, is corrected for its
    own denominators; a sum is as it is. What a model's own compute_loss adds is taken for a mean over examples.
    """
    view = view_of(model)
    if model._compile_loss is not None:
        if not model._compile_loss.built:
            model._compile_loss.build(y, y_pred)
        compiled = view_of(model._compile_loss)
        vars(compiled)["_flat_losses"] = [
            one._replace(loss=PortionLoss(one.loss, portion, place)) for place, one in enumerate(compiled._flat_losses)
        ]
        vars(compiled)["_metrics"] = [PortionMetric(metric, portion) for metric in compiled._metrics]
        vars(view)["_compile_loss"] = compiled
    there = tf.cast(portion.examples > 0, "float32")

    def added(loss: Any) -> Any:
        total = tf.reduce_sum(loss)
        return tf.where(there > 0, total, tf.zeros_like(total))  # a mean over no examples is not a number

    vars(view)["_aggregate_additional_loss"] = added
    return compute_loss(view, x, y, y_pred, sample_weight, training=training)


def view_of(thing: Any) -> Any:
    """Another object with the same parts, some of which can then be others; Keras' own copies are made anew."""
    view = object.__new__(type(thing))
    vars(view).update(vars(thing))
    return view


def denominators(model: Any, y: Any, y_pred: Any, sample_weight: Any) -> list[Any]:
    """What each compiled loss divides by; None for a sum."""
    if model._compile_loss is None:
        return []
    if not model._compile_loss.built:
        model._compile_loss.build(y, y_pred)
    compiled = view_of(model._compile_loss)
    found: list[Any] = []

    def measured(loss: Any) -> Callable[..., Any]:
        def measure(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
            total, denominator = numerator_and_denominator(loss, y_true, y_pred, sample_weight)
            found.append(denominator)
            return total

        return measure

    vars(compiled)["_flat_losses"] = [one._replace(loss=measured(one.loss)) for one in compiled._flat_losses]
    vars(compiled)["_metrics"] = [None] * len(compiled._flat_losses)
    compiled(y, y_pred, sample_weight)
    return found


class PortionLoss:
    """One compiled loss, of a portion."""

    def __init__(self, loss: Any, portion: Portion, place: int):
        self.loss, self.portion, self.place, self.name = loss, portion, place, loss.name

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        portion = self.portion
        total, denominator = numerator_and_denominator(self.loss, y_true, y_pred, sample_weight)
        share = tf.cast(portion.all_examples, total.dtype) / tf.cast(tf.maximum(portion.examples, 1), total.dtype)
        if denominator is None:
            return total * share
        whole = portion.add(denominator) if portion.totals is None else portion.totals[self.place]
        return tf.math.divide_no_nan(total, tf.cast(whole, total.dtype)) * share


class PortionMetric:
    """One output's loss in the logs, counted by the portion's share of the batch."""

    def __init__(self, metric: Any, portion: Portion):
        self.metric, self.portion = metric, portion

    def update_state(self, value: Any, sample_weight: Any = None) -> None:
        """`value` is what Keras takes for a replica's share."""
        share = tf.cast(self.portion.examples, "float32") / tf.cast(self.portion.all_examples, "float32")
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        self.metric.update_state(value / replicas, sample_weight=share)


def numerator_and_denominator(loss: Any, y_true: Any, y_pred: Any, sample_weight: Any) -> tuple[Any, Any]:
    """A loss before its reduction's division, and what it divides by: Keras' own steps, in its own order."""
    mask = get_keras_mask(y_pred)
    y_true, y_pred = (
        keras.tree.map_structure(lambda leaf: keras.ops.convert_to_tensor(leaf, dtype=loss.dtype), part)
        for part in (y_true, y_pred)
    )
    values = loss.call(y_true, y_pred)
    found = get_keras_mask(values)
    mask = found if mask is None else mask if found is None else mask & found
    total = reduce_weighted_values(values, sample_weight, mask, reduction="sum", dtype=loss.dtype)
    return total, denominator(loss.reduction, values, sample_weight, mask)


def denominator(reduction: Any, values: Any, sample_weight: Any, mask: Any) -> Any | None:
    """None for a sum."""
    count = tf.cast(tf.size(values), "float32")
    if reduction not in ("sum_over_batch_size", "mean", "mean_with_sample_weight"):
        return None
    if reduction == "mean_with_sample_weight":
        weights = apply_mask(sample_weight, mask, dtype="float32", reduction=reduction)
        return count if weights is None else tf.reduce_sum(tf.cast(weights, "float32"))
    if mask is None:
        return count
    left = tf.reduce_sum(tf.cast(mask, "float32"))
    return left * tf.math.divide_no_nan(count, tf.cast(tf.size(mask), "float32"))


# Updates by reduced gradients


def scaler_of(optimizer: Any) -> Any | None:
    """The LossScaleOptimizer that an optimizer is, or wraps."""
    while optimizer is not None and not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = getattr(optimizer, "inner_optimizer", None)
    return optimizer


def scale_of(optimizer: Any) -> Any:
    """What an optimizer's gradients are multiplied by."""
    scaler = scaler_of(optimizer)
    if scaler is not None:
        return scaler.dynamic_scale.value if scaler.built else scaler.initial_scale
    factors = {one.loss_scale_factor for one in rated_optimizers(optimizer)} - {None}
    return factors.pop() if factors else 1.0


def build_optimizer(optimizer: Any, weights: Sequence[Any]) -> None:
    """Make an optimizer's state, from within a program too."""
    if not optimizer.built:
        with tf.init_scope(), keras.name_scope(optimizer.name):
            optimizer.build(weights)


def keeps_infinity(optimizer: Any) -> bool:
    """Whether an infinite gradient leaves an optimizer's weights or state infinite: it does not clip or scale, and is
    Keras' or kopt's, of which tests know it."""
    if scaler_of(optimizer) is not None or not type(optimizer).__module__.startswith(("keras.src.", "kopt.")):
        return False
    rated = rated_optimizers(optimizer)
    clips = any(one.clipnorm or one.clipvalue or one.global_clipnorm for one in rated)
    return not clips and all(type(one).__module__.startswith(("keras.src.", "kopt.")) for one in rated)


def update_unchecked(optimizer: Any, gradients: Sequence[Any], weights: Sequence[Any]) -> None:
    """Update on one device, whatever the gradients are."""
    optimizer.apply(list(gradients), list(weights))


def update(optimizer: Any, gradients: Sequence[Any], weights: Sequence[Any], finite: Any, skip: Any) -> None:
    """Update by gradients that are the same on every replica, or, where they are not finite, skip on every replica.

    Args:
        optimizer: A built optimizer.
        gradients: Dense tensors, or None, as many as weights.
        weights: What they are gradients of.
        finite: Whether all are finite, a scalar.
        skip: Called in a skipped step.
    """
    scaler = scaler_of(optimizer)

    def apply(gradients: Sequence[Any]) -> None:
        if scaler is not None:
            scaler._stateful_handle_finite_grads(list(gradients), list(weights))
        else:
            optimizer.apply(list(gradients), list(weights))

    def reject() -> None:
        skip()
        if scaler is not None:
            scaler._stateful_handle_non_finite_grads()

    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        either(finite, lambda: apply(gradients), reject)
        return

    def across_replicas(strategy: Any, gradients: Any, finite: Any) -> None:
        with already_reduced(optimizer) as overwrite:

            def everywhere() -> None:
                strategy.extended.call_for_each_replica(apply, args=(gradients,))
                overwrite()

            either(strategy.experimental_local_results(finite)[0], everywhere, reject)

    tf.distribute.get_replica_context().merge_call(across_replicas, args=(list(gradients), finite))


def either(condition: Any, yes: Callable[[], None], no: Callable[[], None]) -> None:
    """Run one of two functions for what they do."""

    def run(function: Callable[[], None]) -> Callable[[], Any]:
        def branch() -> Any:
            function()
            return tf.no_op()

        return branch

    tf.cond(condition, run(yes), run(no))


@contextlib.contextmanager
def already_reduced(optimizer: Any) -> Iterator[Callable[[], None]]:
    """Make an optimizer take its gradients as reduced, so that its own clipping sees what one replica would see.

    Gives a function that, after the update, writes averages into the weights where an optimizer does that every so many
    updates: its own condition does not work on replicas.
    """
    optimizers = rated_optimizers(optimizer)
    frequencies = [one.ema_overwrite_frequency for one in optimizers]
    for one in optimizers:
        one._all_reduce_sum_gradients = list
        one.ema_overwrite_frequency = None

    def overwrite() -> None:
        for one, frequency in zip(optimizers, frequencies):
            if frequency:
                write = functools.partial(one._overwrite_model_variables_with_average_value, one._trainable_variables)
                either(one.iterations % frequency == 0, write, lambda: None)

    try:
        yield overwrite
    finally:
        for one, frequency in zip(optimizers, frequencies):
            del one._all_reduce_sum_gradients
            one.ema_overwrite_frequency = frequency
