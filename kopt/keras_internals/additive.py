"""Whether a loss of parts adds up to the loss of the whole, and how: measured on a few made-up rows.

A loss that gives one number for a batch does not say whether it is a mean, a sum or neither. So it is computed on
four rows of random numbers and on parts of them, eagerly, before a step is traced around it; no state changes.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.tensorflow.trainer import TensorFlowTrainer

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
from kopt.values.checks import require

ROWS, UNKNOWN_LENGTH, TOLERANCE = 4, 8, 1e-4
SPLITS = ((1, 3), (3, 1), (2, 2))
LABELS = ((0, 2), (-1, 2), (0, 3))  # [from, to): two classes, with -1 for what is padded, or three
ACROSS_EXAMPLES = keras.losses.dice, keras.losses.tversky, keras.losses.circle
RULE = "must be a mean or a sum over examples, for the batch is computed in parts, or must give a number an example"


def kinds_of_losses(model: Any, y: Any, y_pred: Any, sample_weight: Any) -> list[str]:
    """Return how each compiled loss adds up, "each", "mean" or "sum".

    Raises:
        ValueError: When one does not, or when one that gives a number a batch meets weights or masks.
    """
    return of_each_loss(model, y, y_pred, sample_weight, kind_of_loss)


def kind_of_loss(loss: Any, y_true: Any, y_pred: Any, sample_weight: Any) -> str:
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


def keras_of_each(loss: Any) -> bool:
    """Return whether a loss is known to be Keras' own, of each example by itself."""
    function = getattr(loss, "fn", None)
    return getattr(function, "__module__", "") == "keras.src.losses.losses" and function not in ACROSS_EXAMPLES


def values_of(loss: Any, y_pred: Any, y_true: Any) -> np.ndarray | None:
    """Return a loss before its reduction; None for labels that it refuses."""
    with tf.init_scope(), keras.StatelessScope():
        try:
            values = values_and_mask(loss, as_tensors(y_true), as_tensors(y_pred))[0]
        except tf.errors.InvalidArgumentError:
            return None
    return np.asarray(tf.cast(values, "float32"), "float64")


def agreement(loss: Any, whole: Any, parts: Sequence[Any], split: Sequence[int]) -> tuple[set[str], str]:
    """Return the kinds by which parts give the whole, and the figures."""
    if any(part is None for part in parts):
        return set(), "an error for a part of them"
    found, joined = set(), np.concatenate([np.atleast_1d(part) for part in parts])
    if np.ndim(whole) and joined.shape == whole.shape and close(joined, whole):
        found.add("each")
    reduce = np.mean if loss.reduction in MEANS else np.sum
    kinds, said = of_numbers(float(reduce(whole)), [float(reduce(part)) for part in parts], split)
    return found | kinds, said


def of_numbers(whole: float, parts: Sequence[float], split: Sequence[int]) -> tuple[set[str], str]:
    """Return whether the parts' numbers are a "mean" or a "sum" of the whole's, and the figures."""
    sums = {"mean": sum(part * size / sum(split) for part, size in zip(parts, split)), "sum": sum(parts)}
    scale = max(abs(whole), *map(abs, parts))
    kinds = {kind for kind, value in sums.items() if abs(value - whole) <= TOLERANCE * scale}
    figures = " and ".join(f"{part:.6g} for {size}" for part, size in zip(parts, split))
    return kinds, f"{whole:.6g} for {sum(split)} made-up rows, {figures} of them"


def close(one: Any, other: Any) -> bool:
    return bool(np.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE * np.abs(other).max(initial=0)))


# Losses that layers add, and a model's own compute_loss


def kinds_of_added(model: Any, x: Any, training: bool) -> list[str]:
    """Return how each loss adds up that a call of the model has just added, "mean" or "sum".

    Keras' activity regularizers are means; others are measured.

    Raises:
        ValueError: When one does not add up.
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


def keras_activity(layer: Any) -> bool:
    return layer.activity_regularizer is not None and type(layer).__module__.startswith("keras.src.")


def added_by(model: Any, x: Any, training: bool, count: int) -> list[float]:
    """Return the losses that layers add for made-up rows: without training, which is exact, where those are as many."""
    for mode in (False, training):
        with tf.init_scope(), without_changes(model):
            forward(model, as_tensors(x), mode)
            found = [float(tf.reduce_sum(loss)) for layer in flat_layers(model) for loss in layer._get_own_losses()]
        if len(found) == count:
            return found
    require(False, "model", f"must add {count} losses for made-up rows, as for its data", len(found))
    return found


def without_changes(model: Any) -> Any:
    """Return a scope in which no variable changes and losses are collected; penalties ask it for the weights."""
    weights = [(weight, tf.convert_to_tensor(weight)) for weight in model.trainable_variables]
    return keras.StatelessScope(state_mapping=weights, collect_losses=True)


class restored_losses:
    """Keep the losses that layers have added, whatever is called meanwhile."""

    def __init__(self, model: Any):
        self.kept = [(layer, list(layer._losses), set(layer._loss_ids)) for layer in flat_layers(model)]

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: Any) -> None:
        for layer, losses, numbers in self.kept:
            layer._losses[:] = losses
            layer._loss_ids.clear()
            layer._loss_ids.update(numbers)


def require_additive(model: Any, x: Any, y: Any, sample_weight: Any, kinds: Kinds) -> None:
    """Raise ValueError when a model's own compute_loss is no mean over examples beside its compiled losses."""
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


def own_losses(model: Any, made: Any, split: Sequence[int], kinds: Kinds) -> list[float]:
    """Return a model's own loss of each part of made-up rows, as a step would compute it."""
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


def trials(numbers: Any, labels: Any) -> Iterator[tuple[Any, Any]]:
    """Give made-up rows of the shapes and dtypes of some tensors, several times, with other labels each time."""
    for trial, bounds in enumerate(LABELS):
        draw = np.random.default_rng(trial)
        make = lambda like, bounds: tf.nest.map_structure(lambda leaf: made_up(leaf, draw, bounds), like)
        yield make(numbers, (0, 2)), make(labels, bounds)


def made_up(like: Any, draw: Any, bounds: Sequence[int]) -> np.ndarray | None:
    """Return made-up rows like a tensor's, integers within bounds; real numbers are integers too but for (0, 2)."""
    if like is None:
        return None
    rule = "must be dense where a loss has to be measured before a batch is computed in parts"
    require(isinstance(like, tf.Tensor), "x", rule, type(like).__name__)
    shape = ROWS, *(UNKNOWN_LENGTH if size is None else size for size in like.shape[1:])
    if like.dtype == tf.string:
        return draw.choice([b"a", b"b", b"a b"], shape)
    real = like.dtype.is_floating and bounds == (0, 2)
    made = draw.uniform(0.05, 0.95, shape) if real else draw.integers(*bounds, shape)
    return np.asarray(made, like.dtype.as_numpy_dtype)


def cut(numbers: Any, split: Sequence[int]) -> list[Any]:
    """Return made-up rows in parts of these sizes."""
    ends = np.cumsum(split)
    take: Callable[[int, int], Any] = lambda begin, end: tf.nest.map_structure(
        lambda leaf: None if leaf is None else leaf[begin:end], numbers
    )
    return [take(end - size, end) for end, size in zip(ends, split)]


def as_tensors(numbers: Any) -> Any:
    return tf.nest.map_structure(lambda leaf: None if leaf is None else tf.constant(leaf), numbers)
