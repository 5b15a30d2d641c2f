"""Checks of the arguments of fit, evaluate and predict, before any work is done."""

from collections.abc import Collection, Mapping

import keras
import numpy as np

from kopt.training.callback import Callback
from kopt.training.execute.base import Executor
from kopt.values.checks import is_among, is_finite, is_whole, require
from kopt.values.fields import Value
from kopt.values.types import Argument, KerasCallback

# Keras' callbacks that write the rate, the first of them hours after the start, and what to use beside LearningRate.
RATE_WRITERS = {
    keras.callbacks.ReduceLROnPlateau: "kopt.callbacks.ReduceOnPlateau goes together with it",
    keras.callbacks.LearningRateScheduler: "give LearningRate the whole schedule",
}
HOOKS = [name for name in vars(keras.callbacks.Callback) if name.startswith(("on_", "set_"))]


def require_loop(
    engine: Argument,
    jit: Argument,
    seed: Argument,
    budget: Argument,
    executors: Argument,
    *,
    alone: bool,
    deterministic: Argument = False,
) -> None:
    """Raise ValueError when an argument of Loop is out of range; `alone` says that there is one replica."""
    engines = is_among(engine, "auto", "resident", "stream")
    require(engines, "engine", "must be 'auto', 'resident' or 'stream'", engine)
    require(is_among(jit, "auto", True, False), "jit", "must be 'auto', True or False", jit)
    require(alone or jit is not True, "jit", "must be 'auto' or False on several replicas", jit)
    whole = seed is None or is_whole(seed) and seed < 2**64
    require(whole, "seed", "must be a whole number in [0, 2 ** 64)", seed)
    require(budget is None or is_whole(budget), "budget", "must be a whole number >= 0, in bytes", budget)
    require(isinstance(deterministic, bool), "deterministic", "must be True or False", deterministic)
    several = isinstance(executors, Collection)
    known = several and all(isinstance(kind, type) and issubclass(kind, Executor) for kind in executors)
    require(known, "executors", "must be a list of subclasses of Executor", executors)


def require_fit(
    x: Argument,
    batch_size: Argument,
    verbose: Argument,
    validation_split: Argument,
    validation_freq: Argument,
    counts: Mapping[str, Argument],
) -> None:
    """Raise ValueError when an argument of fit or evaluate is out of range."""
    require(x is not None, "x", "must be given", x)
    sized = is_among(batch_size, None, "full") or is_count(batch_size)
    require(sized, "batch_size", "must be >= 1 or 'full'", batch_size)
    for name, value in counts.items():
        require(is_whole(value), name, "must be a whole number >= 0", value)
    require(is_among(verbose, "auto", 0, 1, 2, False, True), "verbose", "must be 'auto', 0, 1 or 2", verbose)
    share = validation_split is None or is_finite(validation_split) and 0 <= validation_split < 1
    require(share, "validation_split", "must be in [0, 1)", validation_split)
    several = isinstance(validation_freq, Collection) and all(map(is_count, validation_freq))
    require(
        several or is_count(validation_freq), "validation_freq", "must be >= 1 or epochs from 1 on", validation_freq
    )


def require_sizes(**sizes: Argument) -> None:
    """Raise ValueError when a size is no whole number."""
    for name, value in sizes.items():
        require(value is None or is_count(value), name, "must be a whole number >= 1", value)


def require_shuffle(shuffle: Argument) -> None:
    """Raise ValueError when the kind of order is unknown."""
    known = isinstance(shuffle, np.bool_) or is_among(shuffle, True, False, 1, 0, "batch")
    require(known, "shuffle", "must be True, False or 'batch'", shuffle)


def callback_list(callbacks: Argument) -> list[KerasCallback]:
    """Return one or several callbacks, as fit takes them, as a list; raise ValueError when one is no callback."""
    asked = callbacks.callbacks if isinstance(callbacks, keras.callbacks.CallbackList) else callbacks
    found = [] if asked is None else keras.tree.flatten(asked)
    for one in found:
        code = one.written_for_fit() if isinstance(one, Value) else ""
        require(not code, "callbacks", f"must be Keras callbacks: use {code}", one)
        hooks = not isinstance(one, type) and all(callable(getattr(one, hook, None)) for hook in HOOKS)
        require(hooks, "callbacks", "must be a Keras callback or a list of them", one)
    return found


def require_one_rate(callbacks: Collection[KerasCallback]) -> None:
    """Raise ValueError when a callback of Keras writes the rate beside one that steers it."""
    steers = [type(one).__name__ for one in callbacks if isinstance(one, Callback) and one.steers_rate]
    for one in callbacks if steers else ():
        for kind, instead in RATE_WRITERS.items():
            writes = isinstance(one, kind) and not isinstance(one, Callback)
            rule = f"must hold no {kind.__name__} beside {steers[0]}, which alone sets the rate: {instead}"
            require(not writes, "callbacks", rule, one)


def is_count(value: Argument) -> bool:
    """Return whether a value is a whole number >= 1."""
    return is_whole(value) and int(value) >= 1
