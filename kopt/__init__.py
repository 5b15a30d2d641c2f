"""kopt: training Keras models on TensorFlow, exact on any number of devices, fast, and tunable."""

import importlib
from typing import TYPE_CHECKING, Any

from kopt.values import collector, parts
from kopt.values.moved import moved_modules
from kopt.values.quiet import is_quiet, quiet_imports
from kopt.values.version import __version__ as __version__

if TYPE_CHECKING:
    from kopt import report, tuning
    from kopt.experiment.exit_codes import exit_codes
    from kopt.experiment.predict import predict
    from kopt.experiment.recipe_cli import run_command
    from kopt.experiment.run import run
    from kopt.report import plot
    from kopt.tuning.autotune import autotune


__all__ = [
    "Command",
    "Knob",
    "Loop",
    "Recipe",
    "Training",
    "augment",
    "autotune",
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
    "predict",
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

# Imported on first use, for these import matplotlib, KerasTuner and Optuna.
LATE_MODULES = ("report", "tuning")
LATE_NAMES = {
    "autotune": "kopt.tuning.autotune",
    "exit_codes": "kopt.experiment.exit_codes",
    "plot": "kopt.report",
    "predict": "kopt.experiment.predict",
    "run": "kopt.experiment.run",
    "run_command": "kopt.experiment.recipe_cli",
}


def __getattr__(name: str) -> Any:
    """Import a late name on first use, or a module by its old name with a `DeprecationWarning`."""
    if name in LATE_MODULES:
        return importlib.import_module(f"kopt.{name}")
    if name in LATE_NAMES:
        found = getattr(importlib.import_module(LATE_NAMES[name]), name)
    elif f"kopt.{name}" in moved_modules.moved:
        found = moved_modules.load(f"kopt.{name}", stacklevel=2)
    else:
        raise AttributeError(f"module 'kopt' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Return what users may use, what is imported on first use too."""
    return sorted([*__all__, "__version__"])


if not parts.late(__name__):  # in the process of the command `kopt` at first use, in any other now
    with quiet_imports(), collector.paused():  # the imports make a million objects that stay
        import keras

        if keras.backend.backend() != "tensorflow":
            raise ImportError(
                f"the Keras backend must be tensorflow for kopt, got {keras.backend.backend()!r}: "
                "set KERAS_BACKEND=tensorflow."
            )

        from kopt import (
            augment,
            callbacks,
            data,
            distribute,
            experiment,
            models,
            optimizers,
            regularizers,
            rules,
            schedules,
            select,
            training,
            values,
        )
        from kopt.experiment.recipe import Command, Recipe, Training, command_line
        from kopt.keras_internals.native_log import hide_native_log
        from kopt.keras_internals.serialization import KerasSerialization
        from kopt.state.knob import Knob
        from kopt.state.loading import load_model
        from kopt.training import Loop, fit
        from kopt.training.execute import xla_flags
        from kopt.values import serialization

        serialization.install(KerasSerialization())
        xla_flags.install()
        moved_modules.install()
        if is_quiet():
            hide_native_log()
