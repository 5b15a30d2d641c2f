"""Meaning: what decides what a score means, so that two kinds of trials are not ranked together, nor two in one."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kopt.tuning.search.fingerprint import fingerprint
from kopt.tuning.space.hypermodel import HyperModel
from kopt.values.field_paths import paths
from kopt.values.fields import Value

__all__ = ["meaning_of", "terms_of"]

SHOWN = ("callbacks", "verbose")  # arguments of `search` that change no number
DATA = ("x", "y", "sample_weight", "validation_data", "groups")
TRAINING = (
    "epochs",
    "initial_epoch",
    "batch_size",
    "steps_per_epoch",
    "shuffle",
    "class_weight",
    "validation_split",
    "validation_batch_size",
    "validation_steps",
    "validation_freq",
)
ANYWHERE = ("name", "devices", "collectives", "target")  # fields of a recipe that change no score
PLAIN = (bool, int, float, str, type(None))


def meaning_of(tuner: Any, args: Sequence[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides what a score of a search means, as JSON keeps it.

    Args:
        tuner: The `Tuner`.
        args: Positional arguments of `search`.
        given: Named ones, of which those count that `fit` has too.

    Returns:
        Name -> number, text, or a description of data.

    Example:
        >>> import types, numpy as np
        >>> tuner = types.SimpleNamespace(folds=2, executions=4, seed=0, hypermodel=None)
        >>> found = meaning_of(tuner, [np.zeros((4, 3)), np.zeros(4)], {"epochs": 3})
        >>> found["folds"], found["executions_per_trial"], found["epochs"], found["x"]["shape"]
        (2, 2, 3, [4, 3])
    """
    found: dict[str, Any] = {
        "folds": tuner.folds,
        "executions_per_trial": tuner.executions // tuner.folds,
        "seed": tuner.seed,
        "precision": keras.config.dtype_policy().name,
    }
    named = arguments(args, given)
    found |= {name: plain(named[name]) for name in TRAINING if name in named and is_plain(named[name])}
    found |= fingerprint(**{name: named.get(name) for name in DATA})
    if isinstance(tuner.hypermodel, HyperModel):
        found |= fixed(tuner.hypermodel)
    return found


def terms_of(tuner: Any, args: Sequence[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides a trial's numbers beside its hyperparameters: a trial goes on only where it is the same.

    Args:
        tuner: The `Tuner`.
        args: Positional arguments of its `run_trial`, which a user's own may have changed.
        given: Named ones. Those that `fit` has not, count too: they are for the hypermodel's own `fit`.

    Returns:
        What `meaning_of` returns, and "others": name -> value, or its type's name.

    Example:
        >>> import types
        >>> tuner = types.SimpleNamespace(folds=1, executions=1, seed=0, hypermodel=None)
        >>> terms_of(tuner, [], {"alpha": 0.5, "model": keras.Sequential(), "verbose": 0})["others"]
        {'alpha': 0.5, 'model': 'Sequential'}
    """
    others = {name: value for name, value in given.items() if name not in (*DATA, *TRAINING, *SHOWN)}
    return meaning_of(tuner, args, given) | {"others": plain(others)}


def arguments(args: Sequence[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of `fit` by their names, with its defaults; those of a user's own are named alike."""
    known = inspect.signature(keras.Model.fit).parameters
    defaults = {name: one.default for name, one in known.items() if name in TRAINING}
    return defaults | dict(zip([name for name in known if name != "self"], args)) | dict(given)


def fixed(hypermodel: HyperModel) -> dict[str, Any]:
    """Return the fields of a hypermodel's value that are not searched, and the checksum of a recipe's data."""
    value, searched = hypermodel.space.value, tuple(hypermodel.space.ranges)
    below = tuple(f"{path}." for path in searched)
    found = {
        path: kinds(field) if isinstance(field, Value) else plain(field)
        for path, field in paths(value).items()
        if path not in (*searched, *ANYWHERE) and not path.startswith(below)
    }
    data = hypermodel.splits.checksum if hypermodel.splits is not None else None
    return {type(value).__name__.lower(): found, "data": data}


def kinds(value: Value) -> str:
    """Return the type's name, and those of what it wraps."""
    inner = getattr(value, "of", None)
    return type(value).__name__ + (f" of {kinds(inner)}" if isinstance(inner, Value) else "")


def is_plain(value: Any) -> bool:
    return isinstance(value, (*PLAIN, dict, list, tuple))


def plain(value: Any) -> Any:
    """Return a value as JSON keeps it; of what JSON does not know, the type's name."""
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, PLAIN) else type(value).__name__
