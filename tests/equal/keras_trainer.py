"""A pytest plugin for Keras' own tests of its trainer: `fit` is Loop's, with gradients of few rows as in Keras."""

import inspect
import pathlib
import re

import keras

from kopt.keras_internals import asked_jit
from kopt.training import Loop

stock = keras.Model.fit
NAMES = list(inspect.signature(stock).parameters)[1:]
calls = []

# Keras tests each way to count steps with each length of the data in each of three modes of training.
COUNTED = re.compile(r"(test_\w*?steps_(?:count|per_epoch)(?:_unknown_data(?:set)?_size)?)_(\w+?)_(eager|non_jit|jit)$")
WAYS = (
    ("test_steps_per_epoch", "test_steps_per_execution_steps_per_epoch")
    + ("test_steps_per_execution_steps_per_epoch_unknown_data_size",),
    ("test_steps_per_execution_steps_count", "test_steps_per_execution_steps_count_unknown_dataset_size"),
)
LENGTHS = ("3", "101"), ("not_match_too_low", "not_match_but_high_enough", "match", "match_multi_epoch")
MODES = ("eager", "non_jit", "jit")


def fit(model, *arguments, **named):
    """Keras' fit takes its arguments by place too."""
    calls.append(model.name)
    jit = "auto" if asked_jit(model) else False  # a test that is about XLA says so when it compiles its model
    return Loop(model, sparse="keras", jit=jit).fit(**dict(zip(NAMES, arguments)), **named)


def pytest_configure(config) -> None:
    """Only where it is a plugin: whoever collects this file for doctests keeps Keras' fit."""
    for kind in keras.Model.__mro__:
        if vars(kind).get("fit") is stock:
            kind.fit = fit


def calls_fit(item) -> bool:
    """Return whether a test calls `fit`, in its text or by a parameter: for another nothing is replaced."""
    return "fit" in item.name or ".fit(" in inspect.getsource(inspect.unwrap(item.function))


def covers(name: str) -> bool:
    """Return whether a test is one of a pairwise cover.

    Each pair of a way to count, a length and a mode is in a test: 11 of 33 with `steps_per_epoch`, 6 of 12 without.
    Loop counts steps before it chooses how to run them, so a third of them meets no line that the pairs do not meet.
    """
    found = COUNTED.match(name)
    if not found:
        return True
    way, length, mode = found[1], found[2].replace("match_one_epoch", "match"), found[3]
    (ways,), (lengths,) = ([one for one in all_ if value in one] for all_, value in ((WAYS, way), (LENGTHS, length)))
    return (ways.index(way) + lengths.index(length) + MODES.index(mode)) % len(ways) == 0


def pytest_collection_modifyitems(items) -> None:
    """Leave out the tests that do not call `fit`, and what a pairwise cover does not need."""
    items[:] = [one for one in items if calls_fit(one) and covers(one.name)]


def pytest_unconfigure(config) -> None:
    """Say how often it was called."""
    pathlib.Path("calls.txt").write_text(str(len(calls)))
