"""Execution: one training of a trial's model, on one fold, and what it tells the tuner at each epoch."""

import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import keras_tuner
import optuna

from kopt.keras_internals.resuming import called_last, seeds_made
from kopt.tuning.space.hypermodel import HyperModel
from kopt.tuning.space.seeded import seed_of
from kopt.tuning.trial.checkpoints import Checkpoint, Progress
from kopt.tuning.trial.folds import folds_of, take
from kopt.tuning.trial.input_specs import inputs_of
from kopt.tuning.trial.objectives import best_epoch, directions
from kopt.tuning.trial.snapshot import StartAnew
from kopt.values.types import KerasCallback, Objective, TrialOfTuner

__all__ = ["data_of", "execute", "forward", "is_stopped"]

log = logging.getLogger("kopt")

DATA = ("x", "y")


class Stopped(BaseException):
    """Ends a loop that goes on although its trial was stopped; no `except Exception` of a user's is to keep it."""


class Forward(keras.callbacks.Callback):
    """Calls the tuner's epoch hooks, from `fit` or from any loop that calls `set_model` and `on_epoch_end`.

    Args:
        tuner: Whose.
        trial: Of which trial.
        epochs: How many there are, for a loop that does not call `set_params`; None when unknown.
    """

    def __init__(self, tuner: Any, trial: TrialOfTuner, epochs: int | None = None):
        super().__init__()
        self.tuner, self.trial, self.epochs = tuner, trial, epochs
        self.counts = "parameters" in directions(tuner.oracle.objective)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.require_running()
        self.tuner.on_epoch_begin(self.trial, self.model, epoch, logs=logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.require_running()
        if self.counts and logs is not None:
            logs["parameters"] = float(self.model.count_params())
        self.tuner.on_epoch_end(self.trial, self.model, epoch, logs=logs)
        if epoch + 1 >= ((self.params or {}).get("epochs") or self.epochs or float("inf")):
            self.tuner.oracle.stop(self.trial, None)  # it was at its end anyway

    def require_running(self) -> None:
        """Leave a loop that does not obey `model.stop_training`."""
        if is_stopped(self.tuner.oracle, self.trial):
            raise Stopped


class ForwardBatches(Forward):
    """Calls the tuner's batch hooks too; apart, for a loop that has none to call runs many batches at once."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.tuner.on_batch_begin(self.trial, self.model, batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.tuner.on_batch_end(self.trial, self.model, batch, logs)


def forward(tuner: Any, trial: TrialOfTuner, epochs: int | None = None) -> Forward:
    """Give the callback that calls the tuner's hooks, those of batches only where a subclass has its own.

    Args:
        tuner: Whose.
        trial: Of which trial.
        epochs: How many there are, where that is known.

    Returns:
        The callback.

    Example:
        >>> import keras_tuner
        >>> from kopt.tuning.tuner import Tuner
        >>> tuner = Tuner.__new__(Tuner)
        >>> tuner.oracle = keras_tuner.Oracle("loss")
        >>> type(forward(tuner, None)).__name__
        'Forward'
    """
    kind, stock = type(tuner), keras_tuner.Tuner
    own = kind.on_batch_begin is not stock.on_batch_begin or kind.on_batch_end is not stock.on_batch_end
    return (ForwardBatches if own else Forward)(tuner, trial, epochs)


def data_of(
    tuner: Any, execution: int, args: Sequence[Any], given: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Give the arguments of one execution's fit: the whole data, or a fold's share of them.

    Args:
        tuner: Its folds and seed are used.
        execution: Which, from 0; a fold's executions follow one another.
        args: Positional arguments of `search`.
        given: Named ones.

    Returns:
        Positional and named arguments of `fit`.

    Example:
        >>> import numpy as np, types
        >>> tuner = types.SimpleNamespace(folds=2, executions=2, seed=0, hypermodel=None)
        >>> args, named = data_of(tuner, 0, [np.arange(4)], {"y": np.array([0, 0, 1, 1])})
        >>> args[0].tolist(), named["y"].tolist(), named["validation_data"][0].tolist()
        ([1, 2], [0, 1], [0, 3])
    """
    args, named = list(args), dict(given)
    groups = named.pop("groups", None)
    if tuner.folds == 1:
        return args, named
    fold, seed = execution // (tuner.executions // tuner.folds), tuner.seed or 0
    if isinstance(tuner.hypermodel, HyperModel) and tuner.hypermodel.brings_data():
        return args, named | {"fold": (fold, tuner.folds, seed)}
    whole = dict(zip(DATA, args)) | {name: named[name] for name in DATA if name in named}
    rows = folds_of(whole["y"], tuner.folds, groups=groups, seed=seed)[fold]
    weights = named.get("sample_weight")
    validation = tuple(take(part, rows.validation) for part in (whole["x"], whole["y"], weights) if part is not None)
    args = [take(part, rows.train) for part in args[:2]] + args[2:]
    named |= {name: take(named[name], rows.train) for name in (*DATA, "sample_weight") if named.get(name) is not None}
    return args, named | {"validation_data": validation}


def execute(
    tuner: Any,
    trial: TrialOfTuner,
    execution: int,
    progress: Progress,
    callbacks: Sequence[KerasCallback],
    args: Any,
    named: Any,
) -> Any:
    """Build and train one model of a trial, from its last epoch on where another process has begun with it.

    Args:
        tuner: Whose hypermodel and hooks are used.
        trial: KerasTuner's trial.
        execution: Which of the trial's models, from 0.
        progress: How far the trial is.
        callbacks: The user's; copied.
        args: Positional arguments of `fit`.
        named: Named ones.

    Returns:
        What the hypermodel's `fit` returned; a History has the epochs before too.

    Raises:
        FailedTrialError: When the model has more parameters than it may.
    """
    try:
        return trained(tuner, trial, execution, progress, callbacks, args, named)
    except StartAnew as why:
        if why.whole:
            raise
        log.warning("trial %s begins its execution %d anew: %s", trial.trial_id, execution, why)
        progress.begin_anew()
        if tuner.executions == 1:  # else each is reported at its end
            tuner.oracle.forget_reports(trial)
        return trained(tuner, trial, execution, progress, callbacks, args, named)


def trained(
    tuner: Any,
    trial: TrialOfTuner,
    execution: int,
    progress: Progress,
    callbacks: Sequence[KerasCallback],
    args: Any,
    named: Any,
) -> Any:
    """Do what `execute` does, or raise StartAnew where it cannot go on from where it was."""
    hp, fit = trial.hyperparameters, tuner.hypermodel.fit
    if progress.last and not takes(fit, "initial_epoch"):
        raise StartAnew("its fit takes no initial_epoch")
    if tuner.seed is not None:
        keras.utils.set_random_seed(seed_of(tuner.seed, tuner.oracle.retries.order(int(trial.trial_id)), execution))
    with seeds_made() as made:
        model = tuner.fresh_model(hp)
        unbuilt = not model.built
        require_size(tuner, trial, model)
        tuner.oracle.tell_drawn(trial)
        progress.require_values(hp.values)
        first = named.get("initial_epoch", 0) + len(progress.epochs)
        checkpoint = Checkpoint(progress, tuner.oracle.objective, first=first, made=made)
        others = [*tuner.copied(callbacks, trial, execution), forward(tuner, trial, named.get("epochs"))]
        checkpoint.beside = others
        given = named | {"callbacks": [*others, checkpoint]} | ({"initial_epoch": first} if first else {})
        with called_last(checkpoint):
            try:
                result = fit(hp, model, *args, **given)
            except Stopped:
                result = reached(checkpoint.logs, tuner.oracle.objective)
    tuner.save_build(trial.trial_id, model, inputs_of(args, named) if unbuilt else None)
    return result


def reached(logs: Sequence[Mapping[str, Any]], objective: Objective) -> dict[str, float]:
    """Return the metrics of the best epoch of a loop that was left."""
    if not any(objective.has_value(one) for one in logs):
        raise optuna.TrialPruned
    return best_epoch(logs, objective).metrics


def is_stopped(oracle: Any, trial: TrialOfTuner) -> bool:
    """Tell whether a trial that is under way was to stop before its end.

    Args:
        oracle: The tuner's.
        trial: KerasTuner's trial.

    Example:
        >>> import types
        >>> oracle = types.SimpleNamespace(live={"0": types.SimpleNamespace(stopped="pruned")})
        >>> is_stopped(oracle, types.SimpleNamespace(trial_id="0"))
        True
    """
    return oracle.live[trial.trial_id].stopped is not None


def takes(function: Any, name: str) -> bool:
    """Return whether a function can be given an argument by its name."""
    parameters = inspect.signature(function).parameters
    return name in parameters or any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())


def require_size(tuner: Any, trial: TrialOfTuner, model: Any) -> None:
    """Leave a model out that is too large; samplers learn that such are bad."""
    limit = tuner.max_parameters
    if limit is not None and model.built and model.count_params() > limit:
        tuner.oracle.stop(trial, "oversized")
        raise keras_tuner.errors.FailedTrialError(
            f"The model must have <= {limit} parameters, got {model.count_params()}."
        )
