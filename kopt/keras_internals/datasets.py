"""Private parts of tf.data: what a dataset is made of."""

from typing import NamedTuple

import tensorflow as tf
from tensorflow.python.data.ops.batch_op import _BatchDataset
from tensorflow.python.data.ops.from_tensor_slices_op import _TensorSliceDataset
from tensorflow.python.data.ops.prefetch_op import _PrefetchDataset
from tensorflow.python.data.ops.shuffle_op import _ShuffleDataset

from kopt.values.types import Dataset, Nest


class Slices(NamedTuple):
    """The parts of `from_tensor_slices(tensors).shuffle(buffer).batch(batch_size, drop_remainder=whole_only)`.

    Attributes:
        tensors: The tensors, in the structure of an element.
        batch_size: Examples a batch.
        whole_only: Whether a short last batch is left out.
        buffer: The size of the buffer of a shuffle without a seed; None for no shuffle.
    """

    tensors: Nest
    batch_size: int
    whole_only: bool
    buffer: int | None


def slices_of(dataset: Dataset) -> Slices | None:
    """Return the parts of a dataset of slices of dense tensors; None for every other dataset.

    A prefetch at the end may be there. None for a shuffle with a seed too, whose next order depends on how often it has
    been iterated over, and for one with the same order each time.
    """
    while isinstance(dataset, _PrefetchDataset):
        dataset = dataset._input_dataset
    if type(dataset) is not _BatchDataset:
        return None
    batched, source = dataset, dataset._input_dataset
    shuffled = source if type(source) is _ShuffleDataset else None
    source = source if shuffled is None else shuffled._input_dataset
    if type(source) is not _TensorSliceDataset or shuffled is not None and not draws_anew(shuffled):
        return None
    specs = tf.nest.flatten(source.element_spec)
    if not all(type(spec) is tf.TensorSpec and isinstance(one, tf.Tensor) for spec, one in zip(specs, source._tensors)):
        return None
    return Slices(
        tensors=tf.nest.pack_sequence_as(source.element_spec, source._tensors),
        batch_size=int(batched._batch_size),
        whole_only=bool(batched._drop_remainder),
        buffer=None if shuffled is None else int(shuffled._buffer_size),
    )


def draws_anew(shuffled: Dataset) -> bool:
    """Return whether a shuffle has no seed and another order each time."""
    return bool(shuffled._reshuffle_each_iteration) and int(shuffled._seed) == int(shuffled._seed2) == 0
