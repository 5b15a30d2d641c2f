"""The loss of a portion of a batch: the portions' losses add up to the batch's."""

import collections
import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from keras.src.backend import get_keras_mask
from keras.src.losses.loss import apply_mask, reduce_weighted_values

from kopt.keras_internals.models import flat_layers
from kopt.keras_internals.step import compute_loss

MEANS = "sum_over_batch_size", "mean", "mean_with_sample_weight"  # Keras' names of reductions that divide


class ThreadLosses(threading.local, collections.UserList):
    """A list of a layer's added losses for each thread: replicas are traced in threads that take turns."""


def separate_losses(model: Any) -> None:
    """Make each replica see the losses that its own call of the layers has added, not those of the last one."""
    for layer in flat_layers(model):
        if not isinstance(layer._losses, ThreadLosses):
            vars(layer)["_losses"] = ThreadLosses()


class Kinds(NamedTuple):
    """How the losses of portions add up to the whole batch's, one a loss, see `additive`.

    "each": numbers of examples, to be added up; "mean": weighted by examples; "sum": added up.
    """

    compiled: Sequence[str] = ()
    added: Sequence[str] = ()


class Portion(NamedTuple):
    """A part of the global batch that is computed at once: a replica's micro-batch.

    `totals` are the denominators of the compiled losses over the whole batch, where they are known before; else `add`
    adds a portion's own up over the replicas.
    """

    examples: Any
    all_examples: Any
    add: Callable[[Any], Any]
    totals: Sequence[Any] | None = None
    kinds: Kinds = Kinds()

    def share(self, dtype: Any) -> Any:
        """Return the portion's share of the whole batch's examples."""
        return tf.cast(self.examples, dtype) / tf.cast(self.all_examples, dtype)

    def inverse_share(self, dtype: Any) -> Any:
        """Return the inverse of the share, finite for an empty portion."""
        return tf.cast(self.all_examples, dtype) / tf.cast(tf.maximum(self.examples, 1), dtype)

    def if_any(self, value: Any) -> Any:
        """Return the value, or 0 where the portion is empty: a mean over no examples is not a number."""
        return tf.where(tf.cast(self.examples, "int32") > 0, value, tf.zeros_like(value))


def portion_loss(
    model: Any, portion: Portion, x: Any, y: Any, y_pred: Any, sample_weight: Any, *, training: bool
) -> Any:
    """Return the loss of a portion as if it were the whole batch: times its share of examples, the sum is the batch's.

    A mean over examples needs only that; one over elements that a mask leaves, or over weights, is corrected for its
    own denominators; a sum is as it is. What a model's own compute_loss adds is taken for a mean over examples.
    """
    view = view_of(model)
    if model._compile_loss is not None:
        compiled = compiled_view(model, y, y_pred)
        vars(compiled)["_flat_losses"] = [
            one._replace(loss=PortionLoss(one.loss, portion, place)) for place, one in enumerate(compiled._flat_losses)
        ]
        vars(compiled)["_metrics"] = [PortionMetric(metric, portion) for metric in compiled._metrics]
        vars(view)["_compile_loss"] = compiled
    kinds = itertools.chain(portion.kinds.added, itertools.repeat("mean"))  # penalties of weights, the last, count once

    def added(loss: Any) -> Any:
        total = portion.if_any(tf.reduce_sum(loss))
        return total * portion.inverse_share(total.dtype) if next(kinds) == "sum" else total

    vars(view)["_aggregate_additional_loss"] = added
    return compute_loss(view, x, y, y_pred, sample_weight, training=training)


def track_portion(model: Any, loss: Any, portion: Portion) -> None:
    """Count a portion's loss, which is divided by no number of replicas, in the metric "loss"."""
    mean = portion.if_any(tf.reduce_mean(loss * portion.share(loss.dtype))) if loss.shape.rank else loss
    model._loss_tracker.update_state(mean, sample_weight=portion.examples)


def compiled_loss(model: Any) -> Any:
    """Return what `compile` made of a model's losses, another after each compile."""
    return model._compile_loss


def view_of(thing: Any) -> Any:
    """Return a shallow copy with attributes to replace; Keras' own copies are made anew."""
    view = object.__new__(type(thing))
    vars(view).update(vars(thing))
    return view


def compiled_view(model: Any, y: Any, y_pred: Any) -> Any:
    """Return a view of the compiled losses, built."""
    if not model._compile_loss.built:
        model._compile_loss.build(y, y_pred)
    return view_of(model._compile_loss)


