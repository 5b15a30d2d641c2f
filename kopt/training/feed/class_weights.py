"""Class weights: a weight for each class of an output, turned into weights of examples."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import keras
import numpy as np
import tensorflow as tf

from kopt.training.feed.batches import is_optional
from kopt.values.checks import is_finite, is_whole, require
from kopt.values.types import Argument, ArrayLike, Batch, Nest, Tensor

RULE = "must be a dict of class -> weight, or for several outputs a dict of output -> such a dict or a list of them"

ClassWeight: TypeAlias = dict[int, float] | dict[str, dict[int, float]] | Sequence[dict[int, float]] | None
Weigh = Callable[[Batch], tuple[Nest, Nest, Nest]]
OutputKey = str | int  # the name or the place of an output


def require_class_weight(class_weight: Argument) -> None:
    """Raise ValueError unless these are class weights."""
    if class_weight is None:
        return
    several = isinstance(class_weight, (list, tuple)) or isinstance(class_weight, Mapping) and names(class_weight)
    flat = [class_weight]
    if several:
        flat = list(class_weight.values() if isinstance(class_weight, Mapping) else class_weight)
    flat = [one for one in flat if one is not None or not several]
    require(bool(flat), "class_weight", RULE, class_weight)
    for one in flat:
        require(isinstance(one, Mapping) and bool(one), "class_weight", RULE, class_weight)
        require(all(map(is_whole, one)), "class_weight", "must have whole numbers >= 0 as its classes", class_weight)
        require(all(map(is_finite, one.values())), "class_weight", "must have finite numbers as weights", class_weight)


def names(class_weight: Argument) -> bool:
    """Return whether the keys of a dict are outputs, not classes."""
    return all(isinstance(one, Mapping) or one is None for one in class_weight.values())


def weighing(class_weight: ClassWeight, outputs: Sequence[str]) -> Weigh | None:
    """Return a function that gives (x, y, sample_weight) the weights of their classes; None without class weights.

    An example's weight is the weight of its class, 1 where none is given, times its sample weight where it has one. The
    class is the target itself where that is a whole number, and the place of the largest number where the last axis has
    several. Whole numbers with a sample weight each, as the labels of a sequence's steps, are a class each.

    Args:
        class_weight: {class: weight}; for several outputs {output: {class: weight}}, or a list in their order.
        outputs: The names of the model's outputs.
    """
    if class_weight is None:
        return None

    def weigh(data: Batch) -> tuple[Nest, Nest, Nest]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        require(y is not None and not is_optional(y), "class_weight", "must have targets to weigh", "no y")
        sample_weight = None if is_optional(sample_weight) else sample_weight
        if not keras.tree.is_nested(y):
            return x, y, combined(y, of_one(class_weight, outputs), sample_weight)
        each = by_output(class_weight, y, outputs)
        if isinstance(y, Mapping):
            given = {name: part(sample_weight, name) for name in y}
            return x, y, {name: combined(y[name], each[name], given[name]) for name in y}
        weights = [combined(one, each[place], part(sample_weight, place)) for place, one in enumerate(y)]
        return x, y, type(y)(weights)

    return weigh


def of_one(class_weight: Argument, outputs: Sequence[str]) -> Mapping[int, float]:
    """Return the class weights of the one output."""
    if isinstance(class_weight, Mapping) and not names(class_weight):
        return class_weight
    known = isinstance(class_weight, Mapping) and list(class_weight) == list(outputs)
    alone = len(class_weight) == 1 and (known or not isinstance(class_weight, Mapping))
    require(alone, "class_weight", "must be a dict of class -> weight for a model of one output", class_weight)
    return next(iter(class_weight.values() if isinstance(class_weight, Mapping) else class_weight))


def by_output(class_weight: Argument, y: Nest, outputs: Sequence[str]) -> Nest:
    """Return the class weights of each output, in the structure of the targets; None for outputs that have none."""
    keys = list(y) if isinstance(y, Mapping) else list(outputs) if len(outputs) == len(y) else list(range(len(y)))
    if isinstance(class_weight, Mapping):
        rule = f"must have an output ({', '.join(map(str, keys))}) -> a dict of class -> weight, for several outputs"
        known = names(class_weight) and set(class_weight) <= set(keys)
        require(known, "class_weight", rule, class_weight)
        found = {key: class_weight.get(key) for key in keys}
    else:
        size = len(class_weight) == len(keys)
        require(size, "class_weight", f"must have {len(keys)} dicts, one an output", class_weight)
        order = [name for name in outputs if name in keys] if isinstance(y, Mapping) else keys
        found = dict(zip(order if len(order) == len(keys) else keys, class_weight))
    return found if isinstance(y, Mapping) else list(found.values())


def part(sample_weight: Nest, place: OutputKey) -> ArrayLike:
    """Return the sample weights of one output: its own, or those of all outputs."""
    if not keras.tree.is_nested(sample_weight):
        return sample_weight
    found = sample_weight.get(place) if isinstance(sample_weight, Mapping) else sample_weight[place]
    return None if is_optional(found) else found


def combined(y: ArrayLike, class_weight: Mapping[int, float] | None, sample_weight: ArrayLike) -> Tensor:
    """Return the weight of each example of an output: that of its class, times its sample weight."""
    y = tf.convert_to_tensor(y)
    each = y.dtype.is_integer and sample_weight is not None and list(sample_weight.shape[1:]) == list(y.shape[1:])
    weights = tf.ones(tf.shape(y)[:1]) if class_weight is None else of_classes(y, class_weight, each=each)
    weights = tf.cast(weights, keras.config.floatx())
    if sample_weight is None:
        return weights
    given = tf.cast(tf.convert_to_tensor(sample_weight), weights.dtype)
    axes = given.shape.rank - weights.shape.rank
    weights = tf.reshape(weights, [*tf.unstack(tf.shape(weights), weights.shape.rank), *[1] * max(axes, 0)])
    return weights * tf.reshape(given, [*tf.unstack(tf.shape(given), given.shape.rank), *[1] * max(-axes, 0)])


def of_classes(y: Tensor, class_weight: Mapping[int, float], *, each: bool) -> Tensor:
    """Return the weight of each target's class, found as Keras finds it, or of each number where each is a class."""
    if y.shape.rank > 1 and (y.shape[-1] == 1 or not each):
        y = tf.argmax(y, -1) if y.shape[-1] != 1 else y[..., 0]
    # As Keras' tables: the nearest whole number, and 1 for classes that have no weight.
    numbers = y if y.dtype.is_integer else tf.round(tf.cast(y, tf.float64))
    flat = tf.reshape(tf.cast(numbers, tf.int64), [-1])
    classes = sorted(class_weight)
    keys, weights = tf.constant(classes, tf.int64), tf.constant([float(class_weight[one]) for one in classes])
    place = tf.minimum(tf.searchsorted(keys, flat, out_type=tf.int64), len(classes) - 1)
    found = tf.where(tf.gather(keys, place) == flat, tf.gather(weights, place), np.float32(1))
    return tf.reshape(found, tf.shape(y))
