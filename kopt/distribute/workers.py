"""What the workers of a strategy agree on; with one process everything here is itself."""

import functools
import numbers as numeric
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kopt.values.checks import require

__all__ = ["from_chief", "is_chief", "over_workers", "text_from_chief", "workers"]


def workers(strategy: Any) -> int:
    """Give the number of processes that train together under a strategy.

    Args:
        strategy: A `tf.distribute.Strategy`.

    Returns:
        1 but for a MultiWorkerMirroredStrategy.

    Raises:
        ValueError: When the strategy is none.

    Example:
        >>> workers(tf.distribute.get_strategy())
        1
    """
    kinds = (tf.distribute.Strategy, tf.compat.v1.distribute.Strategy)
    require(isinstance(strategy, kinds), "strategy", "must be a tf.distribute strategy", strategy)
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) or strategy.cluster_resolver is None:
        return 1
    cluster = strategy.cluster_resolver.cluster_spec().as_dict()
    return max(1, sum(len(cluster.get(kind, ())) for kind in ("chief", "worker")))


def is_chief(strategy: Any) -> bool:
    """Say whether this process is the one that writes files: the chief, or else worker 0.

    Args:
        strategy: A `tf.distribute.Strategy`.

    Returns:
        True with one process.

    Example:
        >>> is_chief(tf.distribute.get_strategy())
        True
    """
    if workers(strategy) == 1:
        return True
    resolver = strategy.cluster_resolver
    first = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return bool(resolver.task_type == first and resolver.task_id == 0)


def over_workers(strategy: Any, numbers: Sequence[float]) -> np.ndarray:
    """Add numbers up over the workers; every worker must call it, as often.

    Args:
        strategy: A `tf.distribute.Strategy`.
        numbers: This worker's, as many as every other's.

    Returns:
        Array of their sums, float64.

    Example:
        >>> over_workers(tf.distribute.get_strategy(), [1, 2])
        array([1., 2.])
    """
    listed = isinstance(numbers, Sequence | np.ndarray) and not isinstance(numbers, str)
    require(listed and all(map(is_number, numbers)), "numbers", "must be a list of numbers", numbers)
    own = np.asarray(numbers, "float64")
    return own if workers(strategy) == 1 else adding(strategy)(tf.constant(own)).numpy()


@functools.cache
def adding(strategy: Any) -> Any:
    """The program that adds up over workers."""
    local = strategy.num_replicas_in_sync // workers(strategy)

    def of_replica(numbers: Any) -> Any:
        context = tf.distribute.get_replica_context()
        first = tf.cast(context.replica_id_in_sync_group % local == 0, "float64")  # the others would count it again
        return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(numbers) * first)

    def added(numbers: Any) -> Any:
        return strategy.experimental_local_results(strategy.run(of_replica, args=(numbers,)))[0]

    return tf.function(added, autograph=False, reduce_retracing=True)


def from_chief(strategy: Any, numbers: Sequence[float]) -> np.ndarray:
    """Give every worker the chief's numbers; every worker must call it, as often.

    Args:
        strategy: A `tf.distribute.Strategy`.
        numbers: This worker's; only the chief's count.

    Returns:
        Array of the chief's, float64.

    Example:
        >>> from_chief(tf.distribute.get_strategy(), [3])
        array([3.])
    """
    own = numbers if is_chief(strategy) or not isinstance(numbers, Sequence) else [0.0] * len(numbers)
    return over_workers(strategy, own)


def text_from_chief(strategy: Any, text: str) -> str:
    """Give every worker the chief's text, of up to 4096 bytes; every worker must call it.

    Args:
        strategy: A `tf.distribute.Strategy`.
        text: This worker's; only the chief's counts.

    Returns:
        The chief's.

    Example:
        >>> text_from_chief(tf.distribute.get_strategy(), "saved_models/vision")
        'saved_models/vision'
    """
    require(isinstance(text, str), "text", "must be a text", text)
    numbers = from_chief(strategy, list(text.encode().ljust(4096, b"\0")))
    return bytes(numbers.astype("uint8")).rstrip(b"\0").decode()


def is_number(value: Any) -> bool:
    return isinstance(value, (numeric.Real, np.bool_))
