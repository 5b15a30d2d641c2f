"""Schedules by values at certain times: jumps, or lines between points."""

import math
from dataclasses import KW_ONLY

from keras import ops

from kopt.schedules.base import Schedule, registry, whole
from kopt.schedules.decay import Decaying
from kopt.values.checks import require
from kopt.values.types import Tensor

__all__ = ["Piecewise", "Step"]


@registry.register
class Step(Decaying):
    """Decay by a factor at regular times.

    rate * decay ** floor(t / every). The classic of image classification: a factor of 0.1 every 30 epochs.

    Args:
        rate: The value at time 0, >= 0.
        decay: The factor of each jump, > 0.
        every: The time between jumps, > 0.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> Step(0.1, 0.9, every=2).table(5)
        array([0.1  , 0.1  , 0.09 , 0.09 , 0.081], dtype=float32)

    Source:
        He et al., Deep Residual Learning for Image Recognition, 2015, section 3.4.
    """

    def formula(self, t: Tensor) -> Tensor:
        return self.rate * self.decay ** whole(t / self.every)


@registry.register
class Piecewise(Schedule):
    """Listed values: constant between times, or on straight lines between points.

    rates[i] from times[i - 1] on, and rates[0] before. Interpolated: the line through the points (times[i], rates[i]),
    constant before the first point and after the last one.

    Args:
        rates: The values, each >= 0.
        times: The times at which rates[1:] begin; interpolated, the times of all rates. Increasing, >= 0.
        interpolate: Whether to draw straight lines between the points.

    Raises:
        ValueError: When a value is out of range, or there are too few or too many times.

    Example:
        >>> Piecewise((0.1, 0.01), (2,)).table(4)
        array([0.1 , 0.1 , 0.01, 0.01], dtype=float32)
        >>> Piecewise((0.0, 0.1, 0.0), (0, 2, 4), interpolate=True).table(5)
        array([0.  , 0.05, 0.1 , 0.05, 0.  ], dtype=float32)

    Source:
        Folklore; as `torch.optim.lr_scheduler.MultiStepLR` and `numpy.interp`.
    """

    rates: tuple[float, ...]
    times: tuple[float, ...]
    _: KW_ONLY
    interpolate: bool = False

    def check(self) -> None:
        require(all(math.isfinite(rate) and rate >= 0 for rate in self.rates), "rates", "must be >= 0 each", self.rates)
        count = len(self.rates) - (not self.interpolate)
        require(len(self.times) == count >= 1, "times", f"must be {count} for {len(self.rates)} rates", self.times)
        increasing = all(one < other for one, other in zip(self.times, self.times[1:]))
        require(increasing and self.times[0] >= 0, "times", "must be increasing and >= 0", self.times)

    @property
    def total(self) -> float:
        return float(self.times[-1])

    def formula(self, t: Tensor) -> Tensor:
        value = self.rates[0] * ops.ones_like(t)
        if not self.interpolate:
            for start, rate in zip(self.times, self.rates[1:]):
                value = ops.where(t >= start, rate, value)
            return value
        points = list(zip(self.times, self.rates))
        for (start, low), (end, high) in zip(points, points[1:]):
            value = value + (high - low) * ops.clip((t - start) / (end - start), 0.0, 1.0)
        return value
