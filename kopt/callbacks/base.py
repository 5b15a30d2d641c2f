"""The registry of callbacks."""

import keras

from kopt.registry import Registry

__all__ = ["registry"]

registry: Registry[keras.callbacks.Callback] = Registry("callbacks")
