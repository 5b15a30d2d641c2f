"""Rates that fall with time, with no end: constant, exponential, inverse time, inverse square root."""

from dataclasses import KW_ONLY
from typing import Any

from keras import ops

from kopt.schedules.base import Schedule, registry, whole
from kopt.values.checks import require
from kopt.values.fields import Number

__all__ = ["Constant", "Exponential", "InverseSqrt", "InverseTime"]


@registry.register
class Constant(Schedule):
    """The same value at every time.

    rate. The base line that a decayed rate has to beat.

    Args:
        rate: The value, >= 0.

    Raises:
        ValueError: When the rate is negative or not finite.

    Example:
        >>> Constant(0.1).table(3)
        array([0.1, 0.1, 0.1], dtype=float32)

    Source:
        Folklore.
    """

    rate: Number

    def check(self) -> None:
        require(self.rate >= 0, "rate", "must be >= 0", self.rate)

    def formula(self, t: Any) -> Any:
        return self.rate * ops.ones_like(t)


@registry.register
class Exponential(Schedule):
    """Decay by the same factor in each stretch of time.

    rate * decay ** (t / every); the staircase takes the whole part of t / every. For runs whose length is not known.

    Args:
        rate: The value at time 0, >= 0.
        decay: What it is multiplied by over each `every`, > 0; < 1 to decay.
        every: The stretch of time, > 0.
        staircase: Whether to decay in steps, as `Step` does.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> Exponential(0.1, 0.5, every=2).table(5).round(3)
        array([0.1  , 0.071, 0.05 , 0.035, 0.025], dtype=float32)

    Source:
        Folklore; as `keras.optimizers.schedules.ExponentialDecay`.
    """

    rate: Number
    decay: Number
    _: KW_ONLY
    every: Number
    staircase: bool = False

    def check(self) -> None:
        require_decay(self)

    def formula(self, t: Any) -> Any:
        power = t / self.every
        return self.rate * self.decay ** (whole(power) if self.staircase else power)


@registry.register
class InverseTime(Schedule):
    """Decay as one over time.

    rate / (1 + decay * t / every); the staircase takes the whole part of t / every. The rate of stochastic
    approximation: its sum has no bound, the sum of its squares has one.

    Args:
        rate: The value at time 0, >= 0.
        decay: How much one over the rate grows over each `every`, > 0.
        every: The stretch of time, > 0.
        staircase: Whether to decay in steps.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> InverseTime(0.1, 1, every=2).table(5).round(3)
        array([0.1  , 0.067, 0.05 , 0.04 , 0.033], dtype=float32)

    Source:
        Robbins and Monro, A Stochastic Approximation Method, 1951; as `keras.optimizers.schedules.InverseTimeDecay`.
    """

    rate: Number
    decay: Number
    _: KW_ONLY
    every: Number
    staircase: bool = False

    def check(self) -> None:
        require_decay(self)

    def formula(self, t: Any) -> Any:
        passed = t / self.every
        return self.rate / (1 + self.decay * (whole(passed) if self.staircase else passed))


@registry.register
class InverseSqrt(Schedule):
    """Decay as one over the square root of time.

    rate / sqrt(1 + t / every). With `.warmup(every)` it is the transformer's (Noam) schedule, rate * min(t / every,
    sqrt(every / t)), whose rate is 1 / sqrt(width * every).

    Args:
        rate: The value at time 0, >= 0.
        every: When the value has fallen to rate / sqrt(2), > 0.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> InverseSqrt(0.1, every=2).warmup(2).table(5).round(3)
        array([0.   , 0.05 , 0.1  , 0.082, 0.071], dtype=float32)

    Source:
        Vaswani et al., Attention Is All You Need, 2017, equation 3.
    """

    rate: Number
    _: KW_ONLY
    every: Number

    def check(self) -> None:
        require(self.rate >= 0, "rate", "must be >= 0", self.rate)
        require(self.every > 0, "every", "must be > 0", self.every)

    def formula(self, t: Any) -> Any:
        return self.rate / ops.sqrt(1 + t / self.every)


def require_decay(schedule: Any) -> None:
    """Refuse a rate, decay or stretch of time that is out of range."""
    require(schedule.rate >= 0, "rate", "must be >= 0", schedule.rate)
    require(schedule.decay > 0, "decay", "must be > 0", schedule.decay)
    require(schedule.every > 0, "every", "must be > 0", schedule.every)
