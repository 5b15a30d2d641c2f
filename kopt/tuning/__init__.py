"""Tuning: spaces over values, hypermodels for KerasTuner, and its tuner over an Optuna study."""

import importlib
import warnings

with warnings.catch_warnings():  # in a notebook without ipywidgets: Optuna would draw bars by them, kopt asks for none
    warnings.filterwarnings("ignore", "IProgress not found")
    importlib.import_module("tqdm.auto")

from kopt.tuning.space.dimensions import optimizer, regularizer, rule, schedule  # noqa: E402
from kopt.tuning.space.hypermodel import HyperModel  # noqa: E402
from kopt.tuning.space.space import Choice, Range, Space  # noqa: E402
from kopt.tuning.tuner import Tuner  # noqa: E402

__all__ = ["Choice", "HyperModel", "Range", "Space", "Tuner", "optimizer", "regularizer", "rule", "schedule"]
