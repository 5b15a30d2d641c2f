"""A pytest plugin for Keras' own tests of its trainer: `fit` is Loop's."""

import inspect

import keras

from kopt.training import Loop

stock = keras.Model.fit
NAMES = list(inspect.signature(stock).parameters)[1:]


def fit(model, *arguments, **named):
    """Keras' fit takes its arguments by place too."""
    return Loop(model).fit(**dict(zip(NAMES, arguments)), **named)


def pytest_configure(config) -> None:
    """Only where it is a plugin: whoever collects this file for doctests keeps Keras' fit."""
    for kind in keras.Model.__mro__:
        if vars(kind).get("fit") is stock:
            kind.fit = fit
