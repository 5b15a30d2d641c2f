"""A pytest plugin for Keras' own tests of its trainer: `fit` is Loop's, with gradients of few rows as in Keras."""

import inspect
import pathlib

import keras

from kopt.training import Loop

stock = keras.Model.fit
NAMES = list(inspect.signature(stock).parameters)[1:]
calls = []


def fit(model, *arguments, **named):
    """Keras' fit takes its arguments by place too."""
    calls.append(model.name)
    return Loop(model, sparse="keras").fit(**dict(zip(NAMES, arguments)), **named)


def pytest_configure(config) -> None:
    """Only where it is a plugin: whoever collects this file for doctests keeps Keras' fit."""
    for kind in keras.Model.__mro__:
        if vars(kind).get("fit") is stock:
            kind.fit = fit


def pytest_collection_modifyitems(items) -> None:
    """Leave out the tests that do not call `fit`, in their text or by a parameter: for them nothing is replaced."""
    items[:] = [one for one in items if "fit" in one.name or ".fit(" in inspect.getsource(inspect.unwrap(one.function))]


def pytest_unconfigure(config) -> None:
    """Say how often it was called."""
    pathlib.Path("calls.txt").write_text(str(len(calls)))
