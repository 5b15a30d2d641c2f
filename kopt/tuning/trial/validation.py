"""Validation of the arguments of `Tuner` and `search`, before anything is trained."""

import copy
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import keras
import keras_tuner
import numpy as np
import tensorflow as tf
from optuna.distributions import FloatDistribution

from kopt import keras_internals as internals
from kopt.tuning.search.oracle import StudyOracle
from kopt.tuning.space.distributions import dimension
from kopt.tuning.space.hypermodel import HyperModel
from kopt.tuning.trial.folds import folds_of
from kopt.tuning.trial.input_specs import are_arrays
from kopt.tuning.trial.objectives import directions, require_reported
from kopt.values.checks import is_whole, require
from kopt.values.types import (
    Annotation,
    Argument,
    FitArgument,
    HyperModelLike,
    HyperParameter,
    HyperParameters,
    KerasCallback,
    KerasModel,
)

__all__ = [
    "reported_metrics",
    "require_copyable",
    "require_counts",
    "require_finite",
    "require_kinds",
    "require_rows",
    "require_trainable",
    "validates",
]

DATA = ("x", "y")
# Arguments of `Tuner`: name, least value, and whether None is allowed.
COUNTS = (
    ("max_trials", 1, True),
    ("population", 2, True),
    ("max_parameters", 1, True),
    ("folds", 1, False),
    ("executions_per_trial", 1, False),
    ("keep", 0, False),
    ("max_retries_per_trial", 0, False),
    ("max_consecutive_failed_trials", 1, True),
)
KINDS: dict[str, tuple[Annotation, str]] = {
    "hypermodel": ((Callable, keras_tuner.HyperModel), "a function or a keras_tuner.HyperModel"),
    "directory": ((str, os.PathLike), "a path"),
    "project_name": (str, "a text"),
    "overwrite": (bool, "a bool"),
    "duplicates": (bool, "a bool"),
    "hyperparameters": (keras_tuner.HyperParameters, "KerasTuner's HyperParameters"),
    "distribution_strategy": (tf.distribute.Strategy, "a tf.distribute.Strategy"),
}


class SearchingTuner(Protocol):
    """The part of a tuner that is validated before a search."""

    oracle: StudyOracle
    hypermodel: HyperModelLike
    folds: int
    seed: int | None

    def fresh_model(self, hp: HyperParameters) -> KerasModel: ...


def require_counts(given: Mapping[str, Argument]) -> None:
    """Raise ValueError when a count is not a whole number in its range.

    Args:
        given: The arguments of `Tuner`, by name.

    Raises:
        ValueError: When a count is not a whole number in its range.

    Example:
        >>> require_counts({"max_trials": 0})
        Traceback (most recent call last):
        ValueError: max_trials must be a whole number >= 1, got 0.
    """
    for name, least, can_be_none in COUNTS:
        count = given.get(name, least)
        found = can_be_none if count is None else is_whole(count) and count >= least
        require(found, name, f"must be a whole number >= {least}", count)
    seed = given.get("seed")
    require(seed is None or (is_whole(seed) and seed < 2**32), "seed", "must be in [0, 2 ** 32) or None", seed)


def require_kinds(given: Mapping[str, Argument]) -> None:
    """Raise ValueError when an argument has a wrong type.

    Args:
        given: The arguments of `Tuner`, by name.

    Raises:
        ValueError: When an argument has a wrong type; the error names the right one.

    Example:
        >>> require_kinds({"overwrite": "no"})
        Traceback (most recent call last):
        ValueError: overwrite must be a bool, got 'no'.
    """
    for name, (kind, description) in KINDS.items():
        value = given.get(name)
        require(value is None or isinstance(value, kind), name, f"must be {description}", value)


def require_copyable(callbacks: Sequence[KerasCallback]) -> None:
    """Raise ValueError when a callback cannot be copied: each trial trains with copies of its own.

    Args:
        callbacks: Keras callbacks.

    Raises:
        ValueError: When `callbacks` is no list, or a callback cannot be copied; the error says which and why.

    Example:
        >>> import keras, threading
        >>> callback = keras.callbacks.Callback()
        >>> callback.lock = threading.Lock()
        >>> require_copyable([callback])
        Traceback (most recent call last):
        ValueError: callbacks must be ones that can be copied, for each trial has its own, got Callback (cannot pickle
        '_thread.lock' object).
    """
    listed = isinstance(callbacks, (list, tuple))
    require(listed, "callbacks", "must be a list of Keras callbacks", type(callbacks).__name__)
    for callback in callbacks:
        try:
            copy.deepcopy(callback)
        except Exception as error:  # an attribute of the callback may raise anything
            rule = "callbacks must be ones that can be copied, for each trial has its own"
            raise ValueError(f"{rule}, got {type(callback).__name__} ({error}).") from error


