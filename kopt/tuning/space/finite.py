"""Finite distributions: the number of their values, each value, and its decimal form."""

import decimal

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from kopt.values.types import ParameterValue

__all__ = ["count", "holds", "nth", "written"]


def count(distribution: BaseDistribution) -> int | None:
    """Return how many values a distribution has.

    Args:
        distribution: Optuna's.

    Returns:
        The count; None for an infinite distribution.

    Example:
        >>> count(FloatDistribution(0.0, 1.0, step=0.1)), count(FloatDistribution(0.0, 1.0))
        (11, None)
    """
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    if distribution.step is None:
        return None
    return round((distribution.high - distribution.low) / distribution.step) + 1


def nth(distribution: BaseDistribution, place: int) -> ParameterValue:
    """Return one value of a finite distribution.

    Args:
        distribution: Optuna's.
        place: The index of the value, from 0.

    Returns:
        The value.

    Example:
        >>> nth(FloatDistribution(0.0, 1.0, step=0.1), 3)
        0.3
    """
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[place]
    assert isinstance(distribution, (IntDistribution, FloatDistribution)) and distribution.step is not None
    return written(distribution, distribution.low + place * distribution.step)


def written(distribution: BaseDistribution, value: ParameterValue) -> ParameterValue:
    """Round a value to the decimals of its steps, as a person would write it.

    Args:
        distribution: The distribution from which the value was drawn.
        value: The value.

    Returns:
        The same value: 0.3 for 0.30000000000000004 where the step is 0.1.

    Example:
        >>> written(FloatDistribution(0.0, 1.0, step=0.1), 0.1 + 0.2)
        0.3
    """
    if value is None or not isinstance(distribution, FloatDistribution) or distribution.step is None:
        return value
    decimals = max(decimals_of(distribution.low), decimals_of(distribution.step))
    return round(float(value), decimals)


def holds(distribution: BaseDistribution, value: ParameterValue) -> bool:
    """Return whether a distribution contains a value.

    Args:
        distribution: Optuna's.
        value: Any value.

    Example:
        >>> holds(IntDistribution(0, 6, step=2), 4), holds(IntDistribution(0, 6, step=2), 5)
        (True, False)
    """
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    if isinstance(value, (str, bool)) or value is None or not distribution.low <= value <= distribution.high:
        return False
    steps = (value - distribution.low) / distribution.step if distribution.step else 0
    return abs(steps - round(steps)) < 1e-6


def decimals_of(number: float) -> int:
    """Return how many decimals a number has."""
    exponent = decimal.Decimal(str(number)).as_tuple().exponent
    return max(0, -int(exponent))
