"""Whether and how the losses of parts add up to the loss of the whole: measured on a few made-up rows.

A loss that gives one number for a batch does not say whether it is a mean, a sum or neither. So the loss is computed
eagerly on four rows of random numbers and on parts of these rows, before a step is traced; no state changes.
"""

import functools
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.tensorflow.trainer import TensorFlowTrainer
from keras.src.losses.losses import LossFunctionWrapper

from kopt.keras_internals.models import flat_layers
from kopt.keras_internals.portions import (
    MEANS,
    Kinds,
    Portion,
    denominators,
    of_each_loss,
    portion_loss,
    values_and_mask,
)
from kopt.keras_internals.step import forward
from kopt.keras_internals.types import KerasLoss, PrivateLayer, PrivateModel
from kopt.values.checks import require
from kopt.values.types import KerasModel, Nest, Tensor

ROWS, UNKNOWN_LENGTH, TOLERANCE = 4, 8, 1e-4
SPLITS = ((1, 3), (3, 1), (2, 2))
LABELS = ((0, 2), (-1, 2), (0, 3))  # [from, to): two classes, with -1 for what is padded, or three
ACROSS_EXAMPLES = keras.losses.dice, keras.losses.tversky, keras.losses.circle
RULE = "must be a mean or a sum over examples, for the batch is computed in parts, or must give a number an example"


def kinds_of_losses(model: PrivateModel, y: Nest, y_pred: Nest, sample_weight: Nest) -> list[str]:
    """Return how each compiled loss adds up, "each", "mean" or "sum".

    Raises:
        ValueError: When a loss does not add up, or gives one number a batch and there are weights or masks.
    """
    return of_each_loss(model, y, y_pred, sample_weight, kind_of_loss)


def kind_of_loss(loss: KerasLoss, y_true: Nest, y_pred: Nest, sample_weight: Nest) -> str:
    """Return how one compiled loss adds up, for tensors of these shapes and dtypes."""
    if keras_of_each(loss):
        return "each"
    name, found, finite = f"loss {loss.name!r}", {"each", "mean", "sum"}, False
    for numbers in trials(y_pred, y_true):
        whole = values_of(loss, *numbers)
        if whole is None or not np.isfinite(whole).all():
            continue
        finite = True
        for split in SPLITS:
            parts = [values_of(loss, *part) for part in cut(numbers, split)]
            agreeing, figures = agreement(loss, whole, parts, split)
            found &= agreeing
            require(bool(found), name, RULE, figures)
    require(finite, name, f"{RULE}, and is finite for none of some made-up rows", "nan")
    kind = next(kind for kind in ("each", "mean", "sum") if kind in found)
    weighted = kind != "each" and (sample_weight is not None or values_and_mask(loss, y_true, y_pred)[1] is not None)
    rule = "must give a number an example where examples have weights or a mask and the batch is computed in parts"
    require(not weighted, name, rule, "one for the batch")
    return kind


def keras_of_each(loss: KerasLoss) -> bool:
    """Return whether a loss is one of Keras' that looks at each example by itself."""
    if not isinstance(loss, LossFunctionWrapper):
        return False
    return loss.fn.__module__ == "keras.src.losses.losses" and loss.fn not in ACROSS_EXAMPLES


def values_of(loss: KerasLoss, y_pred: Nest, y_true: Nest) -> np.ndarray | None:
    """Return the values of a loss before its reduction, or None when the loss refuses the labels."""
    with tf.init_scope(), keras.StatelessScope():
        try:
            values = values_and_mask(loss, as_tensors(y_true), as_tensors(y_pred))[0]
        except tf.errors.InvalidArgumentError:
            return None
    return np.asarray(tf.cast(values, "float32"), "float64")


