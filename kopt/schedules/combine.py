"""Schedules made from schedules: warm-up, one after another, scaled, restarted, clipped, delayed."""

from typing import Annotated, Literal

import tyro
from keras import ops

from kopt.schedules.base import Schedule, cycles, registry
from kopt.schedules.timed import half_cosine
from kopt.values.checks import require
from kopt.values.field_paths import with_field
from kopt.values.fields import Number, written
from kopt.values.types import Scalar, Tensor

__all__ = ["Clip", "Delay", "Restart", "Scaled", "Then", "Warmup"]

# The command line leaves out the name `of` before the fields of the wrapped schedule, as paths do.
Wrapped = Annotated[Schedule, tyro.conf.arg(name="")]


@registry.register
class Warmup(Schedule):
    """A warm-up before another schedule, as `of.warmup(warmup_duration, start, shape)` builds it.

    start + (of(0) - start) * p, p = t / warmup_duration, for t < warmup_duration; of(t - warmup_duration) after it.
    In place of p, the shape "cosine" has (1 - cos(pi * p)) / 2; "exponential" is start * (of(0) / start) ** p. A
    warm-up keeps the first updates small while Adam's second moments or BatchNorm's statistics are poor estimates.

    Args:
        of: The schedule that follows.
        warmup_duration: The duration of the warm-up, > 0, in the schedule's unit.
        start: The value at time 0, >= 0; > 0 for "exponential".
        shape: "linear", "cosine" or "exponential".

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> from kopt.schedules import Constant
        >>> Constant(0.1).warmup(4).table(6)
        array([0.   , 0.025, 0.05 , 0.075, 0.1  , 0.1  ], dtype=float32)

    Source:
        Goyal et al., Accurate, Large Minibatch SGD, 2017, section 2.2.
    """

    of: Wrapped
    warmup_duration: Number
    start: Number = 0.0
    shape: Literal["linear", "cosine", "exponential"] = "linear"

    def check(self) -> None:
        require(self.warmup_duration > 0, "warmup_duration", "must be > 0", self.warmup_duration)
        require(self.start >= 0, "start", "must be >= 0", self.start)
        require(
            self.start > 0 or self.shape != "exponential", "start", "must be > 0 for an exponential warm-up", self.start
        )

    @property
    def total(self) -> float | None:
        return None if self.of.total is None else self.warmup_duration + self.of.total

    def resolve(self, run: Scalar) -> Schedule:
        if self.total is None:
            require_time_left(run, "warmup_duration", self.warmup_duration)
        return with_field(self, "of", self.of.resolve(run - self.warmup_duration))

    def formula(self, t: Tensor) -> Tensor:
        first = self.of.formula(ops.zeros_like(t))
        share = ops.minimum(t / self.warmup_duration, 1.0)
        if self.shape == "exponential":
            rising = self.start * (first / self.start) ** share
        else:
            rising = self.start + (first - self.start) * (share if self.shape == "linear" else 1 - half_cosine(share))
        following = self.of.formula(ops.maximum(t - self.warmup_duration, 0.0))
        return ops.where(t < self.warmup_duration, rising, following)

    def __repr__(self) -> str:
        start = f", start={written(self.start)}" if self.start else ""
        shape = f", shape={self.shape!r}" if self.shape != "linear" else ""
        return f"{operand(self.of)}.warmup({written(self.warmup_duration)}{start}{shape})"


@registry.register
class Then(Schedule):
    """One schedule until a time, then another, as `of.then(after, at)` builds it.

    of(t) for t < at; after(t - at) from time `at` on.

    Args:
        of: The first schedule.
        after: The second schedule; its time 0 is the time `at`.
        at: The time at which the second schedule begins, > 0, in the schedules' unit.

    Raises:
        ValueError: When `at` is not positive.

    Example:
        >>> from kopt.schedules import Constant
        >>> Constant(0.1).then(Constant(0.01), at=2).table(4)
        array([0.1 , 0.1 , 0.01, 0.01], dtype=float32)

    Source:
        Folklore; as `optax.join_schedules`.
    """

    of: Wrapped
    after: Schedule
    at: Number

    def check(self) -> None:
        require(self.at > 0, "at", "must be > 0", self.at)

    @property
    def total(self) -> float | None:
        after = self.after.total
        return None if after is None or self.of.resolve(self.at).total is None else self.at + after

    def resolve(self, run: Scalar) -> Schedule:
        if self.after.total is None:
            require_time_left(run, "at", self.at)
        first = with_field(self, "of", self.of.resolve(self.at))
        return with_field(first, "after", self.after.resolve(run - self.at))

    def formula(self, t: Tensor) -> Tensor:
        first = self.of.resolve(self.at).formula(t)
        return ops.where(t < self.at, first, self.after.formula(ops.maximum(t - self.at, 0.0)))

    def __repr__(self) -> str:
        return f"{operand(self.of)}.then({self.after!r}, at={written(self.at)})"


@registry.register
class Scaled(Schedule):
    """A schedule times a number, as `of * factor` builds it.

    factor * of(t). Gives one shape of decay several peak rates: linear scaling with the batch size, layer-wise rates.

    Args:
        of: The schedule.
        factor: The number, >= 0.

    Raises:
        ValueError: When the factor is negative.

    Example:
        >>> from kopt.schedules import Constant
        >>> (Constant(0.1) * 3).table(2)
        array([0.3, 0.3], dtype=float32)

    Source:
        Folklore.
    """

    of: Wrapped
    factor: Number

    def check(self) -> None:
        require(self.factor >= 0, "factor", "must be >= 0", self.factor)

    @property
    def total(self) -> float | None:
        return self.of.total

    def resolve(self, run: Scalar) -> Schedule:
        return with_field(self, "of", self.of.resolve(run))

    def formula(self, t: Tensor) -> Tensor:
        return self.factor * self.of.formula(t)

    def __repr__(self) -> str:
        return f"{self.of!r} * {written(self.factor)}"


