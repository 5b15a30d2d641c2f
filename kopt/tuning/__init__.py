"""Tuning: spaces over values, and hypermodels for KerasTuner."""

from kopt.tuning.dimensions import regularizer
from kopt.tuning.hypermodel import HyperModel
from kopt.tuning.space import Choice, Range, Space

__all__ = ["Choice", "HyperModel", "Range", "Space", "regularizer"]
