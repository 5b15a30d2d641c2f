"""Rates that rise and fall: cyclical, one cycle, cosine with restarts."""

from dataclasses import KW_ONLY
from typing import Any, Literal

from keras import ops

from kopt.schedules.base import Schedule, cycles, registry, whole
from kopt.schedules.timed import half_cosine
from kopt.values.checks import require
from kopt.values.field_paths import with_field
from kopt.values.fields import Number

__all__ = ["CosineRestarts", "OneCycle", "Triangular"]


@registry.register
class Triangular(Schedule):
    """Up and down on straight lines, again and again.

    low + (rate - low) * (1 - |2 u - 1|) * decay ** n, u the share and n the number of the cycle at t / every; with
    `smooth`, n is t / every itself. Smith's "triangular" has decay 1, "triangular2" 0.5; "exp_range" is smooth, with
    decay gamma ** every.

    Args:
        rate: The top of the first cycle, >= low.
        low: The bottom, >= 0.
        every: The time of a whole cycle, up and down, > 0.
        decay: What the height is multiplied by with each cycle, > 0.
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

    def formula(self, t: Any) -> Any:
        passed = t / self.every
        number = whole(passed)
        height = 1 - ops.absolute(2 * ops.maximum(passed - number, 0.0) - 1)
        return self.low + (self.rate - self.low) * height * self.decay ** (passed if self.smooth else number)


@registry.register
class OneCycle(Schedule):
    """One rise to a high rate and one long fall to almost nothing.

    From rate / div_factor up to rate at p = rise, then down to rate / div_factor / final_div_factor at p = 1, on half
    cosines or straight lines; p = min(t / duration, 1). For short runs at rates that would not last.

    Args:
        rate: The top, >= 0.
        duration: When the end is reached, > 0; None for the end of the run.
        rise: The share of the time of the rise, in (0, 1).
        div_factor: The top over the start, >= 1.
        final_div_factor: The start over the end, >= 1.
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

    def resolve(self, run: Any) -> Schedule:
        return with_field(self, "duration", run) if self.duration is None else self

    def formula(self, t: Any) -> Any:
        progress = ops.minimum(t / self.duration, 1.0)
        first = self.rate / self.div_factor
        last = first / self.final_div_factor
        up = self.left(ops.minimum(progress / self.rise, 1.0))
        down = self.left(ops.maximum(progress - self.rise, 0.0) / (1 - self.rise))
        rising, falling = self.rate + (first - self.rate) * up, last + (self.rate - last) * down
        return ops.where(progress < self.rise, rising, falling)

    def left(self, share: Any) -> Any:
        """The share of a leg that is left."""
        return half_cosine(share) if self.shape == "cosine" else 1 - share


@registry.register
class CosineRestarts(Schedule):
    """Cosine decay that starts again, in cycles that may grow and peaks that may fall.

    end + (rate * decay ** n - end) * (1 + cos(pi * u)) / 2, u the share and n the number of the cycle at t; cycle n
    lasts every * growth ** n. For ensembles of the cycles' last weights. `.restart` does the same to any schedule.

    Args:
        rate: The value at time 0, >= 0.
        end: What each cycle falls to, >= 0.
        every: The first cycle's time, > 0.
        growth: What a cycle's time is multiplied by for the next, >= 1.
        decay: What the peak is multiplied by for the next cycle, > 0.

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

    def formula(self, t: Any) -> Any:
        number, share = cycles(t / self.every, self.growth)
        return self.end + (self.rate * self.decay**number - self.end) * half_cosine(share)
