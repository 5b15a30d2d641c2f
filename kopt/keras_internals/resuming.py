"""What training goes on from beside a model's weights: its optimizers' places, its seeds, the random numbers of all."""

import contextlib
import functools
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras.src.backend.common import global_state
from keras.src.random import seed_generator
from tensorflow.python.eager import context

from kopt.keras_internals.numbers import held_optimizers
from kopt.keras_internals.step import build_optimizer

__all__ = [
    "build_optimizers",
    "called_last",
    "global_seeds",
    "optimized_places",
    "random_states",
    "seed_states",
    "seeds_made",
    "set_random_states",
]


def optimized_places(model: Any) -> dict[str, list[int] | None]:
    """Return the places, among a model's variables, of what each of its built optimizers updates; None for all."""
    places = {id(variable): place for place, variable in enumerate(model.variables)}
    built = {name: one for name, one in held_optimizers(model).items() if one.built}
    updated = {name: [id(variable) for variable in one._trainable_variables] for name, one in built.items()}
    return {
        name: [places[one] for one in updated[name]] if updated[name] and places.keys() >= {*updated[name]} else None
        for name in built
    }


def build_optimizers(model: Any, places: Mapping[str, Sequence[int] | None]) -> None:
    """Make the state of a built model's optimizers, without which Keras leaves their part of a weights file out.

    Args:
        model: A built model.
        places: What `optimized_places` gave for one like it.
    """
    variables, optimizers = model.variables, held_optimizers(model)
    with model.distribute_strategy.scope():
        for name, chosen in places.items():
            if name in optimizers:
                weights = model.trainable_variables if chosen is None else [variables[place] for place in chosen]
                build_optimizer(optimizers[name], weights)


def seed_states(model: Any, made: Sequence[Any]) -> list[Any]:
    """Return the variables of a model's seed generators and of those made beside it; weights files lack them."""
    weights = {id(weight) for weight in model.weights}
    states = [one for one in model.variables if id(one) not in weights] + [one.state for one in made]
    shared = seed_generator.global_seed_generator().state  # made when first asked for, and among `random_states`
    return list({id(state): state for state in states if state is not shared}.values())


def global_seeds() -> list[Any]:
    """Return the state of Keras' global seed generator, by which functions without a seed draw; none before its use."""
    generator = global_state.get_global_attribute(seed_generator.GLOBAL_SEED_GENERATOR)
    return [] if generator is None else [generator.state]


@contextlib.contextmanager
def seeds_made() -> Iterator[list[Any]]:
    """Give a list that holds the seed generators which are made in a block: those of augmentations are no model's."""
    made: list[Any] = []
    stock = keras.random.SeedGenerator.__init__

    @functools.wraps(stock)
    def init(self: Any, *args: Any, **named: Any) -> None:
        stock(self, *args, **named)
        made.append(self)

    keras.random.SeedGenerator.__init__ = init
    try:
        yield made
    finally:
        keras.random.SeedGenerator.__init__ = stock


def random_states() -> dict[str, Any]:
    """Return the states of the generators that all of a process draws from: Python's, NumPy's, TensorFlow's, Keras'."""
    seeded = context.global_seed() is not None
    return {
        "python": as_array(random.getstate()),
        "numpy": np.random.get_state(),
        "tensorflow": as_array(context.context()._rng.getstate()) if seeded else None,
        "keras": np.asarray(seed_generator.global_seed_generator().state),
    }


def set_random_states(states: Mapping[str, Any]) -> None:
    """Set what `random_states` returned."""
    random.setstate(from_array(states["python"]))
    np.random.set_state(states["numpy"])
    if states["tensorflow"] is not None and context.global_seed() is not None:
        context.context()._rng.setstate(from_array(states["tensorflow"]))
        context.context().clear_kernel_cache()  # whose kernels have drawn on
    seed_generator.global_seed_generator().state.assign(states["keras"])


def as_array(state: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a state of Python's generator with its 625 numbers in an array, which is faster to write."""
    version, numbers, spare = state
    return version, np.asarray(numbers, "int64"), spare


def from_array(state: tuple[Any, ...]) -> tuple[Any, ...]:
    version, numbers, spare = state
    return version, tuple(numbers.tolist()), spare


@contextlib.contextmanager
def called_last(callback: Any) -> Iterator[None]:
    """Make every CallbackList call a callback last, and set the callback's `beside` to the others, within a block."""
    stock = keras.callbacks.CallbackList.set_model

    def set_model(self: Any, model: Any) -> None:
        others = [one for one in self.callbacks if one is not callback]
        if len(others) < len(self.callbacks):
            self.callbacks, callback.beside = [*others, callback], others
        stock(self, model)

    keras.callbacks.CallbackList.set_model = set_model
    try:
        yield
    finally:
        keras.callbacks.CallbackList.set_model = stock
