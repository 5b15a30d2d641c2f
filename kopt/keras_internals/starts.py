"""The starting values of variables as a function of the seed: those of many models from the build of one."""

import contextlib
import copy
import random
import threading
import types
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend import Variable as KerasVariable
from keras.src.random import seed_generator

from kopt.values.types import Tensor, Variable

BUILDING = threading.RLock()  # seeds are drawn from the process' generator, and what is recorded is its too
MOST = int(1e9)  # of the seeds that Keras draws, as `keras.random.make_default_seed` has it


class Starts:
    """The seeds that a build drew from Python's generator, and the initializer of each variable that it made."""

    def __init__(self) -> None:
        self.seeds: list[int] = []
        self.initializers: dict[int, Callable[..., Tensor]] = {}
        self.programs: dict[tuple[int, ...], Callable[[Tensor], list[Tensor]]] = {}  # by the variables that they draw

    def of_seeds(self, variables: Sequence[Variable], seeds: Sequence[int]) -> list[Tensor]:
        """Return the values that builds would give variables after `keras.utils.set_random_seed` of each seed.

        A variable that no recorded seed decides has the value that it has now; that of one that is random in another
        way is wrong, so compare with a second build.

        Args:
            variables: Variables that the recorded build made.
            seeds: A seed for each build.

        Returns:
            For each variable a tensor with a row for each seed.
        """
        drawn = np.array([draws(seed, len(self.seeds)) for seed in seeds], "int64").reshape(len(seeds), -1)
        places = [self.place_of(variable) for variable in variables]
        drawing = [(one, place) for one, place in zip(variables, places) if place is not None and not is_seed(one)]
        values = iter(self.program(drawing)(tf.constant(drawn)) if drawing else [])
        return [self.rows(one, place, drawn, values) for one, place in zip(variables, places)]

    def program(self, drawing: Sequence[tuple[Variable, int]]) -> Callable[[Tensor], list[Tensor]]:
        """Return the program that draws variables for rows of seeds, made once for the same variables."""
        key = tuple(id(variable) for variable, _ in drawing)
        if key not in self.programs:
            makers = [self.maker(variable, place) for variable, place in drawing]
            specs = [tf.TensorSpec(variable.shape, variable.dtype) for variable, _ in drawing]
            rows = tf.TensorSpec([None, len(self.seeds)], "int64")

            def all_values(drawn: Tensor) -> list[Tensor]:
                return tf.map_fn(lambda row: [make(row) for make in makers], drawn, fn_output_signature=specs)

            # A concrete function: TensorFlow warns of one that it traces itself for model after model.
            self.programs[key] = tf.function(all_values, autograph=False).get_concrete_function(rows)
        return self.programs[key]

    def rows(self, variable: Variable, place: int | None, drawn: np.ndarray, values: Iterator[Tensor]) -> Tensor:
        """Return a variable's values, a row a build."""
        if place is None:
            value = tf.convert_to_tensor(variable)
            return tf.repeat(value[tf.newaxis], len(drawn), axis=0)
        if is_seed(variable):
            return tf.constant(np.stack([drawn[:, place], 0 * drawn[:, place]], 1), variable.dtype)
        return next(values)

    def place_of(self, variable: Variable) -> int | None:
        """Return the place of the seed that decides a variable's value; None where none does."""
        initializer = self.initializers.get(id(variable), object)
        seed = int(np.asarray(variable)[0]) if is_seed(variable) else vars(initializer).get("seed")
        return self.seeds.index(seed) if seed in self.seeds else None

    def maker(self, variable: Variable, place: int) -> Callable[[Tensor], Tensor]:
        """Return a variable's value as a function of the drawn seeds."""
        initializer, shape, dtype = self.initializers[id(variable)], tuple(variable.shape), variable.dtype

        def make(drawn: Tensor) -> Tensor:
            other = copy.copy(initializer)
            vars(other)["seed"] = GivenSeed(drawn[place])
            return other(shape, dtype=dtype)

        return make


class GivenSeed(keras.random.SeedGenerator):
    """A seed that is a tensor, where Keras takes a number or a generator."""

    def __init__(self, seed: Tensor):
        self.seed = seed

    def next(self, ordered: bool = True) -> Tensor:
        """Return the seed, the same each time, as a number would be."""
        return tf.cast(tf.stack([self.seed, tf.zeros_like(self.seed)]), keras.src.backend.random_seed_dtype())


def is_seed(variable: Variable) -> bool:
    """Return whether a variable is the state of a seed generator."""
    return variable.name == "seed_generator_state"


def draws(seed: int, count: int) -> list[int]:
    """Return the seeds that Keras draws after `keras.utils.set_random_seed`."""
    generator = random.Random(seed)
    return [generator.randint(1, MOST) for _ in range(count)]


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Set Keras' seed for what is built in the block; other threads that do so wait."""
    with BUILDING:
        keras.utils.set_random_seed(seed)
        yield


@contextlib.contextmanager
def starts_recorded() -> Iterator[Starts]:
    """Record in the block, which is within `seeded`, the seeds that Keras draws and the initializers of variables."""
    found, before = Starts(), seed_generator.python_random
    initialize = KerasVariable._initialize_with_initializer

    def randint(low: int, high: int) -> int:
        found.seeds.append(before.randint(low, high))
        return found.seeds[-1]

    def initialized(self: Variable, initializer: Callable[..., Tensor]) -> None:
        found.initializers[id(self)] = initializer
        initialize(self, initializer)

    seed_generator.python_random = types.SimpleNamespace(randint=randint)
    KerasVariable._initialize_with_initializer = initialized
    try:
        yield found
    finally:
        seed_generator.python_random = before
        KerasVariable._initialize_with_initializer = initialize
