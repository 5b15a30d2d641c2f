"""A pytest plugin for Keras' own tests of saving: what loads a model is kopt's `load_model`."""

import contextlib
import os

import keras
from keras.src.saving import saving_api, saving_lib

import kopt

stock = {module: module.load_model for module in (keras.saving, keras.models, saving_api, saving_lib)}


@contextlib.contextmanager
def as_shipped():
    """Keras' own functions, which kopt's calls."""
    ours = {module: module.load_model for module in stock}
    try:
        for module, function in stock.items():
            module.load_model = function
        yield
    finally:
        for module, function in ours.items():
            module.load_model = function


def load_model(filepath, *arguments, **named):
    with as_shipped():
        if isinstance(filepath, (str, os.PathLike)):
            return kopt.load_model(filepath, *arguments, **named)
        return saving_lib.load_model(filepath, *arguments, **named)


def pytest_configure(config) -> None:
    """Only where it is a plugin."""
    for module in stock:
        module.load_model = load_model
