"""Passes over a dataset that need not be read again: the same numbers as if they had been, and what is not known so."""

import gc
import threading
import weakref
from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt import keras_internals as internals
from kopt.training import Loop
from kopt.training.checkpoint import saver
from kopt.training.checkpoint.content import Content
from kopt.training.checkpoint.folder import CheckpointFolder
from kopt.training.checkpoint.writer import Writer
from kopt.training.feed import iterators, streams
from kopt.training.feed.position import Position
from kopt.values.types import Dataset

VARIABLE = tf.Variable(1, dtype=tf.int64)
INNER = tf.data.Dataset.range(5).shuffle(5, seed=1)


def numbers() -> Dataset:
    return tf.data.Dataset.range(20)


def shuffled() -> Dataset:
    return numbers().shuffle(20, seed=3)


def drawn() -> tf.Tensor:
    return tf.random.normal(())


ALIKE: dict[str, Callable[[], Dataset]] = {
    "a shuffle": shuffled,
    "batches": lambda: shuffled().batch(4),
    "batches in parallel": lambda: shuffled().batch(4, num_parallel_calls=2),
    "a map": lambda: shuffled().map(lambda x: x + 1),
    "a map in parallel": lambda: shuffled().map(lambda x: x + 1, num_parallel_calls=2).prefetch(2),
    "a filter": lambda: shuffled().filter(lambda x: x % 2 == 0),
    "a part": lambda: shuffled().skip(2).take(7),
    "pairs": lambda: tf.data.Dataset.zip((shuffled(), numbers())),
    "padded batches": lambda: shuffled().map(lambda x: x[None]).padded_batch(3),
    "options": lambda: shuffled().with_options(tf.data.Options()),
    "a shuffle of a cache": lambda: numbers().cache().shuffle(20, seed=3),
    "the same order each time": lambda: numbers().shuffle(20, seed=3, reshuffle_each_iteration=False).repeat(2),
    "a repetition": lambda: numbers().repeat(2).concatenate(numbers()),
    "numbers by a seed of their own": lambda: numbers().map(lambda x: tf.random.stateless_uniform((), [1, x])),
}
DIFFERENT: dict[str, Callable[[], Dataset]] = {
    "a repeated shuffle": lambda: shuffled().repeat(2),
    "a shuffle after others": lambda: numbers().concatenate(shuffled()),
    "a cache of a shuffle": lambda: shuffled().cache(),
    "two shuffles": lambda: shuffled().shuffle(5, seed=9),
}
UNKNOWN: dict[str, Callable[[], Dataset]] = {
    "a variable": lambda: numbers().map(lambda x: x + VARIABLE),
    "Python": lambda: numbers().map(lambda x: tf.py_function(lambda one: one, [x], tf.int64)),
    "random numbers": lambda: numbers().map(lambda x: tf.random.uniform(())),
    "random numbers in a branch": lambda: numbers().map(lambda x: tf.cond(x > 3, drawn, lambda: 0.0)),
    "another dataset": lambda: numbers().map(lambda x: INNER.reduce(x, lambda a, b: a * 3 + b)),
    "other datasets": lambda: numbers().flat_map(lambda x: INNER),
    "a generator": lambda: tf.data.Dataset.from_generator(lambda: iter([1]), output_types=tf.int64),
    "a random dataset": lambda: tf.data.Dataset.random(seed=1).take(3),
}


def after(make: Callable[[], Dataset], *, read: bool) -> list[str]:
    """Return the elements that a third iterator gives, when those before it were read or only made."""
    tf.random.set_seed(1)
    data = make()
    for _ in range(2):
        iterator = iter(data)
        if read:
            list(iterator)
    return [str(tf.nest.flatten(one)) for one in data]


@pytest.mark.parametrize("kind", ALIKE)
def test_a_third_pass_is_the_same_when_the_first_two_were_not_read(kind: str) -> None:
    assert internals.passes_are_alike(ALIKE[kind]())
    assert after(ALIKE[kind], read=False) == after(ALIKE[kind], read=True)


@pytest.mark.parametrize("kind", DIFFERENT)
def test_where_it_is_another_one_the_data_are_read(kind: str) -> None:
    assert not internals.passes_are_alike(DIFFERENT[kind]())
    assert after(DIFFERENT[kind], read=False) != after(DIFFERENT[kind], read=True)


@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_is_not_known_is_read(kind: str) -> None:
    assert not internals.passes_are_alike(UNKNOWN[kind]())


X = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")


def rows(change: Callable = lambda x, y: (x, y)) -> Dataset:
    """Return rows of which a pass has 24, others each time."""
    data = tf.data.Dataset.from_tensor_slices((X, X[:, :1])).map(change)
    return data.shuffle(40, seed=2).take(24).batch(4)


def noisy(x, y):
    return x + tf.random.normal([3]), y


def nothing(train: Position, validation: Position) -> int:
    return 0


def this_epoch(train: Position, validation: Position) -> int:
    return train.done


def all_of_training(train: Position, validation: Position) -> int:
    return 6 * (train.begun - 1) + train.done


def all_of_validation(train: Position, validation: Position) -> int:
    return 6 * validation.begun


def arrays() -> tuple[np.ndarray, np.ndarray]:
    return X, X[:, :1]


def uncounted() -> Dataset:
    return rows().filter(lambda x, y: True)


