"""Schedules that fall from a first value to a last value over a duration, each by one shape."""

import math
from abc import abstractmethod
from dataclasses import KW_ONLY
from typing import Literal

from keras import ops

from kopt.schedules.base import Schedule, registry
from kopt.values.checks import require
from kopt.values.field_paths import with_field
from kopt.values.fields import Number
from kopt.values.types import Scalar, Tensor

__all__ = ["REX", "Cosine", "FlatCosine", "Linear", "Polynomial", "Tanh", "Timed", "WarmupStableDecay"]


class Timed(Schedule):
    """A fall over a duration; a subclass defines its shape, from 1 to 0.

    end + (rate - end) * shape(min(t / duration, 1)).

    Example:
        >>> issubclass(Linear, Timed)
        True
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

    def resolve(self, run: Scalar) -> Schedule:
        return with_field(self, "duration", run) if self.duration is None else self

    @abstractmethod
    def shape(self, progress: Tensor) -> Tensor:
        """Return the share of the fall that is left, for progress from 0 to 1."""

    def formula(self, t: Tensor) -> Tensor:
        return self.end + (self.rate - self.end) * self.shape(ops.minimum(t / self.duration, 1.0))


@registry.register
class Cosine(Timed):
    """Half a cosine from the first value to the last.

    end + (rate - end) * (1 + cos(pi * p)) / 2, p = min(t / duration, 1). The usual choice when the length of the run is
    known.

    Args:
        rate: The value at time 0, >= 0.
        duration: The time of the last value, > 0; None for the end of the run, which the callback fills in.
        end: The last value, >= 0, which holds from then on.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> Cosine(0.1, duration=4).table(5).round(4)
        array([0.1   , 0.0854, 0.05  , 0.0146, 0.    ], dtype=float32)

    Source:
        Loshchilov and Hutter, SGDR, 2017, equation 5, without restarts.
    """

    def shape(self, progress: Tensor) -> Tensor:
        return half_cosine(progress)


@registry.register
class Linear(Timed):
    """A straight line from the first value to the last.

    end + (rate - end) * (1 - p), p = min(t / duration, 1). The usual choice for fine-tuning; a good one when the length
    of the run is known.

    Args:
        rate: The value at time 0, >= 0.
        duration: The time of the last value, > 0; None for the end of the run.
        end: The last value, >= 0, which holds from then on.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> Linear(0.1, duration=4).table(5)
        array([0.1  , 0.075, 0.05 , 0.025, 0.   ], dtype=float32)

    Source:
        Defazio et al., Optimal Linear Decay Learning Rate Schedules and Further Refinements, 2023.
    """

    def shape(self, progress: Tensor) -> Tensor:
        return 1 - progress


@registry.register
class Polynomial(Timed):
    """A power of the share of time that is left.

    end + (rate - end) * (1 - p) ** power, p = min(t / duration, 1).

    Args:
        rate: The value at time 0, >= 0.
        duration: The time of the last value, > 0; None for the end of the run.
        end: The last value, >= 0, which holds from then on.
        power: The exponent, > 0; 1 is a straight line, more falls earlier.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> Polynomial(0.1, duration=4, power=2).table(5).round(4)
        array([0.1   , 0.0562, 0.025 , 0.0062, 0.    ], dtype=float32)

    Source:
        Chen et al., DeepLab, 2017, section 4.1 (the "poly" policy); as `keras.optimizers.schedules.PolynomialDecay`.
    """

    _: KW_ONLY
    power: Number = 2.0

    def check(self) -> None:
        super().check()
        require(self.power > 0, "power", "must be > 0", self.power)

    def shape(self, progress: Tensor) -> Tensor:
        return (1 - progress) ** self.power


@registry.register
class FlatCosine(Timed):
    """The first value for most of the time, then half a cosine.

    rate for p < flat, then end + (rate - end) * (1 + cos(pi * (p - flat) / (1 - flat))) / 2, p = min(t / duration, 1).

    Args:
        rate: The value at time 0, >= 0.
        duration: The time of the last value, > 0; None for the end of the run.
        end: The last value, >= 0, which holds from then on.
        flat: The share of the duration at the first value, in [0, 1).

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> FlatCosine(0.1, duration=4, flat=0.5).table(5).round(4)
        array([0.1 , 0.1 , 0.1 , 0.05, 0.  ], dtype=float32)

    Source:
        fastai's `fit_flat_cos`, after Mikhail Grankin, 2019.
    """

    _: KW_ONLY
    flat: Number = 0.75

    def check(self) -> None:
        super().check()
        require(0 <= self.flat < 1, "flat", "must be in [0, 1)", self.flat)

    def shape(self, progress: Tensor) -> Tensor:
        return half_cosine(ops.maximum(progress - self.flat, 0.0) / (1 - self.flat))


@registry.register
class REX(Timed):
    """Reflected exponential: late, steep decay.

    end + (rate - end) * (1 - p) / (1 - p / 2), p = min(t / duration, 1). Close to a straight line, and
    better than it for short runs, by its authors' figures.

    Args:
        rate: The value at time 0, >= 0.
        duration: The time of the last value, > 0; None for the end of the run.
        end: The last value, >= 0, which holds from then on.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> REX(0.1, duration=4).table(5).round(4)
        array([0.1   , 0.0857, 0.0667, 0.04  , 0.    ], dtype=float32)

    Source:
        Chen, Wolfe and Kyrillidis, REX: Revisiting Budgeted Training with an Improved Schedule, 2022, table 2.
    """

    def shape(self, progress: Tensor) -> Tensor:
        return (1 - progress) / (1 - progress / 2)


@registry.register
class Tanh(Timed):
    """A hyperbolic tangent: flat at first, steep in the middle, flat at the end.

    end + (rate - end) * (1 - tanh(lower * (1 - p) + upper * p)) / 2, p = min(t / duration, 1). Its first
    and last values are within exp(2 * lower) and exp(-2 * upper) of rate and end, as shares of rate - end.

    Args:
        rate: The value before the fall, >= 0.
        duration: The time of the last value, > 0; None for the end of the run.
        end: The limit of the fall, >= 0.
        lower: The point of the tangent at time 0, < upper.
        upper: The point of the tangent at the last value.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> Tanh(0.1, duration=4).table(5).round(4)
        array([0.1   , 0.0999, 0.0953, 0.0182, 0.0002], dtype=float32)

    Source:
        Hsueh, Li and Wu, Stochastic Gradient Descent with Hyperbolic-Tangent Decay, 2019, equation 3.
    """

    _: KW_ONLY
    lower: Number = -6.0
    upper: Number = 3.0

    def check(self) -> None:
        super().check()
        require(self.lower < self.upper, "lower", f"must be < upper = {self.upper:g}", self.lower)

    def shape(self, progress: Tensor) -> Tensor:
        return (1 - ops.tanh(self.lower * (1 - progress) + self.upper * progress)) / 2


@registry.register
class WarmupStableDecay(Timed):
    """A short rise, a long constant phase, a short fall; training can continue from the constant phase.

    rate * p / rise for p < rise; rate for p < 1 - fall; then end + (rate - end) * tail(q), q = (p - 1 + fall) / fall,
    where tail is 1 - q, (1 + cos(pi * q)) / 2 or 1 - sqrt(q); p = min(t / duration, 1).

    Args:
        rate: The value of the constant phase, >= 0.
        duration: The time of the last value, > 0; None for the end of the run.
        end: The last value, >= 0, which holds from then on.
        rise: The share of the duration that the rise from 0 takes, in (0, 1 - fall].
        fall: The share of the duration that the fall takes, in (0, 1).
        tail: "linear", "cosine" or "1-sqrt".

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> WarmupStableDecay(0.1, duration=8, rise=0.25, fall=0.25).table(9)
        array([0.  , 0.05, 0.1 , 0.1 , 0.1 , 0.1 , 0.1 , 0.05, 0.  ], dtype=float32)

    Source:
        Hu et al., MiniCPM, 2024, equation 1; the tails: Haegele et al., Scaling Laws and Compute-Optimal Training
        Beyond Fixed Training Durations, 2024.
    """

    _: KW_ONLY
    rise: Number = 0.05
    fall: Number = 0.2
    tail: Literal["linear", "cosine", "1-sqrt"] = "linear"

    def check(self) -> None:
        super().check()
        require(0 < self.fall < 1, "fall", "must be in (0, 1)", self.fall)
        require(0 < self.rise <= 1 - self.fall, "rise", "must be in (0, 1 - fall]", self.rise)

    def shape(self, progress: Tensor) -> Tensor:
        falling = ops.clip((progress - 1 + self.fall) / self.fall, 0.0, 1.0)
        if self.tail == "cosine":
            return half_cosine(falling)
        return 1 - (falling if self.tail == "linear" else ops.sqrt(falling))

    def formula(self, t: Tensor) -> Tensor:
        progress = t / self.duration
        return ops.where(progress < self.rise, self.rate * progress / self.rise, super().formula(t))


def half_cosine(progress: Tensor) -> Tensor:
    """Return half a cosine wave: 1 at progress 0, 0 at progress 1, flat at both ends."""
    return (1 + ops.cos(math.pi * progress)) / 2
