"""What resumed training needs besides weights: which weights optimizers update, seeds, and random states."""

import contextlib
import functools
import random
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.common import global_state
from keras.src.random import seed_generator
from tensorflow.python.eager import context

from kopt.keras_internals.numbers import optimizers_inside
from kopt.keras_internals.step import build_optimizer
from kopt.keras_internals.types import RandomState
from kopt.values.types import KerasCallback, KerasModel, Variable

__all__ = [
    "build_optimizers",
    "called_last",
    "drawn_since",
    "global_seeds",
    "optimized_places",
    "random_states",
    "seed_states",
    "seeds_made",
    "set_random_states",
]


def optimized_places(model: KerasModel) -> dict[str, list[int] | None]:
    """Return the indices, among a model's variables, of those that each built optimizer updates; None for all."""
    places = {id(variable): place for place, variable in enumerate(model.variables)}
    built = {name: one for name, one in optimizers_inside(model).items() if one.built}
    updated = {name: [id(variable) for variable in one._trainable_variables] for name, one in built.items()}
    return {
        name: [places[one] for one in updated[name]] if updated[name] and places.keys() >= {*updated[name]} else None
        for name in built
    }


def build_optimizers(model: KerasModel, places: Mapping[str, Sequence[int] | None]) -> None:
    """Build the optimizers of a built model: Keras would skip the state of an optimizer without it in a weights file.

    Args:
        model: A built model.
        places: What `optimized_places` returned for a model like it.
    """
    variables, optimizers = model.variables, optimizers_inside(model)
    with model.distribute_strategy.scope():
        for name, chosen in places.items():
            if name in optimizers:
                weights = model.trainable_variables if chosen is None else [variables[place] for place in chosen]
                build_optimizer(optimizers[name], weights)


def seed_states(model: KerasModel, made: Sequence[keras.random.SeedGenerator]) -> list[Variable]:
    """Return the states of a model's seed generators and of others; weights files lack them."""
    weights = {id(weight) for weight in model.weights}
    states = [one for one in model.variables if id(one) not in weights] + [one.state for one in made]
    shared = {id(state) for state in global_seeds()}  # which `random_states` has
    return list({id(state): state for state in states if id(state) not in shared}.values())


def global_seeds() -> list[Variable]:
    """Return the state of Keras' global seed generator, by which functions without a seed draw; none before its use."""
    generator = global_state.get_global_attribute(seed_generator.GLOBAL_SEED_GENERATOR)
    return [] if generator is None else [generator.state]


@contextlib.contextmanager
def seeds_made() -> Iterator[list[keras.random.SeedGenerator]]:
    """Yield a list to which the seed generators that are made in the block are added; no model holds augmentations'."""
    made: list[keras.random.SeedGenerator] = []
    RECORDING.lists.append(made)
    try:
        yield made
    finally:
        RECORDING.lists.pop()


class Recording(threading.local):
    """The lists of `seeds_made` in a thread, the innermost last."""

    def __init__(self) -> None:
        self.lists: list[list[keras.random.SeedGenerator]] = []


RECORDING = Recording()


def note_seeds() -> None:
    """Make every seed generator that is made known to the lists of its thread."""
    stock = keras.random.SeedGenerator.__init__

    @functools.wraps(stock)
    def init(self: keras.random.SeedGenerator, *args: Any, **named: Any) -> None:
        stock(self, *args, **named)
        for made in RECORDING.lists:
            made.append(self)

    if "notes_seeds" not in vars(stock):
        vars(init)["notes_seeds"] = True
        keras.random.SeedGenerator.__init__ = init


note_seeds()


def random_states() -> dict[str, RandomState]:
    """Return the states of the global random generators: Python's, NumPy's, TensorFlow's and Keras'.

    Keras' is None before its first use, and is not made here: its seed would be drawn from Python's generator.
    """
    seeded = context.global_seed() is not None
    made = global_seeds()
    return {
        "python": as_array(random.getstate()),
        "numpy": np.random.get_state(),
        "tensorflow": as_array(context.context()._rng.getstate()) if seeded else None,
        "keras": np.asarray(made[0]) if made else None,
    }


def set_random_states(states: Mapping[str, RandomState], but: Collection[str] = ()) -> None:
    """Set what `random_states` returned; make Keras' generator where it was made then.

    Args:
        states: The states.
        but: The names of those that are left as they are.
    """
    states = {name: None if name in but else state for name, state in states.items()}
    seeds = seed_generator.global_seed_generator() if states["keras"] is not None else None  # draws from Python's
    if states["python"] is not None:
        random.setstate(from_array(states["python"]))
    if states["numpy"] is not None:
        np.random.set_state(states["numpy"])
    if states["tensorflow"] is not None and context.global_seed() is not None:
        context.context()._rng.setstate(from_array(states["tensorflow"]))
        context.context().clear_kernel_cache()  # its kernels have drawn numbers since
    if seeds is not None:
        seeds.state.assign(states["keras"])


def drawn_since(before: Mapping[str, RandomState]) -> list[str]:
    """Return the names of the random generators that have drawn numbers since `random_states` returned their states."""
    now = random_states()
    return [name for name in before if not equal(before[name], now[name])]


def equal(one: RandomState, other: RandomState) -> bool:
    """Return whether two states are the same."""
    parts, others = tf.nest.flatten(one), tf.nest.flatten(other)
    return len(parts) == len(others) and all(map(np.array_equal, parts, others))


def as_array(state: RandomState) -> RandomState:
    """Return a state of Python's generator with its 625 numbers in an array, which is faster to write."""
    version, numbers, spare = state
    return version, np.asarray(numbers, "int64"), spare


def from_array(state: RandomState) -> RandomState:
    """Return what `as_array` was given."""
    version, numbers, spare = state
    return version, tuple(numbers.tolist()), spare


@contextlib.contextmanager
def called_last(callback: KerasCallback) -> Iterator[None]:
    """Make every CallbackList in a block call a callback last, with the other callbacks as its `beside`."""
    stock = keras.callbacks.CallbackList.set_model

    def set_model(self: keras.callbacks.CallbackList, model: KerasModel) -> None:
        others = [one for one in self.callbacks if one is not callback]
        if len(others) < len(self.callbacks):
            self.callbacks, callback.beside = [*others, callback], others
        stock(self, model)

    keras.callbacks.CallbackList.set_model = set_model
    try:
        yield
    finally:
        keras.callbacks.CallbackList.set_model = stock
