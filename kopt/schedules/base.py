"""Schedule: a number as a function of time, and what every schedule can be combined into."""

import math
from abc import abstractmethod
from typing import Any

import keras
import numpy as np
from keras import ops

from kopt.values.checks import require
from kopt.values.fields import Value
from kopt.values.registry import Registry

__all__ = ["Schedule", "registry"]

registry: Registry["Schedule"] = Registry("schedules")

SLACK = 1e-9  # of a stretch: how far before its end a time counts as the end


class Schedule(Value, keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate, or any other number, at time t; also a Keras `LearningRateSchedule`.

    Time is real and >= 0, in whatever unit the caller counts: steps in `keras.optimizers.SGD(schedule)`, and what
    `callbacks.LearningRate(schedule, unit=...)` says. Subclasses write `formula`.

    Example:
        >>> from kopt.schedules import Constant, Cosine
        >>> float(Cosine(0.1, duration=10)(5))
        0.05...
        >>> (Cosine(0.1, duration=10).warmup(2) * 2).table(4).round(3)
        array([0.   , 0.1  , 0.2  , 0.195], dtype=float32)
    """

    @abstractmethod
    def formula(self, t: Any) -> Any:
        """The value over float64 time; the fields' numbers may be floats or float64 scalar tensors."""

    @property
    def total(self) -> float | None:
        """When the schedule has reached its last value: a time, `inf` when never, None while it is open."""
        return math.inf

    def resolve(self, run: Any) -> "Schedule":
        """Fill an open duration, so that the whole schedule ends at time `run`."""
        return self

    def __call__(self, t: Any) -> Any:
        """Evaluate at time t.

        Args:
            t: Scalar or array of times >= 0; of any dtype, eager or in a graph.

        Returns:
            The value in Keras' float type, of the shape of t. It is computed in float64 and cast last.

        Raises:
            ValueError: When the duration is still open.
        """
        require(self.total is not None, "duration", "must be given where there is no run to take it from", None)
        return ops.cast(self.formula(ops.convert_to_tensor(t, "float64")), keras.config.floatx())

    def table(self, steps: int) -> np.ndarray:
        """The values at 0, 1, ..., steps - 1, as an array of shape (steps,)."""
        return ops.convert_to_numpy(self(np.arange(steps)))

    def warmup(self, duration: float, start: float = 0.0, shape: str = "linear") -> "Schedule":
        """Go from `start` to this schedule's first value over `duration`, then follow it, that much later."""
        return registry.make("warmup", self, duration, start=start, shape=shape)

    def then(self, after: "Schedule", at: float | None = None) -> "Schedule":
        """Follow this schedule until time `at` (its own duration when left out), then `after` from its start."""
        if at is None:
            at = self.total
            require(at not in (None, math.inf), "at", "must be given where the first schedule has no end", at)
        return registry.make("then", self, after, at=at)

    def restart(self, every: float, growth: float = 1.0, decay: float = 1.0) -> "Schedule":
        """Start this schedule again every so often, each cycle `growth` times as long and `decay` times as high."""
        return registry.make("restart", self, every, growth=growth, cycle_decay=decay)

    def clip(self, low: float = 0.0, high: float | None = None) -> "Schedule":
        """Keep the value between `low` and `high`."""
        return registry.make("clip", self, low, high=high)

    def delay(self, duration: float) -> "Schedule":
        """Hold this schedule's first value for `duration`, then follow it, that much later."""
        return registry.make("delay", self, duration)

    def __mul__(self, factor: float) -> "Schedule":
        return registry.make("scaled", self, factor)

    __rmul__ = __mul__


def whole(count: Any) -> Any:
    """The whole part of a count of stretches; 2.9999999999 is 3, for 0.3 / 0.1 is less than 3 in floating point."""
    return ops.floor(count + SLACK)


def cycles(passed: Any, growth: Any) -> tuple[Any, Any]:
    """Which cycle it is, and the share of it that is over, when each is `growth` times as long as the one before.

    Args:
        passed: Time over the first cycle's time, float64.
        growth: >= 1; a number.

    Returns:
        The cycle's number from 0 on, and the share in [0, 1).
    """
    growth = ops.convert_to_tensor(growth, "float64")
    even = growth < 1 + SLACK
    ratio = ops.where(even, 2.0, growth)  # any ratio but 1, where the sum of a geometric series has another form

    def start(number: Any) -> Any:
        return ops.where(even, number, (ratio**number - 1) / (ratio - 1))

    guess = ops.where(even, whole(passed), whole(ops.log1p(passed * (ratio - 1)) / ops.log(ratio)))
    late = passed + SLACK < start(guess)
    number = ops.where(late, guess - 1, ops.where(passed + SLACK >= start(guess + 1), guess + 1, guess))
    return number, ops.maximum(passed - start(number), 0.0) / ops.where(even, 1.0, ratio**number)
