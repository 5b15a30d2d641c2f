"""Messages between the workers of a strategy; with one process every function returns its argument."""

import functools
import numbers as numeric
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from kopt.values.checks import require
from kopt.values.types import Strategy, Tensor

__all__ = ["from_chief", "is_chief", "over_workers", "rank", "text_from_chief", "workers"]


def workers(strategy: Strategy) -> int:
    """Return the number of processes that train together under a strategy.

    Args:
        strategy: A `tf.distribute.Strategy`.

    Returns:
        The number; 1 for any other strategy than MultiWorkerMirroredStrategy.

    Raises:
        ValueError: When the strategy is not a strategy.

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


def is_chief(strategy: Strategy) -> bool:
    """Tell whether this process writes the files: it is the chief, or worker 0 in a cluster without a chief.

    Args:
        strategy: A `tf.distribute.Strategy`.

    Returns:
        True for the chief, and for the only process.

    Example:
        >>> is_chief(tf.distribute.get_strategy())
        True
    """
    if workers(strategy) == 1:
        return True
    resolver = strategy.cluster_resolver
    first = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return bool(resolver.task_type == first and resolver.task_id == 0)


def rank(strategy: Strategy) -> int:
    """Return the number of this process among those that train together; the chief has 0.

    Args:
        strategy: A `tf.distribute.Strategy`.

    Returns:
        The number, from 0 to `workers(strategy) - 1`.

    Example:
        >>> rank(tf.distribute.get_strategy())
        0
    """
    if workers(strategy) == 1:
        return 0
    resolver = strategy.cluster_resolver
    before = int(resolver.task_type == "worker" and "chief" in resolver.cluster_spec().jobs)
    return int(resolver.task_id) + before


def over_workers(strategy: Strategy, numbers: Sequence[float]) -> np.ndarray:
    """Sum numbers over the workers; all workers must call this function equally often.

    Args:
        strategy: A `tf.distribute.Strategy`.
        numbers: The numbers of this worker; all workers have equally many.

    Returns:
        Array of the sums, float64.

    Example:
        >>> over_workers(tf.distribute.get_strategy(), [1, 2])
        array([1., 2.])
    """
    listed = isinstance(numbers, Sequence | np.ndarray) and not isinstance(numbers, str)
    require(listed and all(map(is_number, numbers)), "numbers", "must be a list of numbers", numbers)
    own = np.asarray(numbers, "float64")
    return own if workers(strategy) == 1 else adding(strategy)(tf.constant(own)).numpy()


@functools.cache
def adding(strategy: Strategy) -> Callable[[Tensor], Tensor]:
    """Trace the program that sums over the workers."""
    local = strategy.num_replicas_in_sync // workers(strategy)

    def of_replica(numbers: Tensor) -> Tensor:
        context = tf.distribute.get_replica_context()
        first = tf.cast(
            context.replica_id_in_sync_group % local == 0, "float64"
        )  # the other replicas of a worker count as zero
        return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(numbers) * first)

    def added(numbers: Tensor) -> Tensor:
        return strategy.experimental_local_results(strategy.run(of_replica, args=(numbers,)))[0]

    program: Callable[[Tensor], Tensor] = tf.function(added, autograph=False, reduce_retracing=True)
    return program


def from_chief(strategy: Strategy, numbers: Sequence[float]) -> np.ndarray:
    """Send the chief's numbers to every worker; all workers must call this function equally often.

    Args:
        strategy: A `tf.distribute.Strategy`.
        numbers: The numbers of this worker; only those of the chief are sent.

    Returns:
        Array of the chief's numbers, float64.

    Example:
        >>> from_chief(tf.distribute.get_strategy(), [3])
        array([3.])
    """
    own = numbers if is_chief(strategy) or not isinstance(numbers, Sequence) else [0.0] * len(numbers)
    return over_workers(strategy, own)


def text_from_chief(strategy: Strategy, text: str) -> str:
    """Send the chief's text, of up to 4096 bytes, to every worker; all workers must call this function.

    Args:
        strategy: A `tf.distribute.Strategy`.
        text: The text of this worker; only that of the chief is sent.

    Returns:
        The chief's text.

    Example:
        >>> text_from_chief(tf.distribute.get_strategy(), "saved_models/vision")
        'saved_models/vision'
    """
    require(isinstance(text, str), "text", "must be a text", text)
    numbers = from_chief(strategy, list(text.encode().ljust(4096, b"\0")))
    return bytes(numbers.astype("uint8")).rstrip(b"\0").decode()


def is_number(value: object) -> bool:
    return isinstance(value, (numeric.Real, np.bool_))
