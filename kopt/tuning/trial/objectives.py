"""Objectives: what a search wants more or less of, and what a trial's results say of it."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import keras_tuner
import numpy as np

from kopt.keras_internals.tuning import infer_direction
from kopt.values.checks import require, unknown
from kopt.values.types import Objective, TrialResults

__all__ = ["Measured", "NotFinite", "directions", "measured", "objectives_of", "require_reported"]


DEFAULT = "default_objective"  # KerasTuner's name for none


def objectives_of(objective: Objective) -> Any:
    """Give objectives with the way that each should go.

    Args:
        objective: A metric's name, a `keras_tuner.Objective`, a list of these for a Pareto front, or None where
            `run_trial` or `HyperModel.fit` returns the one number to minimize. "parameters" is how many the model has.

    Returns:
        A `keras_tuner.Objective`, a list of at least two, or None.

    Raises:
        ValueError: When a name does not tell whether more or less of it is better.

    Example:
        >>> objectives_of("val_accuracy").direction
        'max'
    """
    if objective is None:
        return None
    if isinstance(objective, keras_tuner.Objective):
        known = objective.direction in ("min", "max")
        require(known, "objective", "must have the direction 'min' or 'max'", objective.direction)
        return objective
    if isinstance(objective, (list, tuple)):
        require(len(objective) > 0, "objective", "must name a metric", objective)
        several = [objectives_of(one) for one in objective]
        names = [one.name for one in several]
        require(len(set(names)) == len(names), "objective", "must name each metric once", names)
        return several if len(several) > 1 else several[0]
    require(isinstance(objective, str), "objective", "must be a metric's name or a keras_tuner.Objective", objective)
    direction = "min" if objective == "parameters" else infer_direction(objective)
    rule = "must be a keras_tuner.Objective(name, 'min' or 'max') where the name does not tell which is better"
    require(direction is not None, "objective", rule, objective)
    return keras_tuner.Objective(objective, direction)


def directions(objective: Objective) -> dict[str, str]:
    """Name -> "min" or "max" of each objective.

    Args:
        objective: As an oracle holds it: one, or several in one.

    Returns:
        The directions, in the order in which the objectives were named.

    Example:
        >>> import keras_tuner
        >>> directions(keras_tuner.Objective("val_loss", "min"))
        {'val_loss': 'min'}
    """
    return getattr(objective, "name_to_direction", None) or {objective.name: objective.direction}


class NotFinite(keras_tuner.errors.FailedTrialError):
    """A trial whose result is no number; as in KerasTuner it may be tried again.

    Example:
        >>> raise NotFinite("loss was finite at no epoch.")
        Traceback (most recent call last):
        kopt.tuning.trial.objectives.NotFinite: loss was finite at no epoch.
    """


class Measured(NamedTuple):
    """What a trial reached: each metric at its best epoch, and which that was."""

    metrics: dict[str, float]
    epoch: int


def measured(results: TrialResults, objective: Objective) -> Measured:
    """Read what `run_trial` returned.

    Args:
        results: A History, a number, a mapping of metrics, or a list of these, which are averaged.
        objective: As an oracle holds it.

    Returns:
        The metrics at the best epoch, those that are not finite left out of the choice.

    Raises:
        FatalValueError: When the objective is not among them; the search must not go on.
        NotFinite: When the objective is not finite at any epoch.

    Example:
        >>> import keras_tuner
        >>> measured([{"loss": 1}, {"loss": 2}], keras_tuner.Objective("loss", "min")).metrics
        {'loss': 1.5}
    """
    if isinstance(results, (list, tuple)) and results:
        each = [measured(one, objective) for one in results]
        names = [name for name in each[0].metrics if all(name in one.metrics for one in each)]
        means = {name: statistics.fmean(one.metrics[name] for one in each) for name in names}
        return Measured(means, int(statistics.fmean(one.epoch for one in each)))
    if isinstance(results, keras.callbacks.History):
        return best_epoch(by_epoch(results.history), objective)
    if isinstance(results, Mapping):
        return best_epoch([results], objective)
    if is_number(results):
        return best_epoch([{objective.name: float(results)}], objective)
    raise keras_tuner.errors.FatalTypeError(
        f"run_trial and HyperModel.fit must return a History, a number, metrics or a list of these, got {results!r}."
    )


def is_number(value: Any) -> bool:
    """Return whether a value is a number: of Python, NumPy, or an array or tensor of no dimensions."""
    if isinstance(value, (bool, np.bool_, str, bytes)) or value is None:
        return False
    array = np.asarray(value)
    return array.ndim == 0 and array.dtype.kind in "iufV"


def by_epoch(history: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """A history's metrics epoch by epoch; those of n epochs are taken for those of every (epochs // n)th."""
    length = max(map(len, history.values()), default=0)
    epochs: list[dict[str, Any]] = [{} for _ in range(length)]
    for name, values in history.items():
        for place, value in enumerate(values, 1):
            epochs[place * (length // len(values)) - 1][name] = value
    return epochs or [{}]


def best_epoch(epochs: Sequence[Mapping[str, Any]], objective: Objective) -> Measured:
    names = directions(objective)
    reported = {name for logs in epochs for name in logs}
    missing = [name for name in names if name not in reported]
    if missing:
        raise keras_tuner.errors.FatalValueError(str(unreported(missing[0], reported)))
    for name, value in ((name, logs[name]) for logs in epochs for name in names if name in logs):
        if not is_number(value):
            rule = "must be a number where run_trial or HyperModel.fit returns it"
            raise keras_tuner.errors.FatalTypeError(f"{name} {rule}, got {value!r}.")
    finite = [
        (float(objective.get_value(logs)), epoch)
        for epoch, logs in enumerate(epochs)
        if all(math.isfinite(float(logs.get(name, math.nan))) for name in names)
    ]
    if not finite:
        told = "what was returned" if DEFAULT in names else ", ".join(names)
        raise NotFinite(f"{told} was finite at no epoch.")
    best = (min if objective.direction == "min" else max)(value for value, _ in finite)
    epoch = next(epoch for value, epoch in finite if value == best)
    numbers = {name: float(value) for name, value in epochs[epoch].items() if np.ndim(value) == 0}
    return Measured(numbers, epoch)


def require_reported(names: Iterable[str], reported: Iterable[str]) -> None:
    """Refuse an objective that training would not report.

    Args:
        names: The objectives'.
        reported: What training reports.

    Raises:
        ValueError: When one is not among them; says the nearest.

    Example:
        >>> require_reported(["val_acc"], ["accuracy", "loss", "val_accuracy", "val_loss"])
        Traceback (most recent call last):
        ValueError: objective must be one of accuracy, loss, val_accuracy, val_loss, got 'val_acc' (did you mean
        'val_accuracy'?).
    """
    for name in names:
        if name not in reported and name != "parameters":
            raise unreported(name, reported)


def unreported(name: str, reported: Iterable[str]) -> ValueError:
    """Build the error for an objective that is not among what is reported; none was given where Keras' name stands."""
    if name == DEFAULT:
        rule = f"must be given where metrics are returned, one of {', '.join(sorted(reported))}"
        return ValueError(f"objective {rule}, got None.")
    return unknown("objective", name, reported)
