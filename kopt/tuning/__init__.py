"""Tuning: spaces over values, hypermodels for KerasTuner, and its tuner over an Optuna study."""

from kopt.tuning.space.dimensions import optimizer, regularizer, rule, schedule
from kopt.tuning.space.hypermodel import HyperModel
from kopt.tuning.space.space import Choice, Range, Space
from kopt.tuning.tuner import Tuner

__all__ = ["Choice", "HyperModel", "Range", "Space", "Tuner", "optimizer", "regularizer", "rule", "schedule"]
