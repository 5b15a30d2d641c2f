"""The loss of a portion of a batch: the portions' losses add up to the batch's."""

import collections
import itertools
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import keras
import tensorflow as tf
from keras.src.backend import get_keras_mask
from keras.src.losses.loss import apply_mask, reduce_weighted_values

from kopt.keras_internals.models import flat_layers
from kopt.keras_internals.step import compute_loss
from kopt.keras_internals.types import CompiledLoss, KerasLoss, KerasMetric, PrivateModel
from kopt.values.types import DType, Nest, Tensor

MEANS = "sum_over_batch_size", "mean", "mean_with_sample_weight"  # Keras' names of reductions that divide


Measured = TypeVar("Measured")
Viewed = TypeVar("Viewed")


class ThreadLosses(threading.local, collections.UserList):
    """A layer's added losses, a list for each thread: replicas are traced in threads that take turns."""


def separate_losses(model: PrivateModel) -> None:
    """Make each replica see the losses that its own call of the layers has added, not those of the last replica."""
    for layer in flat_layers(model):
        if not isinstance(layer._losses, ThreadLosses):
            layer.__dict__["_losses"] = ThreadLosses()


class Kinds(NamedTuple):
    """For each loss, how the losses of portions add up to the whole batch's, see `additive`.

    "each" stands for one number an example, "mean" for a mean over examples, and "sum" for a sum over them.
    """

    compiled: Sequence[str] = ()
    added: Sequence[str] = ()


class Portion(NamedTuple):
    """A part of the global batch that is computed at once: a replica's micro-batch.

    `totals` are the denominators of the compiled losses over the whole batch, if they are known beforehand; else `add`
    sums the denominators of one portion over the replicas.
    """

    examples: Tensor
    all_examples: Tensor
    add: Callable[[Tensor], Tensor]
    totals: Sequence[Tensor | None] | None = None
    kinds: Kinds = Kinds()

    def share(self, dtype: DType) -> Tensor:
        """Return the portion's share of the whole batch's examples."""
        return tf.cast(self.examples, dtype) / tf.cast(self.all_examples, dtype)

    def inverse_share(self, dtype: DType) -> Tensor:
        """Return the inverse of the share, finite for an empty portion."""
        return tf.cast(self.all_examples, dtype) / tf.cast(tf.maximum(self.examples, 1), dtype)

    def if_any(self, value: Tensor) -> Tensor:
        """Return the value, or 0 where the portion is empty: a mean over no examples is NaN."""
        return tf.where(tf.cast(self.examples, "int32") > 0, value, tf.zeros_like(value))


def portion_loss(
    model: PrivateModel, portion: Portion, x: Nest, y: Nest, y_pred: Nest, sample_weight: Nest, *, training: bool
) -> Tensor:
    """Return the loss of a portion as if it were the whole batch: weighted by its share, portions sum to the batch.

    A mean over examples needs no correction. A mean over the elements that a mask leaves, or over weights, is corrected
    for its denominators, and a sum for the share. What a model's own compute_loss adds counts as a mean over examples.
    """
    view = view_of(model)
    if model._compile_loss is not None:
        compiled = compiled_view(model, y, y_pred)
        compiled.__dict__["_flat_losses"] = [
            one._replace(loss=PortionLoss(one.loss, portion, place)) for place, one in enumerate(compiled._flat_losses)
        ]
        compiled.__dict__["_metrics"] = [PortionMetric(metric, portion) for metric in compiled._metrics]
        view.__dict__["_compile_loss"] = compiled
    kinds = itertools.chain(portion.kinds.added, itertools.repeat("mean"))  # penalties of weights, the last, count once

    def added(loss: Tensor) -> Tensor:
        total = portion.if_any(tf.reduce_sum(loss))
        return total * portion.inverse_share(total.dtype) if next(kinds) == "sum" else total

    view.__dict__["_aggregate_additional_loss"] = added
    return compute_loss(view, x, y, y_pred, sample_weight, training=training)


def track_portion(model: PrivateModel, loss: Tensor, portion: Portion) -> None:
    """Update the metric "loss" with a portion's loss, which is not divided by the number of replicas."""
    mean = portion.if_any(tf.reduce_mean(loss * portion.share(loss.dtype))) if loss.shape.rank else loss
    model._loss_tracker.update_state(mean, sample_weight=portion.examples)


def compiled_loss(model: PrivateModel) -> CompiledLoss:
    """Return the object that `compile` made of a model's losses; each compile makes another."""
    return model._compile_loss


