"""Batches: their number of rows and parts of them, for tensors of every kind."""

from collections.abc import Callable

import tensorflow as tf

from kopt.values.types import Batch, Nest, Strategy, Tensor, TensorSpec


def rows(batch: Batch) -> Tensor:
    """Return the number of examples, a constant where it is known while a program is traced."""
    leaf = next(leaf for leaf in tf.nest.flatten(batch) if leaf is not None)
    if isinstance(leaf, tf.RaggedTensor):
        return leaf.nrows()
    if isinstance(leaf, tf.SparseTensor):
        return tf.cast(leaf.dense_shape[0], tf.int32)
    return tf.shape(leaf)[0] if leaf.shape[0] is None else tf.constant(leaf.shape[0])


def sliced(batch: Batch, start: Tensor, stop: Tensor) -> Batch:
    """Return the rows from start to before stop."""

    def cut(leaf: Tensor) -> Tensor:
        if isinstance(leaf, tf.SparseTensor):
            first = tf.concat([[tf.cast(start, tf.int64)], tf.zeros_like(leaf.dense_shape[1:])], 0)
            size = tf.concat([[tf.cast(stop - start, tf.int64)], leaf.dense_shape[1:]], 0)
            return tf.sparse.slice(leaf, first, size)
        return None if leaf is None else leaf[start:stop]

    return tf.nest.map_structure(cut, batch)


def parts(batch: Batch, examples: Tensor, count: int) -> list[Batch]:
    """Cut a batch into so many parts, as even as possible; fewer where it is known to have fewer examples.

    Where the number of examples is not known, parts may be empty; the last one is only empty when the batch is.
    """
    known = tf.get_static_value(examples)
    count = count if known is None else max(1, min(count, int(known)))
    if count == 1:
        return [batch]
    edges = [(examples if known is None else int(known)) * number // count for number in range(count + 1)]
    return [sliced(batch, start, stop) for start, stop in zip(edges, edges[1:])]


def shared(examples: Tensor, take: Callable[[Tensor, Tensor], Batch], strategy: Strategy) -> Batch:
    """Return each replica's share, take(start, stop), of a batch's examples, as even as possible and without a rest."""
    replicas = strategy.num_replicas_in_sync

    def part(context: tf.distribute.experimental.ValueContext) -> Batch:
        number = context.replica_id_in_sync_group
        return take(examples * number // replicas, examples * (number + 1) // replicas)

    return strategy.experimental_distribute_values_from_function(part)


def is_optional(leaf: Nest | TensorSpec) -> bool:
    """Return whether a leaf stands for a part that the data do not have."""
    return isinstance(leaf, (tf.experimental.Optional, tf.OptionalSpec))


def without_missing(batch: Batch) -> Batch:
    """Return a batch, or its spec, with None for the parts that the data do not have."""
    return tf.nest.map_structure(lambda leaf: None if is_optional(leaf) else leaf, batch)
