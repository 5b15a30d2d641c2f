"""Dimension: one KerasTuner hyperparameter as Optuna draws and records it."""

import decimal
import math
from typing import NamedTuple

import keras_tuner
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from kopt.tuning.space.finite import written
from kopt.values.checks import require
from kopt.values.types import HyperParameter, ParameterValue

__all__ = ["Dimension", "dimension"]

kinds = keras_tuner.engine.hyperparameters
ALMOST_ONE = 1.0 - 1e-9  # KerasTuner's probabilities are in [0, 1)


class Dimension(NamedTuple):
    """Optuna's name and distribution of a hyperparameter, and the values for what Optuna records.

    Args:
        name: The hyperparameter's name and its conditions, so that two hyperparameters of one name differ in Optuna.
        distribution: The distribution from which Optuna draws.
        hp: KerasTuner's definition.
        grid: The values, in order, when Optuna draws their index; None when Optuna draws the value itself.

    Example:
        >>> import keras_tuner
        >>> found = dimension(keras_tuner.engine.hyperparameters.Choice("units", [16, 64, 256]))
        >>> found.distribution, found.value(2), found.recorded(64)
        (IntDistribution(high=2, log=False, low=0, step=1), 256, 1)
    """

    name: str
    distribution: BaseDistribution
    hp: HyperParameter
    grid: tuple[ParameterValue, ...] | None = None

    def suggest(self, trial: optuna.trial.BaseTrial) -> ParameterValue:
        """Draw a value."""
        given = self.distribution
        if isinstance(given, CategoricalDistribution):
            return self.value(trial.suggest_categorical(self.name, given.choices))
        if isinstance(given, IntDistribution):
            return self.value(trial.suggest_int(self.name, given.low, given.high, step=given.step, log=given.log))
        assert isinstance(given, FloatDistribution)
        return self.value(trial.suggest_float(self.name, given.low, given.high, step=given.step, log=given.log))

    def value(self, recorded: ParameterValue) -> ParameterValue:
        """Return the model's value for what Optuna recorded."""
        if self.grid is not None:
            return self.grid[recorded]
        return self.hp.prob_to_value(recorded) if reversed_log(self.hp) else written(self.distribution, recorded)

    def recorded(self, value: ParameterValue) -> ParameterValue:
        """Return what Optuna records for a value.

        Raises:
            ValueError: When the hyperparameter does not take the value.
        """
        if isinstance(self.distribution, CategoricalDistribution):
            require(value in self.distribution.choices, self.hp.name, f"must be one of {self.hp.values}", value)
            return value
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if self.grid is not None:
            near = [place for place, one in enumerate(self.grid) if number and math.isclose(one, value, rel_tol=1e-9)]
            require(bool(near), self.hp.name, f"must be one of {list(self.grid)}", value)
            return near[0]
        low, high = self.hp.min_value, self.hp.max_value
        require(number and low <= value <= high, self.hp.name, f"must be in [{low}, {high}]", value)
        whole = not isinstance(self.hp, kinds.Int) or float(value).is_integer()
        require(whole, self.hp.name, "must be a whole number", value)
        steps = (value - low) / self.hp.step if self.hp.step and self.hp.sampling == "linear" else 0
        require(abs(steps - round(steps)) < 1e-6, self.hp.name, f"must be {low} + k * {self.hp.step}", value)
        if reversed_log(self.hp):
            return min(self.hp.value_to_prob(value), ALMOST_ONE)
        return int(value) if isinstance(self.hp, kinds.Int) else written(self.distribution, float(value))


def dimension(hp: HyperParameter) -> Dimension | None:
    """Return the dimension of a hyperparameter.

    Ordered numbers with uneven steps, such as 16, 64, 256, are drawn by their index, so that samplers know the order.

    Args:
        hp: KerasTuner's definition.

    Returns:
        The dimension; None for a fixed value.

    Example:
        >>> import keras_tuner
        >>> dimension(keras_tuner.engine.hyperparameters.Float("rate", 1e-4, 1e-1, sampling="log")).distribution
        FloatDistribution(high=0.1, log=True, low=0.0001, step=None)
    """
    if isinstance(hp, kinds.Fixed):
        return None
    name = recorded_name(hp)
    if isinstance(hp, kinds.Boolean):
        return Dimension(name, CategoricalDistribution([False, True]), hp)
    if isinstance(hp, kinds.Choice) and not hp.ordered:
        return Dimension(name, CategoricalDistribution(hp.values), hp)
    grid = tuple(hp.values) if isinstance(hp, kinds.Choice) else geometric(hp)
    if grid is not None:
        return Dimension(name, IntDistribution(0, len(grid) - 1), hp, grid)
    return Dimension(name, interval(hp), hp)


def interval(hp: HyperParameter) -> BaseDistribution:
    """Return the distribution of the numbers between two ends."""
    log = hp.sampling == "log"
    if reversed_log(hp):
        return FloatDistribution(0.0, ALMOST_ONE)
    if isinstance(hp, kinds.Int):
        step = 1 if log else hp.step or 1
        return IntDistribution(hp.min_value, last(hp, step), log=log, step=step)
    return FloatDistribution(hp.min_value, last(hp, hp.step) if hp.step else hp.max_value, log=log, step=hp.step)


def last(hp: HyperParameter, step: ParameterValue) -> ParameterValue:
    """Return the greatest value that is whole steps from the least one, in decimals: 0.9, not 0.8999999999999999."""
    low, high, step = (decimal.Decimal(str(one)) for one in (hp.min_value, hp.max_value, step))
    return type(hp.min_value)(low + (high - low) // step * step)


def geometric(hp: HyperParameter) -> tuple[ParameterValue, ...] | None:
    """Return the values of a grid whose step is a factor; None when the hyperparameter is no such grid."""
    if hp.sampling == "linear" or not hp.step:
        return None
    count = int(math.log(hp.max_value / hp.min_value, hp.step) + 1e-8) + 1
    values = (hp.prob_to_value((index + 0.5) / count) for index in range(count))
    # to 12 digits, for the formula is not exact: 0.01
    return tuple(float(f"{value:.12g}") if isinstance(value, float) else value for value in values)


def reversed_log(hp: HyperParameter) -> bool:
    """Return whether a hyperparameter is a number without a step that is sampled densely near its maximum."""
    return isinstance(hp, (kinds.Int, kinds.Float)) and hp.sampling == "reverse_log" and not hp.step


def recorded_name(hp: HyperParameter) -> str:
    """Return the name of a hyperparameter with its conditions."""
    conditions = [f"{one.name}={'|'.join(map(str, one.values))}" for one in hp.conditions]
    return f"{hp.name} [{', '.join(conditions)}]" if conditions else hp.name
