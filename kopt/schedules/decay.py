"""Schedules that fall without end: constant, exponential, inverse time, inverse square root."""

from dataclasses import KW_ONLY

from keras import ops

from kopt.schedules.base import Schedule, registry, whole
from kopt.values.checks import require
from kopt.values.fields import Number
from kopt.values.types import Tensor

__all__ = ["Constant", "Exponential", "InverseSqrt", "InverseTime"]


@registry.register
class Constant(Schedule):
    """The same value at every time.

    rate. The baseline for every decayed rate.

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

    def formula(self, t: Tensor) -> Tensor:
        return self.rate * ops.ones_like(t)


class Decaying(Schedule):
    """A schedule that decays by a factor in each period; a subclass defines the formula."""

    rate: Number
    decay: Number
    _: KW_ONLY
    every: Number

    def check(self) -> None:
        require(self.rate >= 0, "rate", "must be >= 0", self.rate)
        require(self.decay > 0, "decay", "must be > 0", self.decay)
        require(self.every > 0, "every", "must be > 0", self.every)


@registry.register
class Exponential(Decaying):
    """Decay by the same factor in each period.

    rate * decay ** (t / every); the staircase takes the whole part of t / every. For runs of unknown length.

    Args:
        rate: The value at time 0, >= 0.
        decay: The factor of each period, > 0; < 1 for a fall.
        every: The period, > 0.
        staircase: Whether to decay in steps, as `Step` does.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> Exponential(0.1, 0.5, every=2).table(5).round(3)
        array([0.1  , 0.071, 0.05 , 0.035, 0.025], dtype=float32)

    Source:
        Folklore; as `keras.optimizers.schedules.ExponentialDecay`.
    """

    _: KW_ONLY
    staircase: bool = False

    def formula(self, t: Tensor) -> Tensor:
        power = t / self.every
        return self.rate * self.decay ** (whole(power) if self.staircase else power)


@registry.register
class InverseTime(Decaying):
    """Decay as 1 / time.

    rate / (1 + decay * t / every); the staircase takes the whole part of t / every. The rate of stochastic
    approximation: its sum is infinite, and the sum of its squares finite.

    Args:
        rate: The value at time 0, >= 0.
        decay: The growth of rate / value in each period, > 0.
        every: The period, > 0.
        staircase: Whether to decay in steps.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> InverseTime(0.1, 1, every=2).table(5).round(3)
        array([0.1  , 0.067, 0.05 , 0.04 , 0.033], dtype=float32)

    Source:
        Robbins and Monro, A Stochastic Approximation Method, 1951; as `keras.optimizers.schedules.InverseTimeDecay`.
    """

    _: KW_ONLY
    staircase: bool = False

    def formula(self, t: Tensor) -> Tensor:
        passed = t / self.every
        return self.rate / (1 + self.decay * (whole(passed) if self.staircase else passed))


@registry.register
class InverseSqrt(Schedule):
    """Decay as 1 / sqrt(time).

    rate / sqrt(1 + t / every). With `.warmup(every)` it is the transformer's (Noam) schedule, rate * min(t / every,
    sqrt(every / t)), whose rate is 1 / sqrt(width * every).

    Args:
        rate: The value at time 0, >= 0.
        every: The time at which the value is rate / sqrt(2), > 0.

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

    def formula(self, t: Tensor) -> Tensor:
        return self.rate / ops.sqrt(1 + t / self.every)
