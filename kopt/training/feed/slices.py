"""Slices: a dataset of slices of tensors in memory is resident, in an order that the dataset's own shuffle draws."""

import os

import tensorflow as tf

from kopt import keras_internals as internals
from kopt.training.feed.chunks import LARGEST_BATCH, Arrays
from kopt.training.feed.class_weights import Weigh
from kopt.values.types import Dataset, Phase


def arrays_of_slices(data: Dataset, weigh: Weigh | None, phase: Phase) -> Arrays | None:
    """Return the tensors of `from_tensor_slices(tensors).shuffle(buffer).batch(size)`; None for other data.

    Batches hold the examples that the dataset's own would hold. An order is drawn by the same shuffle of the examples'
    numbers; as the dataset's shuffle has no seed, no order of it is more its own than another.

    Args:
        data: The dataset.
        weigh: Adds the weights of classes, or None.
        phase: What the data are for: predictions are in the order of the dataset's own shuffle, and which examples an
            evaluation leaves out goes by it.
    """
    slices = internals.slices_of(data)
    if slices is None or slices.batch_size > LARGEST_BATCH:
        return None
    if slices.buffer is not None and (phase == "predict" or phase == "test" and slices.whole_only):
        return None
    leaves = tf.nest.flatten(slices.tensors)
    if any(leaf.dtype in (tf.string, tf.variant) for leaf in leaves) or not len(leaves[0]):
        return None
    return Arrays(
        weigh(slices.tensors) if weigh else slices.tensors,
        slices.batch_size,
        shuffle=False,
        seed=0,
        whole_only=slices.whole_only,
        numbers=None if slices.buffer is None else shuffled_numbers(len(leaves[0]), slices.buffer),
    )


def shuffled_numbers(examples: int, buffer: int) -> Dataset:
    """Return a dataset of one element: the numbers of so many examples, in another order at each iteration."""
    seed = int.from_bytes(os.urandom(4), "big")  # no generator of the user's moves on
    numbers = tf.data.Dataset.range(examples, output_type=tf.int32).shuffle(buffer, seed).batch(examples)
    options = tf.data.Options()
    options.autotune.enabled = False  # it takes twice as long
    return numbers.with_options(options)