def of_each_loss(model: Any, y: Any, y_pred: Any, sample_weight: Any, measure: Callable[..., Any]) -> list[Any]:
    """Return measure(loss, y_true, y_pred, sample_weight) of each compiled loss, with what Keras would give it."""
    if model._compile_loss is None:
        return []
    compiled, found = compiled_view(model, y, y_pred), list[Any]()

    def measured(loss: Any) -> Callable[..., Any]:
        def call(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
            found.append(measure(loss, y_true, y_pred, sample_weight))
            return tf.constant(0.0)

        return call

    vars(compiled)["_flat_losses"] = [one._replace(loss=measured(one.loss)) for one in compiled._flat_losses]
    vars(compiled)["_metrics"] = [None] * len(compiled._flat_losses)
    compiled(y, y_pred, sample_weight)
    return found


def denominators(model: Any, y: Any, y_pred: Any, sample_weight: Any) -> list[Any]:
    """Return what each compiled loss divides by; None for a sum."""
    measure = lambda *arguments: numerator_and_denominator(*arguments)[1]
    return of_each_loss(model, y, y_pred, sample_weight, measure)


class PortionLoss:
    """One compiled loss, of a portion."""

    def __init__(self, loss: Any, portion: Portion, place: int):
        self.loss, self.portion, self.place, self.name = loss, portion, place, loss.name
        self.kind = portion.kinds.compiled[place] if portion.kinds.compiled else "each"

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        portion = self.portion
        if self.kind != "each":
            value = portion.if_any(reduced(self.loss, values_and_mask(self.loss, y_true, y_pred)[0]))
            return value * portion.inverse_share(value.dtype) if self.kind == "sum" else value
        total, denominator = numerator_and_denominator(self.loss, y_true, y_pred, sample_weight)
        inverse = portion.inverse_share(total.dtype)
        if denominator is None:
            return total * inverse
        whole = portion.add(denominator) if portion.totals is None else portion.totals[self.place]
        return tf.math.divide_no_nan(total, tf.cast(whole, total.dtype)) * inverse


class PortionMetric:
    """One output's loss in the logs, counted by the portion's share of the batch."""

    def __init__(self, metric: Any, portion: Portion):
        self.metric, self.portion = metric, portion

    def update_state(self, value: Any, sample_weight: Any = None) -> None:
        """Count the batch's loss; `value` is what Keras takes for a replica's share."""
        value, share = value / tf.distribute.get_strategy().num_replicas_in_sync, self.portion.share("float32")
        if value.shape.rank:  # a number an example
            self.metric.update_state(value * share)
        else:
            self.metric.update_state(value, sample_weight=share)


def values_and_mask(loss: Any, y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Return a loss before its reduction, and its mask: Keras' own steps, in its own order."""
    mask = get_keras_mask(y_pred)
    y_true, y_pred = (
        keras.tree.map_structure(lambda leaf: keras.ops.convert_to_tensor(leaf, dtype=loss.dtype), part)
        for part in (y_true, y_pred)
    )
    values = loss.call(y_true, y_pred)
    found = get_keras_mask(values)
    return values, found if mask is None else mask if found is None else mask & found


def reduced(loss: Any, values: Any) -> Any:
    """Return one number of a loss that looks across examples, reduced as Keras does without weights."""
    values = tf.convert_to_tensor(values)
    return tf.reduce_mean(values) if loss.reduction in MEANS else tf.reduce_sum(values)


def numerator_and_denominator(loss: Any, y_true: Any, y_pred: Any, sample_weight: Any) -> tuple[Any, Any]:
    """Return a loss before its reduction's division, and what it divides by; without a reduction, each example's."""
    values, mask = values_and_mask(loss, y_true, y_pred)
    reduction = "sum" if loss.reduction in ("sum", *MEANS) else None
    total = reduce_weighted_values(values, sample_weight, mask, reduction=reduction, dtype=loss.dtype)
    return total, denominator(loss.reduction, values, sample_weight, mask)


def denominator(reduction: Any, values: Any, sample_weight: Any, mask: Any) -> Any | None:
    """Return what a reduction divides by; None for a sum."""
    count = tf.cast(tf.size(values), "float32")
    if reduction not in MEANS:
        return None
    if reduction == "mean_with_sample_weight":
        weights = apply_mask(sample_weight, mask, dtype="float32", reduction=reduction)
        return count if weights is None else tf.reduce_sum(tf.cast(weights, "float32"))
    if mask is None:
        return count
    left = tf.reduce_sum(tf.cast(mask, "float32"))
    return left * tf.math.divide_no_nan(count, tf.cast(tf.size(mask), "float32"))