# The data of training and of validation, `validation_steps`, and the batches that a run that goes on has to draw.
FITS = {
    "validation": (arrays, rows, None, nothing),
    "a part of the validation": (arrays, rows, 3, nothing),
    "validation of unknown length": (arrays, uncounted, None, nothing),
    "random validation": (arrays, lambda: rows(noisy), None, all_of_validation),
    "training": (rows, arrays, None, this_epoch),
    "training of unknown length": (uncounted, arrays, None, this_epoch),
    "random training": (lambda: rows(noisy), arrays, None, all_of_training),
}


class Stop(keras.callbacks.Callback):
    """Raise in the third epoch."""

    def __init__(self, batch: int | None):
        super().__init__()
        self.batch, self.epoch = batch, 0

    def get_state(self) -> dict:
        return {}

    def set_state(self, state: dict) -> None:
        pass

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        if self.epoch == 2 and batch == self.batch:
            raise RuntimeError("stopped")


class Waits(Writer):
    """Write each checkpoint before training goes on, for the last of them has to be the one before the stop."""

    def submit(self, step: int, content: Content, best: bool = False) -> bool:
        self.write(step, content, best)
        return True


def trained(kind: str, folder, batch: int | None = None) -> dict[str, list[float]]:
    train, validation, steps, _ = FITS[kind]
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("adam", "mse", metrics=["mae"])
    how = {"validation_data": validation(), "validation_steps": steps, "callbacks": [Stop(batch)], "verbose": 0}
    data = train()
    x, y = data if isinstance(data, tuple) else (data, None)
    return (
        Loop(model, jit=False, seed=0)
        .fit(x, y, epochs=5, batch_size=8, checkpoint=folder, every="1 steps", **how)
        .history
    )


@pytest.mark.parametrize("kind", FITS)
def test_a_run_that_goes_on_draws_only_what_has_to_be_drawn(kind: str, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(saver, "Writer", Waits)
    whole = trained(kind, tmp_path / "whole")
    with pytest.raises(RuntimeError, match="stopped"):
        trained(kind, tmp_path / "parts", batch=2)
    positions = CheckpointFolder(tmp_path / "parts").read().values["positions"]
    train, validation = (Position(**positions[name]) for name in ("train", "validation"))
    assert train.begun > 1
    drawn, draw = [], streams.draw
    monkeypatch.setattr(streams, "draw", lambda *given: drawn.append(draw(*given)) or drawn[-1])
    assert trained(kind, tmp_path / "parts") == whole
    assert sum(drawn) == FITS[kind][3](train, validation)


@pytest.mark.parametrize("budget", [None, 0])
def test_arrays_that_stream_go_on_between_epochs(budget: int | None, tmp_path) -> None:
    """With a budget of 0 those of validation stream too."""

    def fit(folder, epochs: int) -> dict[str, list[float]]:
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile("adam", "mse")
        loop = Loop(model, jit=False, seed=0, engine="stream" if budget is None else "auto", budget=budget)
        return loop.fit(*arrays(), epochs=epochs, verbose=0, checkpoint=folder, validation_data=arrays()).history

    fit(tmp_path / "parts", 2)
    assert fit(tmp_path / "parts", 4) == fit(tmp_path / "whole", 4)


# The end of a pass

IN_A_FILE = "a cache in a file"
ENDS_SEEN: dict[str, Callable[[], Dataset]] = {
    **{name: UNKNOWN[name] for name in ("Python", "a generator", "a random dataset")},
    IN_A_FILE: lambda: numbers().cache("no-such-folder/cache").batch(2),
    "Python in a branch": lambda: numbers().map(
        lambda x: tf.cond(x > 3, lambda: tf.numpy_function(lambda one: one, [x], tf.int64), lambda: x)
    ),
    "Python in other datasets": lambda: numbers().interleave(lambda x: UNKNOWN["Python"]()),
    "other datasets in files": lambda: numbers().flat_map(lambda x: tf.data.Dataset.range(x).cache("no-such-folder/a")),
}
ENDS_UNSEEN = ALIKE | DIFFERENT | {name: make for name, make in UNKNOWN.items() if name not in ENDS_SEEN}


@pytest.mark.parametrize("kind", ENDS_UNSEEN)
def test_an_iterator_whose_end_no_one_sees_may_be_freed_beside_training(kind: str) -> None:
    assert internals.ends_unseen(ENDS_UNSEEN[kind]())


@pytest.mark.parametrize("kind", ENDS_SEEN)
def test_an_iterator_that_runs_python_or_locks_a_file_is_freed_before_the_next_pass(kind: str) -> None:
    assert not internals.ends_unseen(ENDS_SEEN[kind]())


@pytest.mark.parametrize("kind", ["a shuffle", "Python"])
def test_nothing_but_the_pass_holds_its_iterator(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made, freed, main = list[weakref.ref[object]](), list[bool](), threading.get_ident()

    def noted(_: object) -> None:
        freed.append(threading.get_ident() == main)

    def counted(self: iterators.Iterators, goes_on: bool) -> iterators.Pass:
        found = take(self, goes_on)
        made.append(weakref.ref(found.iterator, noted))
        return found

    take = iterators.Iterators.take
    monkeypatch.setattr(iterators.Iterators, "take", counted)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    data = (shuffled if kind == "a shuffle" else UNKNOWN[kind])().map(lambda x: (tf.fill([1], float(1)), x)).batch(4)
    Loop(model, jit=False).fit(data.map(lambda x, y: (x, tf.ensure_shape(y, [None]))), epochs=3, verbose=0)
    for thread in threading.enumerate():
        if thread.name == iterators.ENDING:
            thread.join()
    gc.collect()
    assert len(made) == 3 and not any(one() for one in made)
    assert freed[:2] == [kind == "Python"] * 2
