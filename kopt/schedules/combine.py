"""Schedules made of schedules: warm-up, one after the other, scaled."""

from typing import Annotated, Any

import tyro
from keras import ops

from kopt.checks import require
from kopt.fields import Number, with_field, written
from kopt.schedules.base import Schedule, registry

__all__ = ["Scaled", "Then", "Warmup"]

# Fields of the wrapped schedule are reached without naming `of`, on the command line as in paths.
Wrapped = Annotated[Schedule, tyro.conf.arg(name="")]


@registry.register
class Warmup(Schedule):
    """A linear warm-up before another schedule, as `of.warmup(warmup_duration, start)` builds it.

    start + (of(0) - start) * t / warmup_duration for t < warmup_duration, of(t - warmup_duration) from there on. It
    keeps the first updates small while Adam's second moments or BatchNorm's statistics are still poor estimates.

    Args:
        of: The schedule that follows.
        warmup_duration: How long the warm-up lasts, > 0, in the schedule's unit.
        start: The value at time 0, >= 0.

    Raises:
        ValueError: When a number is out of range.

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

    def check(self) -> None:
        require(self.warmup_duration > 0, "warmup_duration", "must be > 0", self.warmup_duration)
        require(self.start >= 0, "start", "must be >= 0", self.start)

    @property
    def total(self) -> float | None:
        return None if self.of.total is None else self.warmup_duration + self.of.total

    def resolve(self, run: Any) -> Schedule:
        if self.total is None:
            require_time_left(run, "warmup_duration", self.warmup_duration)
        return with_field(self, "of", self.of.resolve(run - self.warmup_duration))

    def formula(self, t: Any) -> Any:
        first = self.of.formula(ops.zeros_like(t))
        rising = self.start + (first - self.start) * (t / self.warmup_duration)
        following = self.of.formula(ops.maximum(t - self.warmup_duration, 0.0))
        return ops.where(t < self.warmup_duration, rising, following)

    def __repr__(self) -> str:
        start = f", start={written(self.start)}" if self.start else ""
        return f"{operand(self.of)}.warmup({written(self.warmup_duration)}{start})"


@registry.register
class Then(Schedule):
    """One schedule until a time, another from there on, as `of.then(after, at)` builds it.

    of(t) for t < at, after(t - at) from there on.

    Args:
        of: The first schedule.
        after: The second one; its time starts at 0 when it takes over.
        at: When it takes over, > 0, in the schedules' unit.

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
        return (
            None if self.after.total is None or self.of.resolve(self.at).total is None else self.at + self.after.total
        )

    def resolve(self, run: Any) -> Schedule:
        if self.after.total is None:
            require_time_left(run, "at", self.at)
        first = with_field(self, "of", self.of.resolve(self.at))
        return with_field(first, "after", self.after.resolve(run - self.at))

    def formula(self, t: Any) -> Any:
        first = self.of.resolve(self.at).formula(t)
        return ops.where(t < self.at, first, self.after.formula(ops.maximum(t - self.at, 0.0)))

    def __repr__(self) -> str:
        return f"{operand(self.of)}.then({self.after!r}, at={written(self.at)})"


@registry.register
class Scaled(Schedule):
    """A schedule times a number, as `of * factor` builds it.

    factor * of(t). One shape of decay for several peak rates: linear scaling with the batch size, layer-wise rates.

    Args:
        of: The schedule.
        factor: What it is multiplied by, >= 0.

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

    def resolve(self, run: Any) -> Schedule:
        return with_field(self, "of", self.of.resolve(run))

    def formula(self, t: Any) -> Any:
        return self.factor * self.of.formula(t)

    def __repr__(self) -> str:
        return f"{self.of!r} * {written(self.factor)}"


def operand(of: Schedule) -> str:
    """A schedule as it is written before a dot."""
    return f"({of!r})" if isinstance(of, Scaled) else repr(of)


def require_time_left(run: Any, name: str, taken: Any) -> None:
    """Refuse a run that ends before its last part begins; where both are known, not inside a program."""
    if isinstance(run, float) and isinstance(taken, float):
        require(taken < run, name, f"must be shorter than the run of {written(run)}", taken)
