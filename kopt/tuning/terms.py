"""Terms: what decides what a trial's numbers mean, beside its hyperparameters."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kopt.tuning.fingerprint import fingerprint
from kopt.tuning.hypermodel import HyperModel
from kopt.tuning.objectives import directions

__all__ = ["terms_of"]

DATA = ("x", "y", "sample_weight", "validation_data", "groups")
SHOWN = ("callbacks", "verbose")  # arguments of `search` that change no number


def terms_of(tuner: Any, args: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a trial's numbers depend on: begun under other terms, a trial cannot go on.

    Args:
        tuner: Its folds, executions, seed, objective and recipe count.
        args: Positional arguments of `search`.
        named: Named ones.

    Returns:
        Name -> value, equal after a round trip through JSON.

    Example:
        >>> import keras_tuner, types
        >>> oracle = types.SimpleNamespace(objective=keras_tuner.Objective("loss", "min"))
        >>> tuner = types.SimpleNamespace(folds=1, executions=1, seed=0, hypermodel=None, oracle=oracle)
        >>> terms = terms_of(tuner, [], {"epochs": 3})
        >>> terms["fit"], terms["folds"], terms["precision"]
        ({'epochs': 3}, 1, 'float32')
    """
    given = dict(zip(("x", "y"), args)) | {name: named[name] for name in DATA if name in named}
    rest = {name: value for name, value in named.items() if name not in (*DATA, *SHOWN)}
    brings = isinstance(tuner.hypermodel, HyperModel) and tuner.hypermodel.brings_data()
    terms = {
        "folds": tuner.folds,
        "executions": tuner.executions,
        "seed": tuner.seed,
        "objective": directions(tuner.oracle.objective),
        "data": fingerprint(**{"x": None} | given),
        "fit": rest | ({"args": args[2:]} if args[2:] else {}),
        "precision": keras.config.dtype_policy().name,
        "recipe": tuner.hypermodel.told() if brings else None,
    }
    return json.loads(json.dumps(terms, default=lambda value: type(value).__name__))