def agreement(
    loss: KerasLoss, whole: np.ndarray, parts: Sequence[np.ndarray | None], split: Sequence[int]
) -> tuple[set[str], str]:
    """Return the kinds by which the parts add up to the whole, and a text of the figures."""
    given = [part for part in parts if part is not None]
    if len(given) < len(parts):
        return set(), "an error for a part of them"
    found, joined = set[str](), np.concatenate([np.atleast_1d(part) for part in given])
    if np.ndim(whole) and joined.shape == whole.shape and close(joined, whole):
        found.add("each")
    reduce = np.mean if loss.reduction in MEANS else np.sum
    kinds, said = of_numbers(float(reduce(whole)), [float(reduce(part)) for part in given], split)
    return found | kinds, said


def of_numbers(whole: float, parts: Sequence[float], split: Sequence[int]) -> tuple[set[str], str]:
    """Return by which kinds, "mean" or "sum", the numbers of parts add up to that of the whole, and the figures."""
    sums = {"mean": sum(part * size / sum(split) for part, size in zip(parts, split)), "sum": sum(parts)}
    scale = max(abs(whole), *map(abs, parts))
    kinds = {kind for kind, value in sums.items() if abs(value - whole) <= TOLERANCE * scale}
    figures = " and ".join(f"{part:.6g} for {size}" for part, size in zip(parts, split))
    return kinds, f"{whole:.6g} for {sum(split)} made-up rows, {figures} of them"


