"""Keras callbacks, for `model.fit` and for `kopt.fit`."""

from kopt.callbacks.epoch_time import EpochTime
from kopt.callbacks.learning_rate import LearningRate

__all__ = ["EpochTime", "LearningRate"]
