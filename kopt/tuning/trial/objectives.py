"""Objectives: the metrics that a search optimizes, their directions, and their values in a trial's results."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import keras
import keras_tuner
import numpy as np

from kopt.keras_internals.tuning import MultiObjective, infer_direction
from kopt.values.checks import require, unknown
from kopt.values.types import Objective, Scalar, TrialResults

__all__ = ["Measured", "NotFinite", "directions", "measured", "objectives_of", "require_reported"]

DEFAULT = "default_objective"  # KerasTuner's name when no objective is given


def objectives_of(
    objective: Objective | str | Sequence[Objective | str] | None,
) -> Objective | list[Objective] | None:
    """Return objectives with their directions.

    Args:
        objective: A metric's name, a `keras_tuner.Objective`, a list of these for a Pareto front, or None where
            `run_trial` or `HyperModel.fit` returns the one number to minimize. "parameters" is the number of the
            model's parameters.

    Returns:
        A `keras_tuner.Objective`, a list of at least two, or None.

    Raises:
        ValueError: When the direction of a metric cannot be inferred from its name.

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
        several: list[Objective] = [objectives_of(one) for one in objective]
        names = [one.name for one in several]
        require(len(set(names)) == len(names), "objective", "must name each metric once", names)
        return several if len(several) > 1 else several[0]
    require(isinstance(objective, str), "objective", "must be a metric's name or a keras_tuner.Objective", objective)
    assert isinstance(objective, str)
    direction = "min" if objective == "parameters" else infer_direction(objective)
    rule = "must be a keras_tuner.Objective(name, 'min' or 'max') where the name does not tell which is better"
    require(direction is not None, "objective", rule, objective)
    return keras_tuner.Objective(objective, direction)


def directions(objective: Objective) -> dict[str, str]:
    """Return the direction of each objective, "min" or "max", by name.

    Args:
        objective: The objective of an oracle: one, or several in one.

    Returns:
        Name -> direction, in the order of the objectives.

    Example:
        >>> import keras_tuner
        >>> directions(keras_tuner.Objective("val_loss", "min"))
        {'val_loss': 'min'}
    """
    several = isinstance(objective, MultiObjective)
    return objective.name_to_direction if several else {objective.name: objective.direction}


class NotFinite(keras_tuner.errors.FailedTrialError):
    """A failure of a trial whose result is not finite; the trial may be run again, as in KerasTuner.

    Example:
        >>> raise NotFinite("loss was finite at no epoch.")
        Traceback (most recent call last):
        kopt.tuning.trial.objectives.NotFinite: loss was finite at no epoch.
    """


class Measured(NamedTuple):
    """The metrics of a trial at its best epoch, and the number of that epoch."""

    metrics: dict[str, float]
    epoch: int


def measured(results: TrialResults, objective: Objective) -> Measured:
    """Return the best metrics in the results that `run_trial` returned.

    Args:
        results: A History, a number, a mapping of metrics, or a list of these, which is averaged.
        objective: The objective of an oracle.

    Returns:
        The metrics at the best epoch among those with a finite objective.

    Raises:
        FatalValueError: When the results lack the objective; the search must not go on.
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


def is_number(value: object) -> bool:
    """Return whether a value is a number of Python or NumPy, or an array or tensor without dimensions."""
    if isinstance(value, (bool, np.bool_, str, bytes)) or value is None:
        return False
    array = np.asarray(value)
    return array.ndim == 0 and array.dtype.kind in "iufV"


def by_epoch(history: Mapping[str, Sequence[Scalar]]) -> list[dict[str, Scalar]]:
    """Return the metrics of a history by epoch; n values of a metric belong to every (epochs // n)th epoch."""
    length = max(map(len, history.values()), default=0)
    epochs: list[dict[str, Scalar]] = [{} for _ in range(length)]
    for name, values in history.items():
        for place, value in enumerate(values, 1):
            epochs[place * (length // len(values)) - 1][name] = value
    return epochs or [{}]


def best_epoch(epochs: Sequence[Mapping[str, Scalar]], objective: Objective) -> Measured:
    """Return the metrics of the best epoch, among those with a finite objective."""
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
        what = "what was returned" if DEFAULT in names else ", ".join(names)
        raise NotFinite(f"{what} was finite at no epoch.")
    best = (min if objective.direction == "min" else max)(value for value, _ in finite)
    epoch = next(epoch for value, epoch in finite if value == best)
    numbers = {name: float(value) for name, value in epochs[epoch].items() if np.ndim(value) == 0}
    return Measured(numbers, epoch)


def require_reported(names: Iterable[str], reported: Iterable[str]) -> None:
    """Raise ValueError when training does not report an objective.

    Args:
        names: The names of the objectives.
        reported: The names of the metrics that training reports.

    Raises:
        ValueError: When an objective is not reported; the error suggests the nearest name.

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
    """Build the error for an objective that is not reported; `DEFAULT` stands for an objective that was not given."""
    if name == DEFAULT:
        rule = f"must be given where metrics are returned, one of {', '.join(sorted(reported))}"
        return ValueError(f"objective {rule}, got None.")
    return unknown("objective", name, reported)