def close(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two arrays are equal within the tolerance."""
    return bool(np.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE * np.abs(other).max(initial=0)))


# Losses that layers add, and a model's own compute_loss


def kinds_of_added(model: PrivateModel, x: Nest, training: bool) -> list[str]:
    """Return how each loss that a call of the model has just added adds up, "mean" or "sum".

    Keras' activity regularizers are means; other losses are measured.

    Raises:
        ValueError: When a loss does not add up.
    """
    layers = [layer for layer in flat_layers(model) for _ in layer._losses]
    known = [keras_activity(layer) for layer in layers]
    if all(known):
        return ["mean"] * len(known)
    found = [{"mean", "sum"} for _ in layers]
    with restored_losses(model):
        for made, _ in trials(x, None):
            whole = added_by(model, made, training, len(layers))
            for split in SPLITS:
                parts = [added_by(model, part, training, len(layers)) for part in cut(made, split)]
                for layer, sure, kinds, *values in zip(layers, known, found, whole, *parts):
                    agreeing, figures = of_numbers(values[0], values[1:], split)
                    kinds &= agreeing
                    require(sure or bool(kinds), f"the loss that layer {layer.name!r} adds", RULE, figures)
    return ["mean" if sure or "mean" in kinds else "sum" for sure, kinds in zip(known, found)]


def keras_activity(layer: PrivateLayer) -> bool:
    """Return whether a layer of Keras' has an activity regularizer."""
    return layer.activity_regularizer is not None and type(layer).__module__.startswith("keras.src.")


def added_by(model: PrivateModel, x: Nest, training: bool, count: int) -> list[float]:
    """Return the losses that layers add for made-up rows, without `training`, unless the number of losses needs it."""
    for mode in (False, training):
        with tf.init_scope(), without_changes(model):
            forward(model, as_tensors(x), mode)
            found = [float(tf.reduce_sum(loss)) for layer in flat_layers(model) for loss in layer._get_own_losses()]
        if len(found) == count:
            return found
    require(False, "model", f"must add {count} losses for made-up rows, as for its data", len(found))
    return found


def without_changes(model: KerasModel) -> keras.StatelessScope:
    """Return a scope in which no variable changes and losses are collected; weight penalties read the weights in it."""
    weights = [(weight, tf.convert_to_tensor(weight)) for weight in model.trainable_variables]
    return keras.StatelessScope(state_mapping=weights, collect_losses=True)


class restored_losses:
    """A context after which layers have the added losses that they had before."""

    def __init__(self, model: PrivateModel):
        self.kept = [(layer, list(layer._losses), set(layer._loss_ids)) for layer in flat_layers(model)]

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        for layer, losses, numbers in self.kept:
            layer._losses[:] = losses
            layer._loss_ids.clear()
            layer._loss_ids.update(numbers)


def require_additive(model: PrivateModel, x: Nest, y: Nest, sample_weight: Nest, kinds: Kinds) -> None:
    """Raise ValueError when what a model's own compute_loss adds to the compiled losses is no mean over examples."""
    if type(model).compute_loss is TensorFlowTrainer.compute_loss and "compute_loss" not in vars(model):
        return
    name, rule = "compute_loss", "must be a mean over examples, for the batch is computed in parts"
    finite = False
    with restored_losses(model):
        for x_made, (y_made, weights) in trials(x, (y, sample_weight)):
            made = x_made, y_made, weights
            try:
                (whole,) = own_losses(model, made, (ROWS,), kinds)
            except tf.errors.InvalidArgumentError:  # labels that a loss refuses
                continue
            for split in SPLITS if np.isfinite(whole) else ():
                finite = True
                agreeing, figures = of_numbers(whole, own_losses(model, made, split, kinds), split)
                require("mean" in agreeing, name, rule, figures)
    require(finite, name, f"{rule}, and is finite for none of some made-up rows", "nan")


def own_losses(model: PrivateModel, made: Nest, split: Sequence[int], kinds: Kinds) -> list[float]:
    """Return the loss by a model's own compute_loss of each part of made-up rows, as a step computes it."""
    found = list[float]()
    with tf.init_scope(), without_changes(model):
        x, y, sample_weight = as_tensors(made)
        totals = denominators(model, y, forward(model, x, False), sample_weight)
        for part, size in zip(cut(made, split), split):
            x, y, sample_weight = as_tensors(part)
            portion = Portion(size, ROWS, lambda value: value, totals, kinds)
            y_pred = forward(model, x, False)
            loss = portion_loss(model, portion, x, y, y_pred, sample_weight, training=False)
            found.append(float(tf.reduce_sum(loss)))
    return found


# Made-up rows


def trials(numbers: Nest, labels: Nest) -> Iterator[tuple[Nest, Nest]]:
    """Yield made-up rows with the shapes and dtypes of some tensors, several times, each time with other labels."""
    for trial, bounds in enumerate(LABELS):
        draw = np.random.default_rng(trial)
        make = functools.partial(made_up_like, draw)
        yield make(numbers, (0, 2)), make(labels, bounds)


def made_up_like(draw: np.random.Generator, like: Nest, bounds: tuple[int, int]) -> Nest:
    """Return made-up rows with the shapes and dtypes of some tensors."""
    return tf.nest.map_structure(lambda leaf: made_up(leaf, draw, bounds), like)


def made_up(like: Tensor, draw: np.random.Generator, bounds: Sequence[int]) -> np.ndarray | None:
    """Return made-up rows like a tensor's: integers within bounds, real numbers only for the bounds (0, 2)."""
    if like is None:
        return None
    rule = "must be dense where a loss has to be measured before a batch is computed in parts"
    require(isinstance(like, tf.Tensor), "x", rule, type(like).__name__)
    shape = ROWS, *(UNKNOWN_LENGTH if size is None else size for size in like.shape[1:])
    if like.dtype == tf.string:
        return draw.choice([b"a", b"b", b"a b"], shape)
    real = like.dtype.is_floating and bounds == (0, 2)
    made = draw.uniform(0.05, 0.95, shape) if real else draw.integers(bounds[0], bounds[1], shape)
    return np.asarray(made, like.dtype.as_numpy_dtype)


def cut(numbers: Nest, split: Sequence[int]) -> list[Nest]:
    """Cut made-up rows into parts of given sizes."""
    ends = np.cumsum(split)
    take: Callable[[int, int], Nest] = lambda begin, end: tf.nest.map_structure(
        lambda leaf: None if leaf is None else leaf[begin:end], numbers
    )
    return [take(end - size, end) for end, size in zip(ends, split)]


def as_tensors(numbers: Nest) -> Nest:
    """Return made-up rows as tensors."""
    return tf.nest.map_structure(lambda leaf: None if leaf is None else tf.constant(leaf), numbers)
