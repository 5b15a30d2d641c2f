"""Batches: how many rows they have, and parts of them, whatever they are made of."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def rows(batch: Any) -> Any:
    """Return how many examples there are, a constant where that is known while a program is traced."""
    leaf = next(leaf for leaf in tf.nest.flatten(batch) if leaf is not None)
    if isinstance(leaf, tf.RaggedTensor):
        return leaf.nrows()
    if isinstance(leaf, tf.SparseTensor):
        return tf.cast(leaf.dense_shape[0], tf.int32)
    return tf.shape(leaf)[0] if leaf.shape[0] is None else tf.constant(leaf.shape[0])


def sliced(batch: Any, start: Any, stop: Any) -> Any:
    """The rows from start to before stop."""

    def cut(leaf: Any) -> Any:
        if isinstance(leaf, tf.SparseTensor):
            first = tf.concat([[tf.cast(start, tf.int64)], tf.zeros_like(leaf.dense_shape[1:])], 0)
            size = tf.concat([[tf.cast(stop - start, tf.int64)], leaf.dense_shape[1:]], 0)
            return tf.sparse.slice(leaf, first, size)
        return None if leaf is None else leaf[start:stop]

    return tf.nest.map_structure(cut, batch)


def parts(batch: Any, examples: Any, count: int) -> list[Any]:
    """Cut a batch into so many parts, as even as can be; fewer where it is known to have fewer examples.

    Where the number of examples is not known, parts may be empty, but never the last one of a batch that is not.
    """
    known = tf.get_static_value(examples)
    count = count if known is None else max(1, min(count, int(known)))
    if count == 1:
        return [batch]
    edges = [(examples if known is None else int(known)) * number // count for number in range(count + 1)]
    return [sliced(batch, start, stop) for start, stop in zip(edges, edges[1:])]


def shared(examples: Any, take: Callable[[Any, Any], Any], strategy: Any) -> Any:
    """What take(start, stop) gives each replica of a batch's examples, as even as can be; nothing is left over."""
    replicas = strategy.num_replicas_in_sync

    def part(context: Any) -> Any:
        number = context.replica_id_in_sync_group
        return take(examples * number // replicas, examples * (number + 1) // replicas)

    return strategy.experimental_distribute_values_from_function(part)


def is_optional(leaf: Any) -> bool:
    """Whether a leaf stands for a part that the data do not have."""
    return isinstance(leaf, (tf.experimental.Optional, tf.OptionalSpec))
