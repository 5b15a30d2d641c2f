"""Execution: one training of a trial's model on one fold, and the tuner's hooks that it calls."""

import functools
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import keras
import keras_tuner
import optuna

from kopt.keras_internals.resuming import called_last, seeds_made
from kopt.training.checkpoint.between_epochs import FIT
from kopt.tuning.search.oracle import StudyOracle
from kopt.tuning.space.hypermodel import HyperModel
from kopt.tuning.space.seeded import seed_of
from kopt.tuning.trial.checkpoints import TrialCheckpoint
from kopt.tuning.trial.folds import folds_of, take
from kopt.tuning.trial.input_specs import inputs_of
from kopt.tuning.trial.objectives import best_epoch, directions
from kopt.tuning.trial.progress import Progress, StartAnew
from kopt.values.types import (
    CallbackState,
    FitArgument,
    HyperModelLike,
    HyperParameters,
    Json,
    KerasCallback,
    KerasModel,
    Logs,
    Objective,
    Scalar,
    TrialOfTuner,
    TrialResults,
)

__all__ = ["data_of", "execute", "forward", "is_stopped"]

log = logging.getLogger("kopt")

DATA = ("x", "y")


class ExecutingTuner(Protocol):
    """The part of a tuner that the training of a trial's models uses."""

    oracle: StudyOracle
    hypermodel: HyperModelLike
    folds: int
    executions: int
    seed: int | None
    max_parameters: int | None

    def fresh_model(self, hp: HyperParameters) -> KerasModel: ...

    def copied(
        self, callbacks: Sequence[KerasCallback], trial: TrialOfTuner, execution: int
    ) -> list[KerasCallback]: ...

    def save_build(self, trial_id: str, model: KerasModel, inputs: Json) -> None: ...

    def on_epoch_begin(self, trial: TrialOfTuner, model: KerasModel, epoch: int, logs: Logs = None) -> None: ...

    def on_epoch_end(self, trial: TrialOfTuner, model: KerasModel, epoch: int, logs: Logs = None) -> None: ...

    def on_batch_begin(self, trial: TrialOfTuner, model: KerasModel, batch: int, logs: Logs) -> None: ...

    def on_batch_end(self, trial: TrialOfTuner, model: KerasModel, batch: int, logs: Logs = None) -> None: ...


class Stopped(BaseException):
    """Ends a loop that does not obey `stop_training`, after its trial was stopped.

    It is a BaseException, so that no `except Exception` of a user catches it.
    """


class Forward(keras.callbacks.Callback):
    """A callback that calls the tuner's epoch hooks, in `fit` or any loop that calls `set_model` and `on_epoch_end`.

    Args:
        tuner: The tuner whose hooks are called.
        trial: KerasTuner's trial.
        epochs: The number of epochs, for a loop that does not call `set_params`; None when unknown.
    """

    def __init__(self, tuner: ExecutingTuner, trial: TrialOfTuner, epochs: int | None = None):
        super().__init__()
        self.tuner, self.trial, self.epochs = tuner, trial, epochs
        self.counts = "parameters" in directions(tuner.oracle.objective)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.require_running()
        self.tuner.on_epoch_begin(self.trial, self.model, epoch, logs=logs)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.require_running()
        if self.counts and logs is not None:
            logs["parameters"] = float(self.model.count_params())
        self.tuner.on_epoch_end(self.trial, self.model, epoch, logs=logs)
        if epoch + 1 >= ((self.params or {}).get("epochs") or self.epochs or float("inf")):
            self.tuner.oracle.stop(self.trial, None)  # a trial that reached its last epoch was not stopped

    def get_state(self) -> CallbackState:
        return {}

    def set_state(self, state: CallbackState) -> None:
        pass

    def require_running(self) -> None:
        """Raise `Stopped` when the trial was stopped: the loop does not obey `model.stop_training`."""
        if is_stopped(self.tuner.oracle, self.trial):
            raise Stopped


