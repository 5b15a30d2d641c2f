"""The state of a model in training: what a checkpoint holds of it, compared with a model and put back."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from kopt import distribute
from kopt.values.types import Json, Strategy, Variable

__all__ = ["described", "differences", "parts_of", "put_back", "put_parts_back", "taken"]

SHOWN = 3  # differences in an error


def described(variables: Sequence[Variable]) -> list[Json]:
    """Return the name, shape and dtype of each variable.

    Args:
        variables: TensorFlow variables.

    Example:
        >>> described([tf.Variable([1.0, 2.0], name="kernel")])
        [['kernel', [2], 'float32']]
    """
    return [[variable.name.partition(":")[0], list(variable.shape), variable.dtype.name] for variable in variables]


def taken(variables: Sequence[Variable]) -> dict[str, np.ndarray]:
    """Return copies of the values of variables on the host, by their places.

    Args:
        variables: TensorFlow variables.

    Example:
        >>> taken([tf.Variable([1.0, 2.0])])
        {'state.0000': array([1., 2.], dtype=float32)}
    """
    return {key(place): np.array(tf.convert_to_tensor(variable)) for place, variable in enumerate(variables)}


def put_back(variables: Sequence[Variable], arrays: Mapping[str, np.ndarray]) -> None:
    """Write the values that `taken` copied.

    Args:
        variables: The variables, in the same order.
        arrays: The copies.

    Example:
        >>> variable = tf.Variable([1.0, 2.0])
        >>> put_back([variable], {"state.0000": np.zeros(2, "float32")})
        >>> variable.numpy()
        array([0., 0.], dtype=float32)
    """
    for place, variable in enumerate(variables):
        variable.assign(arrays[key(place)])


def parts_of(variables: Sequence[Variable], strategy: Strategy) -> dict[str, np.ndarray]:
    """Return each replica's part of the variables that reading sums up, such as metrics; all workers must call this.

    The sum that `taken` copies would be shared out equally: what is added to that is rounded otherwise.

    Args:
        variables: TensorFlow variables.
        strategy: The distribution strategy.

    Returns:
        Arrays of shape (replicas, *shape), by their places; none on one replica.

    Example:
        >>> parts_of([tf.Variable([1.0, 2.0])], tf.distribute.get_strategy())
        {}
    """
    summed = {place: one for place, one in enumerate(variables) if is_summed(one, strategy)}
    if not summed:
        return {}
    local = {place: strategy.experimental_local_results(one) for place, one in summed.items()}
    rows = np.stack(
        [np.concatenate([np.ravel(row[number].numpy()) for row in local.values()]) for number in here(strategy)]
    )
    whole = np.zeros((distribute.workers(strategy), rows.size), "float64")
    whole[distribute.rank(strategy)] = rows.ravel()
    whole = distribute.over_workers(strategy, whole.ravel().tolist()).reshape(strategy.num_replicas_in_sync, -1)
    ends = np.cumsum([int(np.prod(one.shape)) for one in summed.values()])[:-1]
    parts = np.split(whole, ends, axis=1)
    return {
        part_key(place): part.reshape(-1, *one.shape).astype(one.dtype.as_numpy_dtype)
        for (place, one), part in zip(summed.items(), parts)
    }


def put_parts_back(variables: Sequence[Variable], arrays: Mapping[str, np.ndarray], strategy: Strategy) -> None:
    """Write the parts that `parts_of` returned, where there are as many replicas as there were.

    Args:
        variables: The variables, in the same order, into which `put_back` has written their sums.
        arrays: The copies; those of others are passed over.
        strategy: The distribution strategy.

    Example:
        >>> put_parts_back([tf.Variable(1.0)], {}, tf.distribute.get_strategy())
    """
    first = distribute.rank(strategy) * len(here(strategy))
    for place, variable in enumerate(variables):
        parts = arrays.get(part_key(place))
        if parts is not None and len(parts) == strategy.num_replicas_in_sync:
            for number, one in enumerate(strategy.experimental_local_results(variable)):
                one.assign(parts[first + number])


def is_summed(variable: Variable, strategy: Strategy) -> bool:
    """Return whether each replica has a part of a variable."""
    on_read = variable.synchronization == tf.VariableSynchronization.ON_READ
    return strategy.num_replicas_in_sync > 1 and on_read and variable.dtype.is_floating


def here(strategy: Strategy) -> range:
    """Return the numbers of the replicas of this process, from 0 on."""
    return range(strategy.num_replicas_in_sync // distribute.workers(strategy))


def differences(saved: Sequence[Json], now: Sequence[Json]) -> str:
    """Return how two descriptions of variables differ, as a text; empty when they do not.

    Names are compared by their last part without numbers, for Keras counts the layers that a process makes.

    Args:
        saved: What `described` returned for a checkpoint.
        now: What it returns for a model.

    Example:
        >>> differences([["a/kernel", [2, 1], "float32"]], [["b/kernel", [3, 1], "float32"]])
        'a/kernel (2, 1) float32 is b/kernel (3, 1) float32 here'
        >>> differences([["a/kernel", [2], "float32"]], [["b/kernel", [2], "float32"]])
        ''
    """
    pairs = [(one, other) for one, other in zip(saved, now) if meaning(one) != meaning(other)]
    found = [f"{shown(one)} is {shown(other)} here" for one, other in pairs]
    found += [f"{shown(one)} is missing here" for one in saved[len(now) :]]
    found += [f"{shown(one)} is new here" for one in now[len(saved) :]]
    more = len(found) - SHOWN
    return "; ".join(found[:SHOWN]) + (f"; and {more} more" if more > 0 else "")


def meaning(description: Json) -> tuple[str, tuple[int, ...], str]:
    """Return what two descriptions of the same variable have in common."""
    name, shape, dtype = description
    return re.sub(r"_?\d+", "", name.rpartition("/")[2]), tuple(shape), dtype


def shown(description: Json) -> str:
    """Return a description as text."""
    name, shape, dtype = description
    return f"{name} {tuple(shape)} {dtype}"


def key(place: int) -> str:
    """Return the name of the array of a variable."""
    return f"state.{place:04}"


def part_key(place: int) -> str:
    """Return the name of the array of each replica's part of a variable."""
    return f"parts.{place:04}"
