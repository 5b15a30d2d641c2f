"""Meaning: what decides what a score means, so that only scores of one kind are ranked together."""

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import Protocol

import keras
import numpy as np

from kopt.tuning.search.fingerprint import fingerprint
from kopt.tuning.space.hypermodel import HyperModel
from kopt.values.field_paths import paths
from kopt.values.fields import Value
from kopt.values.types import FitArgument, HyperModelLike, Json

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
ANYWHERE = (
    "name",
    "devices",
    "collectives",
    "target",
    "training.deterministic",
)  # fields of a recipe that change no score
PLAIN = (bool, int, float, str, type(None))


class Settings(Protocol):
    """The settings of a tuner that decide what a score means."""

    folds: int
    executions: int
    seed: int | None
    hypermodel: HyperModelLike


def meaning_of(tuner: Settings, args: Sequence[FitArgument], given: Mapping[str, FitArgument]) -> dict[str, Json]:
    """Return what decides what a score of a search means, as JSON keeps it.

    Args:
        tuner: The `Tuner`.
        args: Positional arguments of `search`.
        given: Named arguments of `search`; those that `fit` has too count.

    Returns:
        Name -> number, text, or a description of data.

    Example:
        >>> import types, numpy as np
        >>> tuner = types.SimpleNamespace(folds=2, executions=4, seed=0, hypermodel=None)
        >>> found = meaning_of(tuner, [np.zeros((4, 3)), np.zeros(4)], {"epochs": 3})
        >>> found["folds"], found["executions_per_trial"], found["epochs"], found["x"]["shape"]
        (2, 2, 3, [4, 3])
    """
    found: dict[str, Json] = {
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


def terms_of(tuner: Settings, args: Sequence[FitArgument], given: Mapping[str, FitArgument]) -> dict[str, Json]:
    """Return what decides a trial's numbers beside its hyperparameters; a trial goes on only when this is the same.

    Args:
        tuner: The `Tuner`.
        args: Positional arguments of its `run_trial`, which the user's `run_trial` may have changed.
        given: Named arguments. Those that `fit` does not have count too: they are for the hypermodel's `fit`.

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


def arguments(args: Sequence[FitArgument], given: Mapping[str, FitArgument]) -> dict[str, FitArgument]:
    """Return arguments of `fit` by their names, with its defaults; the user's `fit` must name them alike."""
    known = inspect.signature(keras.Model.fit).parameters
    defaults = {name: one.default for name, one in known.items() if name in TRAINING}
    return defaults | dict(zip([name for name in known if name != "self"], args)) | dict(given)


def fixed(hypermodel: HyperModel) -> dict[str, Json]:
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
    """Return the names of the value's type and of the types that it wraps."""
    wrapped = [vars(value)[one.name] for one in dataclasses.fields(value) if one.name == "of"]
    return " of ".join([type(value).__name__, *(kinds(one) for one in wrapped if isinstance(one, Value))])


def is_plain(value: FitArgument) -> bool:
    return isinstance(value, (*PLAIN, dict, list, tuple))


def plain(value: FitArgument) -> Json:
    """Return a value as JSON keeps it; for what JSON cannot keep, its type's name."""
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, PLAIN) else type(value).__name__