class ForwardBatches(Forward):
    """A `Forward` that calls the tuner's batch hooks too; without batch hooks, a loop runs many batches at once."""

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self.tuner.on_batch_begin(self.trial, self.model, batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self.tuner.on_batch_end(self.trial, self.model, batch, logs)


def forward(tuner: ExecutingTuner, trial: TrialOfTuner, epochs: int | None = None) -> Forward:
    """Return the callback that calls the tuner's hooks: batch hooks only when the tuner's class overrides them.

    Args:
        tuner: The tuner whose hooks are called.
        trial: KerasTuner's trial.
        epochs: The number of epochs; None when unknown.

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
    tuner: ExecutingTuner, execution: int, args: Sequence[FitArgument], given: Mapping[str, FitArgument]
) -> tuple[list[FitArgument], dict[str, FitArgument]]:
    """Return the arguments of `fit` for one execution: all data, or those of a fold.

    Args:
        tuner: The tuner, for its folds, executions, seed and hypermodel.
        execution: The number of the execution, from 0; the executions of a fold follow one another.
        args: Positional arguments of `search`.
        given: Named arguments of `search`.

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
    tuner: ExecutingTuner,
    trial: TrialOfTuner,
    execution: int,
    progress: Progress,
    callbacks: Sequence[KerasCallback],
    args: Sequence[FitArgument],
    named: dict[str, FitArgument],
) -> TrialResults:
    """Build and train one model of a trial; go on from its checkpoint when another process has begun it.

    Args:
        tuner: The tuner, for its hypermodel and hooks.
        trial: KerasTuner's trial.
        execution: The number of the execution, from 0.
        progress: The progress of the trial.
        callbacks: The user's callbacks; the model is trained with copies.
        args: Positional arguments of `fit`.
        named: Named arguments of `fit`.

    Returns:
        The result of the hypermodel's `fit`; a History has the earlier epochs too.

    Raises:
        FailedTrialError: When the model has more than `max_parameters` parameters.
    """
    train = functools.partial(trained, tuner, trial, execution, progress, callbacks, args, named)
    try:
        return train()
    except StartAnew as why:
        if why.whole:
            raise
        log.warning("trial %s begins its execution %d anew: %s", trial.trial_id, execution, why)
        progress.begin_anew()
        if tuner.executions == 1:  # of several executions, each is reported at its end
            tuner.oracle.forget_reports(trial)
        return train()


def trained(
    tuner: ExecutingTuner,
    trial: TrialOfTuner,
    execution: int,
    progress: Progress,
    callbacks: Sequence[KerasCallback],
    args: Sequence[FitArgument],
    named: dict[str, FitArgument],
) -> TrialResults:
    """Train as `execute` does, or raise StartAnew when training cannot be resumed."""
    hp, fit = trial.hyperparameters, tuner.hypermodel.fit
    saved = progress.last()
    between = saved is not None and saved.values.get("of") == FIT  # else Loop puts itself back, into an epoch too
    if between and not takes(fit, "initial_epoch"):
        raise StartAnew("its fit takes no initial_epoch")
    if tuner.seed is not None:
        keras.utils.set_random_seed(seed_of(tuner.seed, tuner.oracle.retries.order(int(trial.trial_id)), execution))
    with seeds_made() as made:
        model = tuner.fresh_model(hp)
        unbuilt = not model.built
        require_size(tuner, trial, model)
        tuner.oracle.tell_drawn(trial)
        progress.require_values(hp.values)
        first = saved.values["moment"][0] if saved is not None and between else named.get("initial_epoch", 0)
        checkpoint = TrialCheckpoint(progress, tuner.oracle.objective, saved=saved, first=first, made=made)
        others = [*tuner.copied(callbacks, trial, execution), forward(tuner, trial, named.get("epochs"))]
        checkpoint.beside = others
        given = named | {"callbacks": [*others, checkpoint]} | ({"initial_epoch": first} if between else {})
        with called_last(checkpoint):
            try:
                result = fit(hp, model, *args, **given)
            except Stopped:
                result = reached(checkpoint.logs, tuner.oracle.objective)
    if model.built:
        tuner.oracle.note_size(trial, model.count_params())
    tuner.save_build(trial.trial_id, model, inputs_of(args, named) if unbuilt else None)
    return result


def reached(logs: Sequence[Mapping[str, Scalar]], objective: Objective) -> dict[str, float]:
    """Return the metrics of the best epoch of a loop that ended by `Stopped`."""
    if not any(objective.has_value(one) for one in logs):
        raise optuna.TrialPruned
    return best_epoch(logs, objective).metrics


def is_stopped(oracle: StudyOracle, trial: TrialOfTuner) -> bool:
    """Return whether a running trial was stopped before its end.

    Args:
        oracle: The oracle of the tuner.
        trial: KerasTuner's trial.

    Example:
        >>> import types
        >>> oracle = types.SimpleNamespace(live={"0": types.SimpleNamespace(stopped="pruned")})
        >>> is_stopped(oracle, types.SimpleNamespace(trial_id="0"))
        True
    """
    return oracle.live[trial.trial_id].stopped is not None


def takes(function: Callable[..., TrialResults], name: str) -> bool:
    """Return whether a function accepts an argument by name."""
    parameters = inspect.signature(function).parameters
    return name in parameters or any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())


def require_size(tuner: ExecutingTuner, trial: TrialOfTuner, model: KerasModel) -> None:
    """Raise FailedTrialError when a model is too large; the sampler learns to avoid such models."""
    limit = tuner.max_parameters
    if limit is not None and model.built and model.count_params() > limit:
        tuner.oracle.stop(trial, "oversized")
        raise keras_tuner.errors.FailedTrialError(
            f"The model must have <= {limit} parameters, got {model.count_params()}."
        )
