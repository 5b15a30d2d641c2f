"""Private parts of tf.data: what a dataset is made of."""

from typing import NamedTuple

import tensorflow as tf
from tensorflow.python.data.ops.batch_op import _BatchDataset
from tensorflow.python.data.ops.from_tensor_slices_op import _TensorSliceDataset
from tensorflow.python.data.ops.prefetch_op import _PrefetchDataset
from tensorflow.python.data.ops.shuffle_op import _ShuffleDataset

from kopt.values.types import Dataset, Nest

PLACE = "tensorflow.python.data."
# What makes the iterator of its input together with its own: that of a shuffle has its order from then on.
AT_ONCE = frozenset(
    f"_{name}Dataset"
    for name in (
        *("Batch", "Filter", "Map", "Options", "PaddedBatch", "ParallelBatch"),
        *("ParallelMap", "Prefetch", "Skip", "Take", "Zip"),
    )
) | {"_AssertCardinalityDataset"}
# What makes it later, or has no input.
LATER = frozenset(
    f"_{name}Dataset"
    for name in ("Concatenate", "Range", "Repeat", "Shuffle", "Tensor", "TensorSlice", "Unbatch", "Window")
) | {"CacheDataset", "TFRecordDatasetV2", "TextLineDatasetV2"}
HARMLESS = ("Assert", "PrintV2")  # operations that count as stateful
# What makes the iterators of a function's datasets, one after the other or several beside each other.
OF_FUNCTIONS = frozenset(f"_{name}Dataset" for name in ("FlatMap", "Interleave", "ParallelInterleave"))
# How the operations begin that run Python, or lock a file until an iterator ends.
SEEN = ("PyFunc", "EagerPyFunc", "CacheDataset", "Snapshot", "SaveDataset")


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


def passes_are_alike(dataset: Dataset, at_once: bool = True) -> bool:
    """Tell whether an iterator gives the same whether those made before it have been read or not.

    So it is without randomness, and for a shuffle that draws anew for each iterator at the moment at which that is
    made. False for all that is not known to be so: Python functions, random maps, variables, datasets of other kinds.

    Args:
        dataset: A tf.data.Dataset.
        at_once: Whether its iterator is made together with that of the dataset that reads it.
    """
    kind, anew = type(dataset), isinstance(dataset, _ShuffleDataset) and bool(dataset._reshuffle_each_iteration)
    known = kind.__module__.startswith(PLACE) and kind.__name__ in AT_ONCE | LATER
    if not known or anew and not at_once or not all(map(is_pure, dataset._functions())):
        return False
    below = at_once and kind.__name__ in AT_ONCE
    return all(passes_are_alike(one, below) for one in dataset._inputs())


def ends_unseen(dataset: Dataset) -> bool:
    """Tell whether no one sees when an iterator ends: it runs no Python, and locks no file of a cache.

    False for datasets of kinds that are not known here.

    Args:
        dataset: A tf.data.Dataset.
    """
    kind = type(dataset)
    if not kind.__module__.startswith(PLACE) or kind.__name__ not in AT_ONCE | LATER | OF_FUNCTIONS:
        return False
    if kind.__name__ == "CacheDataset" and tf.get_static_value(dataset._filename) != b"":
        return False
    return not any(map(is_seen, dataset._functions())) and all(map(ends_unseen, dataset._inputs()))


def is_seen(wrapper: Nest) -> bool:
    """Return whether the function of a dataset, or one that it calls, runs Python or locks a file."""
    graph = wrapper.function.graph
    called = (node.op for function in graph._functions.values() for node in function.cached_definition.node_def)
    return any(name.startswith(SEEN) for name in (*(op.type for op in graph.get_operations()), *called))


def is_pure(wrapper: Nest) -> bool:
    """Return whether the function of a dataset gives the same at each call."""
    function = wrapper.function
    captured = any(one.dtype in (tf.resource, tf.variant) for one in function.captured_inputs)
    stateful = (one.type for one in function.graph.get_operations() if one.op_def.is_stateful)
    return not captured and all(name in HARMLESS for name in stateful)