def view_of(thing: Viewed) -> Viewed:
    """Return a shallow copy, whose attributes can be replaced; Keras' own copies are deep."""
    view = object.__new__(type(thing))
    vars(view).update(vars(thing))
    return view


def compiled_view(model: PrivateModel, y: Nest, y_pred: Nest) -> CompiledLoss:
    """Return a shallow copy of the compiled losses, built."""
    if not model._compile_loss.built:
        model._compile_loss.build(y, y_pred)
    return view_of(model._compile_loss)


def of_each_loss(
    model: PrivateModel, y: Nest, y_pred: Nest, sample_weight: Nest, measure: Callable[..., Measured]
) -> list[Measured]:
    """Return measure(loss, y_true, y_pred, sample_weight) of each compiled loss, with the arguments of Keras."""
    if model._compile_loss is None:
        return []
    compiled, found = compiled_view(model, y, y_pred), list[Measured]()

    def measured(loss: KerasLoss) -> Callable[..., Tensor]:
        def call(y_true: Nest, y_pred: Nest, sample_weight: Nest = None) -> Tensor:
            found.append(measure(loss, y_true, y_pred, sample_weight))
            return tf.constant(0.0)

        return call

    compiled.__dict__["_flat_losses"] = [one._replace(loss=measured(one.loss)) for one in compiled._flat_losses]
    compiled.__dict__["_metrics"] = [None] * len(compiled._flat_losses)
    compiled(y, y_pred, sample_weight)
    return found


def denominators(model: PrivateModel, y: Nest, y_pred: Nest, sample_weight: Nest) -> list[Tensor | None]:
    """Return the denominator of each compiled loss; None for a sum."""
    measure = lambda *arguments: numerator_and_denominator(*arguments)[1]
    return of_each_loss(model, y, y_pred, sample_weight, measure)


class PortionLoss:
    """One compiled loss, computed of a portion."""

    def __init__(self, loss: KerasLoss, portion: Portion, place: int):
        self.loss, self.portion, self.place, self.name = loss, portion, place, loss.name
        self.kind = portion.kinds.compiled[place] if portion.kinds.compiled else "each"

    def __call__(self, y_true: Nest, y_pred: Nest, sample_weight: Nest = None) -> Tensor:
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
    """The metric of one output's loss, weighted by the portion's share of the batch."""

    def __init__(self, metric: KerasMetric, portion: Portion):
        self.metric, self.portion = metric, portion

    def update_state(self, value: Tensor, sample_weight: Nest = None) -> None:
        """Update the metric; `value` is the loss times the number of replicas, as Keras computes it."""
        value, share = value / tf.distribute.get_strategy().num_replicas_in_sync, self.portion.share("float32")
        if value.shape.rank:  # a number an example
            self.metric.update_state(value * share)
        else:
            self.metric.update_state(value, sample_weight=share)


def values_and_mask(loss: KerasLoss, y_true: Nest, y_pred: Nest) -> tuple[Tensor, Tensor | None]:
    """Return the values of a loss before its reduction, and the mask, by Keras' own steps in Keras' order."""
    mask = get_keras_mask(y_pred)
    y_true, y_pred = (
        keras.tree.map_structure(lambda leaf: keras.ops.convert_to_tensor(leaf, dtype=loss.dtype), part)
        for part in (y_true, y_pred)
    )
    values = loss.call(y_true, y_pred)
    found = get_keras_mask(values)
    return values, found if mask is None else mask if found is None else mask & found


def reduced(loss: KerasLoss, values: Tensor) -> Tensor:
    """Return the values of a loss that looks across examples, reduced to one number as Keras does without weights."""
    values = tf.convert_to_tensor(values)
    return tf.reduce_mean(values) if loss.reduction in MEANS else tf.reduce_sum(values)


def numerator_and_denominator(
    loss: KerasLoss, y_true: Nest, y_pred: Nest, sample_weight: Nest
) -> tuple[Tensor, Tensor | None]:
    """Return the numerator and the denominator of a loss; without a reduction, its values and None."""
    values, mask = values_and_mask(loss, y_true, y_pred)
    reduction = "sum" if loss.reduction in ("sum", *MEANS) else None
    total = reduce_weighted_values(values, sample_weight, mask, reduction=reduction, dtype=loss.dtype)
    return total, denominator(loss.reduction, values, sample_weight, mask)


def denominator(reduction: str | None, values: Tensor, sample_weight: Nest, mask: Tensor) -> Tensor | None:
    """Return the denominator of a reduction; None for a sum."""
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
