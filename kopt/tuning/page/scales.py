"""Scale: the places of values on an axis of the page, from 0 to 1, and its ticks."""

import dataclasses
import math
from collections.abc import Collection, Sequence

import matplotlib.ticker
import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from kopt.values.types import ParameterValue

__all__ = ["Scale", "scale_of_numbers", "scale_of_parameter"]

TICKS = 5  # the most ticks of an axis
DECADE = 10
MARGIN = 0.04  # of the range, at both ends of an axis


@dataclasses.dataclass(frozen=True)
class Scale:
    """The places of values on an axis.

    Args:
        low: The value at the place 0; of names, unused.
        high: The value at the place 1; of names, unused.
        log: Whether places are those of the logarithms.
        whole: Whether there are ticks at whole numbers alone.
        names: The values of an axis of names, in order; empty for an axis of numbers.

    Example:
        >>> Scale(1e-4, 1e-2, log=True).place(1e-3), Scale(0, 0, names=("a", "b")).place("b")
        (0.5, 0.75)
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False
    names: tuple[ParameterValue, ...] = ()

    def place(self, value: ParameterValue) -> float | None:
        """Return the place of a value; None when it is not finite, or beyond a logarithmic axis."""
        if self.names:
            return (self.names.index(value) + 0.5) / len(self.names)
        number = float(value)
        if not math.isfinite(number) or (self.log and number <= 0):
            return None
        low, high = self.inner(self.low), self.inner(self.high)
        return 0.5 if low == high else (self.inner(number) - low) / (high - low)

    def inner(self, value: float) -> float:
        """Return a number as the axis measures it."""
        return math.log10(value) if self.log else value

    def ticks(self) -> list[tuple[float, str]]:
        """Return the places and the texts of the ticks."""
        if self.names:
            kept = self.names[:: -(-len(self.names) // TICKS)]
            return [(float(self.place(one) or 0.0), str(one)) for one in kept]
        found = [one for one in self.tick_values() if self.low <= one <= self.high and self.has_tick(one)]
        return [(place, f"{one:.4g}") for one in found if (place := self.place(one)) is not None]

    def has_tick(self, value: float) -> bool:
        """Return whether a number may have a tick; matplotlib gives fractions to axes shorter than 1."""
        return not self.whole or value.is_integer()

    def tick_values(self) -> Sequence[float]:
        """Return numbers for ticks, some of them beyond the axis."""
        if not self.log or self.high < DECADE / 2 * self.low:
            locator = matplotlib.ticker.MaxNLocator(TICKS - 1, integer=self.whole)
            return [float(one) for one in locator.tick_values(self.low, self.high)]
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        factors = (1, 2, 5) if len(powers) <= TICKS - 2 else (1,)
        return [factor * 10.0**power for power in powers[:: -(-len(powers) // TICKS)] for factor in factors]


def scale_of_numbers(values: Collection[float], *, small: bool = False) -> Scale:
    """Return the scale of results: logarithmic where they span a decade and small ones are the good ones.

    Args:
        values: The numbers; those that are not finite are left out.
        small: Whether small numbers are the good ones.

    Returns:
        A scale with a margin at both ends.

    Example:
        >>> scale_of_numbers([1.0, 100.0], small=True).log, scale_of_numbers([1.0, 2.0]).low
        (True, 0.96)
    """
    finite = [float(one) for one in values if math.isfinite(one)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if small and low > 0 and high >= DECADE * low:
        room = (high / low) ** MARGIN
        return Scale(low / room, high * room, log=True)
    room = MARGIN * (high - low) or MARGIN * abs(high) or MARGIN
    return Scale(low - room, high + room)


def scale_of_parameter(distribution: BaseDistribution, values: Collection[ParameterValue]) -> Scale:
    """Return the scale of a hyperparameter, over the whole range from which it is drawn.

    Args:
        distribution: Its distribution.
        values: The values that it had; of a Choice only these are on the axis.

    Returns:
        A scale.

    Example:
        >>> scale_of_parameter(CategoricalDistribution(("sgd", "adam", "lion")), ["lion", "sgd"]).names
        ('sgd', 'lion')
    """
    if isinstance(distribution, (FloatDistribution, IntDistribution)):
        whole = isinstance(distribution, IntDistribution)
        return Scale(float(distribution.low), float(distribution.high), log=distribution.log, whole=whole)
    assert isinstance(distribution, CategoricalDistribution)
    had = [one for one in distribution.choices if any(type(one) is type(value) and one == value for value in values)]
    numbers = [one for one in had if isinstance(one, (int, float)) and not isinstance(one, bool)]
    several = len(numbers) == len(had) > TICKS  # a grid of numbers is an axis of numbers
    if several:
        ratios = np.diff(np.log(numbers)) if min(numbers) > 0 else np.zeros(1)
        return Scale(float(min(numbers)), float(max(numbers)), log=bool(ratios.min() > 0.3))
    return Scale(0.0, 0.0, names=tuple(had))
