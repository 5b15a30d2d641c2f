"""Cosine decay."""

import math
from typing import Any

from keras import ops

from kopt.checks import require
from kopt.fields import Number, with_field
from kopt.schedules.base import Schedule, registry

__all__ = ["Cosine"]


@registry.register
class Cosine(Schedule):
    """Half a cosine from the first value to the last.

    end + (rate - end) * (1 + cos(pi * min(t / duration, 1))) / 2. The usual choice when the length of the run is known.

    Args:
        rate: The value at time 0, >= 0.
        duration: When `end` is reached, > 0; None for the end of the run, which whoever runs the schedule fills in.
        end: The value from then on, >= 0.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> Cosine(0.1, duration=4).table(5).round(4)
        array([0.1   , 0.0854, 0.05  , 0.0146, 0.    ], dtype=float32)

    Source:
        Loshchilov and Hutter, SGDR, 2017, equation 5, without restarts.
    """

    rate: Number
    duration: Number | None = None
    end: Number = 0.0

    def check(self) -> None:
        require(self.rate >= 0, "rate", "must be >= 0", self.rate)
        require(self.duration is None or self.duration > 0, "duration", "must be > 0", self.duration)
        require(self.end >= 0, "end", "must be >= 0", self.end)

    @property
    def total(self) -> float | None:
        return self.duration

    def resolve(self, run: Any) -> Schedule:
        return with_field(self, "duration", run) if self.duration is None else self

    def formula(self, t: Any) -> Any:
        progress = ops.minimum(t / self.duration, 1.0)
        return self.end + (self.rate - self.end) * (1 + ops.cos(math.pi * progress)) / 2
