"""Schedules that rise and fall: triangular cycles, one cycle, cosine with restarts."""

from dataclasses import KW_ONLY
from typing import Literal

from keras import ops

from kopt.schedules.base import Schedule, cycles, registry, whole
from kopt.schedules.timed import half_cosine
from kopt.values.checks import require
from kopt.values.field_paths import with_field
from kopt.values.fields import Number
from kopt.values.types import Scalar, Tensor

__all__ = ["CosineRestarts", "OneCycle", "Triangular"]


@registry.register
class Triangular(Schedule):
    """Cycles of a straight rise and a straight fall.

    low + (rate - low) * (1 - |2 u - 1|) * decay ** n, where n is the whole part of t / every, and u the rest; with
    `smooth`, n is t / every itself. Smith's "triangular" has decay 1, "triangular2" has decay 0.5, and "exp_range" is
    smooth with decay gamma ** every.

    Args:
        rate: The top of the first cycle, >= low.
        low: The bottom of every cycle, >= 0.
        every: The duration of a cycle, rise and fall, > 0.
        decay: The factor from the height of a cycle to that of the next, > 0.
        smooth: Whether the height decays within the cycles too.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> Triangular(0.1, every=4, decay=0.5).table(8)
        array([0.   , 0.05 , 0.1  , 0.05 , 0.   , 0.025, 0.05 , 0.025], dtype=float32)

    Source:
        Smith, Cyclical Learning Rates for Training Neural Networks, 2017, section 3; as
        `torch.optim.lr_scheduler.CyclicLR`.
    """

    rate: Number
    low: Number = 0.0
    _: KW_ONLY
    every: Number
    decay: Number = 1.0
    smooth: bool = False

    def check(self) -> None:
        require(self.low >= 0, "low", "must be >= 0", self.low)
        require(self.rate >= self.low, "rate", f"must be >= low = {self.low:g}", self.rate)
        require(self.every > 0, "every", "must be > 0", self.every)
        require(self.decay > 0, "decay", "must be > 0", self.decay)

    def formula(self, t: Tensor) -> Tensor:
        passed = t / self.every
        number = whole(passed)
        height = 1 - ops.absolute(2 * ops.maximum(passed - number, 0.0) - 1)
        return self.low + (self.rate - self.low) * height * self.decay ** (passed if self.smooth else number)


@registry.register
class OneCycle(Schedule):
    """One rise to a high rate, then one long fall to almost zero.

    From rate / div_factor up to rate at p = rise, then down to rate / div_factor / final_div_factor at p = 1, on half
    cosines or straight lines; p = min(t / duration, 1). For short runs at rates that would diverge in long ones.

    Args:
        rate: The top, >= 0.
        duration: The time of the last value, > 0; None for the end of the run.
        rise: The share of the duration that the rise takes, in (0, 1).
        div_factor: The top divided by the first value, >= 1.
        final_div_factor: The first value divided by the last value, >= 1.
        shape: "cosine" or "linear".

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> OneCycle(0.1, duration=4, rise=0.5, shape="linear").table(5).round(4)
        array([0.004, 0.052, 0.1  , 0.05 , 0.   ], dtype=float32)

    Source:
        Smith and Topin, Super-Convergence, 2018; with the defaults of `torch.optim.lr_scheduler.OneCycleLR`.
    """

    rate: Number
    duration: Number | None = None
    _: KW_ONLY
    rise: Number = 0.3
    div_factor: Number = 25.0
    final_div_factor: Number = 1e4
    shape: Literal["cosine", "linear"] = "cosine"

    def check(self) -> None:
        require(self.rate >= 0, "rate", "must be >= 0", self.rate)
        require(self.duration is None or self.duration > 0, "duration", "must be > 0", self.duration)
        require(0 < self.rise < 1, "rise", "must be in (0, 1)", self.rise)
        require(self.div_factor >= 1, "div_factor", "must be >= 1", self.div_factor)
        require(self.final_div_factor >= 1, "final_div_factor", "must be >= 1", self.final_div_factor)

    @property
    def total(self) -> float | None:
        return self.duration

    def resolve(self, run: Scalar) -> Schedule:
        return with_field(self, "duration", run) if self.duration is None else self

    def formula(self, t: Tensor) -> Tensor:
        progress = ops.minimum(t / self.duration, 1.0)
        first = self.rate / self.div_factor
        last = first / self.final_div_factor
        up = self.left(ops.minimum(progress / self.rise, 1.0))
        down = self.left(ops.maximum(progress - self.rise, 0.0) / (1 - self.rise))
        rising, falling = self.rate + (first - self.rate) * up, last + (self.rate - last) * down
        return ops.where(progress < self.rise, rising, falling)

    def left(self, share: Tensor) -> Tensor:
        """Return the share of a rise or a fall that is left when a share of its time has passed."""
        return half_cosine(share) if self.shape == "cosine" else 1 - share


@registry.register
class CosineRestarts(Schedule):
    """Cosine decay in cycles, which may grow longer and lower.

    end + (rate * decay ** n - end) * (1 + cos(pi * u)) / 2, where n is the number of the cycle at t, and u the share
    of it that has passed; cycle n lasts every * growth ** n. For ensembles of the last weights of each cycle.
    `.restart` repeats any other schedule.

    Args:
        rate: The value at time 0, >= 0.
        end: The last value of each cycle, >= 0.
        every: The duration of the first cycle, > 0.
        growth: The factor from the duration of a cycle to that of the next, >= 1.
        decay: The factor from the peak of a cycle to that of the next, > 0.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> CosineRestarts(0.1, every=2, growth=2, decay=0.5).table(7).round(4)
        array([0.1   , 0.05  , 0.05  , 0.0427, 0.025 , 0.0073, 0.025 ], dtype=float32)

    Source:
        Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2017, equation 5.
    """

    rate: Number
    end: Number = 0.0
    _: KW_ONLY
    every: Number
    growth: Number = 1.0
    decay: Number = 1.0

    def check(self) -> None:
        require(self.rate >= 0, "rate", "must be >= 0", self.rate)
        require(self.end >= 0, "end", "must be >= 0", self.end)
        require(self.every > 0, "every", "must be > 0", self.every)
        require(self.growth >= 1, "growth", "must be >= 1", self.growth)
        require(self.decay > 0, "decay", "must be > 0", self.decay)

    def formula(self, t: Tensor) -> Tensor:
        number, share = cycles(t / self.every, self.growth)
        return self.end + (self.rate * self.decay**number - self.end) * half_cosine(share)