def require_rows(x: FitArgument, y: FitArgument, given: Mapping[str, FitArgument], *, folds: int, seed: int) -> None:
    """Raise ValueError when arrays differ in their number of rows, or cannot be split into folds.

    Args:
        x: Inputs; with folds, an array or a nest of arrays.
        y: Targets, as x.
        given: The other arguments of `search`; with folds, there must be no validation data.
        folds: The number of folds, >= 1.
        seed: Seed of the folds.

    Raises:
        ValueError: When there are no inputs, the numbers of rows differ, or there are no such folds.

    Example:
        >>> require_rows((pair for pair in []), None, {}, folds=2, seed=0)
        Traceback (most recent call last):
        ValueError: x and y must be arrays to be dealt into folds, got 'generator' and 'NoneType'.
        >>> require_rows(np.eye(3), np.ones(2), {}, folds=1, seed=0)
        Traceback (most recent call last):
        ValueError: y must be 3 rows, as x has, got 2.
    """
    require(x is not None, "x", "must be data to train on", None)
    weights = given.get("sample_weight")
    parts = {name: part for name, part in (("x", x), ("y", y), ("sample_weight", weights)) if are_arrays(part)}
    if folds > 1:
        validated = validates(given)
        rule = "must be 1 with validation data of one's own, for folds are validated on"
        require(not validated, "folds", rule, folds)
        if "x" not in parts or "y" not in parts:
            kinds = [type(part).__name__ for part in (x, y)]
            raise ValueError(f"x and y must be arrays to be dealt into folds, got {kinds[0]!r} and {kinds[1]!r}.")
        known = weights is None or "sample_weight" in parts
        require(known, "sample_weight", "must be an array to be dealt into folds", type(weights).__name__)
    if "x" in parts:
        rows = keras.tree.flatten(x)[0].shape[0]
        for name, part in parts.items():
            for leaf in keras.tree.flatten(part):
                require(leaf.shape[0] == rows, name, f"must be {rows} rows, as x has", leaf.shape[0])
    if folds > 1:
        folds_of(y, folds, groups=given.get("groups"), seed=seed)


def validates(given: Mapping[str, FitArgument]) -> bool:
    """Return whether the arguments of a fit include validation data.

    Args:
        given: Named arguments of `fit`.

    Example:
        >>> validates({"validation_split": 0.1}), validates({"validation_data": None})
        (True, False)
    """
    return given.get("validation_data") is not None or bool(given.get("validation_split"))


def require_finite(space: Sequence[HyperParameter]) -> None:
    """Raise ValueError when a space is infinite, so that no grid covers it.

    Args:
        space: KerasTuner's hyperparameters.

    Raises:
        ValueError: When a hyperparameter is a number without a step.

    Example:
        >>> import keras_tuner
        >>> require_finite([keras_tuner.engine.hyperparameters.Float("rate", 0, 1)])
        Traceback (most recent call last):
        ValueError: sampler 'grid' must have a step or options for every hyperparameter, got 'rate'.
    """
    for hp in space:
        found = dimension(hp)
        endless = (
            found is not None and isinstance(found.distribution, FloatDistribution) and not found.distribution.step
        )
        require(not endless, "sampler 'grid'", "must have a step or options for every hyperparameter", hp.name)


def reported_metrics(
    model: KerasModel, x: FitArgument, y: FitArgument, *, validated: bool, callbacks: Sequence[KerasCallback] = ()
) -> list[str] | None:
    """Return the names of the metrics that `model.fit` will report, without training.

    Args:
        model: A compiled model; it is built if it is not.
        x: An array, a nest of arrays, or a dataset.
        y: The same; None when x holds the targets.
        validated: Whether there are validation data.
        callbacks: The callbacks of the fit.

    Returns:
        The names; None when they cannot be known: the model overrides its training step, x is a generator, or a
        callback of the user may add metrics.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse", metrics=["mae"])
        >>> reported_metrics(model, np.eye(2), np.ones((2, 1)), validated=True)
        ['loss', 'mae', 'val_loss', 'val_mae']
    """
    own = internals.has_own_train_step(model) or internals.has_own_test_step(model) or internals.has_own_metrics(model)
    foreign = [one for one in callbacks if type(one).__module__.partition(".")[0] not in ("keras", "kopt")]
    lambdas = [one for one in callbacks if isinstance(one, keras.callbacks.LambdaCallback)]
    if own or foreign or lambdas:
        return None
    if isinstance(x, tf.data.Dataset):
        batch = next(iter(x.take(1)), None)
    elif are_arrays(x) and are_arrays(y):
        batch = tuple(keras.tree.map_structure(lambda part: np.asarray(part[:1]), one) for one in (x, y))
    else:
        return None
    if batch is None:
        return None
    internals.build(model, keras.utils.unpack_x_y_sample_weight(batch))
    names = sorted(model.get_metrics_result())
    return names + [f"val_{name}" for name in names if validated]


def require_trainable(
    tuner: SearchingTuner,
    args: Sequence[FitArgument],
    kwargs: Mapping[str, FitArgument],
    callbacks: Sequence[KerasCallback],
) -> None:
    """Raise ValueError when data do not fit, or training will not report the objective.

    A model that overrides `fit` may have its own data and need no `compile`; the metrics that it reports are unknown.

    Args:
        tuner: The tuner, for its hypermodel, folds and objective.
        args: Positional arguments of `search`.
        kwargs: Named arguments of `search`.
        callbacks: The callbacks among the arguments.

    Raises:
        ValueError: When data do not fit, or the objective is not reported; the error says which.

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
        return  # the model is too large with these values; with others it may not be
    own = type(model).fit is not keras.Model.fit
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
