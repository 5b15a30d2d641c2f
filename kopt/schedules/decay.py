"""Constant and exponential decay."""

from dataclasses import KW_ONLY
from typing import Any

from keras import ops

from kopt.checks import require
from kopt.fields import Number
from kopt.schedules.base import Schedule, registry

__all__ = ["Constant", "Exponential"]


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
        require(self.rate >= 0, "rate", "must be >= 0", self.rate)
        require(self.decay > 0, "decay", "must be > 0", self.decay)
        require(self.every > 0, "every", "must be > 0", self.every)

    def formula(self, t: Any) -> Any:
        power = t / self.every
        return self.rate * self.decay ** (ops.floor(power) if self.staircase else power)
