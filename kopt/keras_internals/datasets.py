"""Private parts of tf.data: what a dataset is made of, and the order that an iterator of it has."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.python.data.ops.batch_op import _BatchDataset
from tensorflow.python.data.ops.from_tensor_slices_op import _TensorSliceDataset
from tensorflow.python.data.ops.prefetch_op import _PrefetchDataset
from tensorflow.python.data.ops.shuffle_op import _ShuffleDataset

from kopt.keras_internals.types import PrivateIterator
from kopt.values.types import Dataset, Nest


class Slices(NamedTuple):
    """The parts of `from_tensor_slices(tensors).shuffle(buffer).batch(batch_size, drop_remainder=whole_only)`.

    Attributes:
        tensors: The tensors, in the structure of an element.
        batch_size: Examples a batch.
        whole_only: Whether a short last batch is left out.
        numbers: The same dataset of the examples' numbers, in one batch; None for no shuffle.
    """

    tensors: Nest
    batch_size: int
    whole_only: bool
    numbers: Dataset | None


def slices_of(dataset: Dataset) -> Slices | None:
    """Return the parts of a dataset of slices of dense tensors, some or none; None for every other dataset.

    A prefetch at the end may be there.
    """
    prefetches = 0
    while isinstance(dataset, _PrefetchDataset):
        dataset, prefetches = dataset._input_dataset, prefetches + 1
    if type(dataset) is not _BatchDataset:
        return None
    batched, source = dataset, dataset._input_dataset
    shuffled = source if type(source) is _ShuffleDataset else None
    source = source if shuffled is None else shuffled._input_dataset
    if type(source) is not _TensorSliceDataset:
        return None
    specs = tf.nest.flatten(source.element_spec)
    if not all(type(spec) is tf.TensorSpec and isinstance(one, tf.Tensor) for spec, one in zip(specs, source._tensors)):
        return None
    return Slices(
        tensors=tf.nest.pack_sequence_as(source.element_spec, source._tensors),
        batch_size=int(batched._batch_size),
        whole_only=bool(batched._drop_remainder),
        numbers=None if shuffled is None else numbers_of(shuffled, len(source._tensors[0]), prefetches),
    )


def numbers_of(shuffled: Dataset, examples: int, prefetches: int) -> Dataset:
    """Return a dataset of the same kinds of parts over the numbers of the examples, with one batch."""
    numbers = tf.data.Dataset.from_tensor_slices(tf.range(examples))
    drawn = _ShuffleDataset(numbers, int(shuffled._buffer_size), 0, bool(shuffled._reshuffle_each_iteration))
    whole = drawn.batch(max(1, examples))
    for _ in range(prefetches):
        whole = whole.prefetch(1)
    return whole


def order_of(iterator: PrivateIterator, numbers: Dataset) -> np.ndarray:
    """Return the order in which an iterator that has given nothing yet is to give its dataset's examples.

    The iterator's state, which is that of its shuffle, is put into an iterator over the examples' numbers.

    Args:
        iterator: An iterator of a dataset that `slices_of` takes apart.
        numbers: The numbers of that dataset.
    """
    state = tf.raw_ops.SerializeIterator(resource_handle=iterator._iterator_resource)
    same = iter(numbers)
    tf.raw_ops.DeserializeIterator(resource_handle=same._iterator_resource, serialized=state)
    return next(same).numpy()