@registry.register
class Restart(Schedule):
    """A schedule that repeats, as `of.restart(cycle, growth, decay)` builds it.

    of(cycle * u) * cycle_decay ** n, where n is the number of the cycle at t, and u the share of it that has passed.
    Cycle n lasts cycle * growth ** n, and stretches the schedule. An open duration becomes the duration of the cycle.

    Args:
        of: The schedule of one cycle, with its warm-up.
        cycle: The duration of the first cycle, > 0.
        growth: The factor from the duration of a cycle to that of the next, >= 1.
        cycle_decay: The factor from the values of a cycle to those of the next, > 0.

    Raises:
        ValueError: When a number is out of range, or the cycle is too short for the schedule.

    Example:
        >>> from kopt.schedules import Linear
        >>> Linear(0.1).warmup(1).restart(3, decay=0.5).table(7)
        array([0.   , 0.1  , 0.05 , 0.   , 0.05 , 0.025, 0.   ], dtype=float32)

    Source:
        Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2017.
    """

    of: Wrapped
    cycle: Number
    growth: Number = 1.0
    cycle_decay: Number = 1.0

    def check(self) -> None:
        require(self.cycle > 0, "every", "must be > 0", self.cycle)
        require(self.growth >= 1, "growth", "must be >= 1", self.growth)
        require(self.cycle_decay > 0, "decay", "must be > 0", self.cycle_decay)
        self.of.resolve(self.cycle)

    def formula(self, t: Tensor) -> Tensor:
        number, share = cycles(t / self.cycle, self.growth)
        return self.of.resolve(self.cycle).formula(share * self.cycle) * self.cycle_decay**number

    def __repr__(self) -> str:
        growth = f", growth={written(self.growth)}" if self.growth != 1 else ""
        decay = f", decay={written(self.cycle_decay)}" if self.cycle_decay != 1 else ""
        return f"{operand(self.of)}.restart({written(self.cycle)}{growth}{decay})"


@registry.register
class Clip(Schedule):
    """A schedule within bounds, as `of.clip(low, high)` builds it.

    min(max(of(t), low), high).

    Args:
        of: The schedule.
        low: The least value, >= 0.
        high: The greatest value, >= low; None for no bound.

    Raises:
        ValueError: When a bound is out of range.

    Example:
        >>> from kopt.schedules import Linear
        >>> Linear(0.1, duration=4).clip(0.03, 0.08).table(5)
        array([0.08 , 0.075, 0.05 , 0.03 , 0.03 ], dtype=float32)

    Source:
        Folklore.
    """

    of: Wrapped
    low: Number = 0.0
    high: Number | None = None

    def check(self) -> None:
        require(self.low >= 0, "low", "must be >= 0", self.low)
        require(self.high is None or self.high >= self.low, "high", f"must be >= low = {self.low:g}", self.high)

    @property
    def total(self) -> float | None:
        return self.of.total

    def resolve(self, run: Scalar) -> Schedule:
        return with_field(self, "of", self.of.resolve(run))

    def formula(self, t: Tensor) -> Tensor:
        raised = ops.maximum(self.of.formula(t), self.low)
        return raised if self.high is None else ops.minimum(raised, self.high)

    def __repr__(self) -> str:
        high = f", {written(self.high)}" if self.high is not None else ""
        return f"{operand(self.of)}.clip({written(self.low)}{high})"


@registry.register
class Delay(Schedule):
    """A schedule that begins after a delay, as `of.delay(delay_duration)` builds it.

    of(max(t - delay_duration, 0)).

    Args:
        of: The schedule; its first value holds during the delay.
        delay_duration: The duration of the delay, > 0.

    Raises:
        ValueError: When the delay is not positive.

    Example:
        >>> from kopt.schedules import Linear
        >>> Linear(0.1, duration=2).delay(2).table(5)
        array([0.1 , 0.1 , 0.1 , 0.05, 0.  ], dtype=float32)

    Source:
        Folklore.
    """

    of: Wrapped
    delay_duration: Number

    def check(self) -> None:
        require(self.delay_duration > 0, "delay_duration", "must be > 0", self.delay_duration)

    @property
    def total(self) -> float | None:
        return None if self.of.total is None else self.delay_duration + self.of.total

    def resolve(self, run: Scalar) -> Schedule:
        if self.total is None:
            require_time_left(run, "delay_duration", self.delay_duration)
        return with_field(self, "of", self.of.resolve(run - self.delay_duration))

    def formula(self, t: Tensor) -> Tensor:
        return self.of.formula(ops.maximum(t - self.delay_duration, 0.0))

    def __repr__(self) -> str:
        return f"{operand(self.of)}.delay({written(self.delay_duration)})"


def operand(of: Schedule) -> str:
    """Return a schedule as code that may stand before a dot."""
    return f"({of!r})" if isinstance(of, Scaled) else repr(of)


def require_time_left(run: Scalar, name: str, taken: Scalar) -> None:
    """Raise ValueError when a run ends before its last part begins; times that are tensors are not checked."""
    if isinstance(run, float) and isinstance(taken, float):
        require(taken < run, name, f"must be shorter than the run of {written(run)}", taken)
