"""Rates that are constant between jumps."""

from dataclasses import KW_ONLY
from typing import Any

from keras import ops

from kopt.checks import require
from kopt.fields import Number
from kopt.schedules.base import Schedule, registry

__all__ = ["Step"]


@registry.register
class Step(Schedule):
    """Decay by a factor at regular times.

    rate * decay ** floor(t / every). The classic of image classification: a tenth every 30 epochs.

    Args:
        rate: The value at time 0, >= 0.
        decay: What it is multiplied by each `every`, > 0.
        every: The time between jumps, > 0.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> Step(0.1, 0.9, every=2).table(5)
        array([0.1  , 0.1  , 0.09 , 0.09 , 0.081], dtype=float32)

    Source:
        He et al., Deep Residual Learning for Image Recognition, 2015, section 3.4.
    """

    rate: Number
    decay: Number
    _: KW_ONLY
    every: Number

    def check(self) -> None:
        require(self.rate >= 0, "rate", "must be >= 0", self.rate)
        require(self.decay > 0, "decay", "must be > 0", self.decay)
        require(self.every > 0, "every", "must be > 0", self.every)

    def formula(self, t: Any) -> Any:
        return self.rate * self.decay ** ops.floor(t / self.every)
