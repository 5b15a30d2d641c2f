"""Trainable: whether what a search is called with can be trained on, seen before anything is."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import keras_tuner

from kopt.tuning.space.hypermodel import HyperModel
from kopt.tuning.trial.objectives import directions, require_reported
from kopt.tuning.trial.validation import reported_metrics, require_rows, validates
from kopt.values.checks import require

__all__ = ["require_trainable"]

DATA = ("x", "y")


def require_trainable(tuner: Any, args: Sequence[Any], kwargs: Mapping[str, Any], callbacks: Sequence[Any]) -> None:
    """Refuse data that do not fit, and an objective that the training will not report.

    A model with a `fit` of its own may have its own data, and need no compile: nothing is known of what it reports.

    Args:
        tuner: Its hypermodel, folds and objective.
        args: Positional arguments of `search`.
        kwargs: Named ones.
        callbacks: The callbacks among them.

    Raises:
        ValueError: When there are such; says which.

    Example:
        >>> import numpy as np, tempfile
        >>> from kopt.tuning.tuner import Tuner
        >>> def build(hp):
        ...     model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        ...     model.compile("sgd", "mse")
        ...     return model
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tuner = Tuner(build, "val_loss", directory=folder)
        ...     require_trainable(tuner, [np.eye(2), np.ones((2, 1))], {}, [])
        Traceback (most recent call last):
        ValueError: objective must be one of loss, got 'val_loss' (did you mean 'loss'?).
    """
    x, y = [*args, *(kwargs.get(name) for name in DATA[len(args) :])][:2]
    brings = isinstance(tuner.hypermodel, HyperModel) and tuner.hypermodel.brings_data()
    if brings:
        tuner.hypermodel.require_no_data(args, kwargs)
    elif x is not None or tuner.folds > 1:
        require_rows(x, y, kwargs, folds=tuner.folds, seed=tuner.seed or 0)
    hp = tuner.oracle.get_space()
    try:
        model = tuner.fresh_model(hp)
    except keras_tuner.errors.FailedTrialError:
        return  # this one is too large, others may not be
    own = type(model).fit is not keras.Model.fit  # which may have its own data, and need no compile
    require(own or model.compiled, "hypermodel", "must give a compiled model", type(model).__name__)
    require(own or brings or x is not None, "x", "must be data to train on", None)
    if own:
        return
    inspect.signature(model.fit).bind(*args, **{name: one for name, one in kwargs.items() if name != "groups"})
    example = tuner.hypermodel.example(hp) if brings else (x, y)
    validated = brings or tuner.folds > 1 or validates(kwargs)
    reported = reported_metrics(model, *example, validated=validated, callbacks=callbacks)
    if reported is not None:
        require_reported(directions(tuner.oracle.objective), reported)
