"""kopt: training Keras models on TensorFlow, exact on any number of devices, fast, and tunable."""

import importlib
from typing import Any

import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        f"the Keras backend must be tensorflow for kopt, got {keras.backend.backend()!r}: set KERAS_BACKEND=tensorflow."
    )

from kopt import (  # noqa: E402
    augment,
    callbacks,
    data,
    distribute,
    models,
    optimizers,
    regularizers,
    rules,
    schedules,
    select,
    training,
    values,
)
from kopt.experiment.recipe import Command, Recipe, Training, command_line  # noqa: E402
from kopt.state.knob import Knob  # noqa: E402
from kopt.state.loading import load_model  # noqa: E402
from kopt.training import Loop, fit  # noqa: E402
from kopt.values.deprecation import warn_moved  # noqa: E402
from kopt.values.moved import moved_modules  # noqa: E402

__version__ = "0.1.0"

__all__ = [
    "Command",
    "Knob",
    "Loop",
    "Recipe",
    "Training",
    "augment",
    "callbacks",
    "command_line",
    "data",
    "distribute",
    "exit_codes",
    "fit",
    "load_model",
    "models",
    "optimizers",
    "plot",
    "regularizers",
    "report",
    "rules",
    "run",
    "run_command",
    "schedules",
    "select",
    "training",
    "tuning",
    "values",
]

# Loaded on first use: these import matplotlib, KerasTuner and Optuna.
LATE_MODULES = ("report", "tuning")
LATE_NAMES = {
    "exit_codes": "kopt.experiment.exit_codes",
    "plot": "kopt.report",
    "run": "kopt.experiment.run",
    "run_command": "kopt.experiment.recipe_cli",
}


moved_modules.install()


def __getattr__(name: str) -> Any:
    if name in LATE_MODULES:
        return importlib.import_module(f"kopt.{name}")
    if name in LATE_NAMES:
        globals()[name] = found = getattr(importlib.import_module(LATE_NAMES[name]), name)
        return found
    if f"kopt.{name}" in moved_modules.moved:
        new = moved_modules.moved[f"kopt.{name}"]
        warn_moved(f"kopt.{name}", new, stacklevel=2)
        return importlib.import_module(new)
    raise AttributeError(f"module 'kopt' has no attribute {name!r}")
