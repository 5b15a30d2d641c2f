"""Schedule: a number as a function of time, and the methods that combine schedules."""

import math
from abc import abstractmethod

import keras
import numpy as np
from keras import ops

from kopt.values.checks import require
from kopt.values.fields import Value
from kopt.values.registry import Registry
from kopt.values.types import Scalar, Tensor

__all__ = ["Schedule", "registry"]

registry: Registry["Schedule"] = Registry("schedules")

SLACK = 1e-9  # a time that is nearer to the end of its period, as a share of the period, counts as the end


class Schedule(Value, keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate, or any other number, as a function of time; also a Keras `LearningRateSchedule`.

    Time is real and >= 0, in the caller's unit: steps in `keras.optimizers.SGD(schedule)`, or the `unit` of
    `callbacks.LearningRate`. A subclass defines `formula`.

    Example:
        >>> from kopt.schedules import Constant, Cosine
        >>> float(Cosine(0.1, duration=10)(5))
        0.05...
        >>> (Cosine(0.1, duration=10).warmup(2) * 2).table(4).round(3)
        array([0.   , 0.1  , 0.2  , 0.195], dtype=float32)
    """

    in_fit = "kopt.callbacks.LearningRate({})"

    @abstractmethod
    def formula(self, t: Tensor) -> Tensor:
        """Return the values at float64 times; each number among the fields is a float or a float64 scalar tensor."""

    @property
    def total(self) -> float | None:
        """The time at which the schedule reaches its last value: `inf` for never, None while its duration is open."""
        return math.inf

    def resolve(self, run: Scalar) -> "Schedule":
        """Return the schedule with its open duration filled in, so that it ends at time `run`."""
        return self

    def __call__(self, t: Tensor) -> Tensor:
        """Evaluate at time t.

        Args:
            t: A scalar or an array of times >= 0; of any dtype, eager or in a graph.

        Returns:
            The value in Keras' float type and in the shape of t. It is computed in float64 and cast last.

        Raises:
            ValueError: When the duration is still open.
        """
        require(self.total is not None, "duration", "must be given where there is no run to take it from", None)
        return ops.cast(self.formula(ops.convert_to_tensor(t, "float64")), keras.config.floatx())

    def table(self, steps: int) -> np.ndarray:
        """Return the values at 0, 1, ..., steps - 1 as an array of shape (steps,)."""
        values: np.ndarray = ops.convert_to_numpy(self(np.arange(steps)))
        return values

    def warmup(self, duration: float, start: float = 0.0, shape: str = "linear") -> "Schedule":
        """Return a schedule that goes from `start` to this one's first value over `duration`, then follows this one."""
        return registry.make("warmup", self, duration, start=start, shape=shape)

    def then(self, after: "Schedule", at: float | None = None) -> "Schedule":
        """Return a schedule that follows this one until time `at` (its duration when None), then `after`."""
        if at is None:
            at = self.total
            require(at not in (None, math.inf), "at", "must be given where the first schedule has no end", at)
        return registry.make("then", self, after, at=at)

    def restart(self, every: float, growth: float = 1.0, decay: float = 1.0) -> "Schedule":
        """Return a schedule that repeats this one; each cycle is `growth` times as long and `decay` times as high."""
        return registry.make("restart", self, every, growth=growth, cycle_decay=decay)

    def clip(self, low: float = 0.0, high: float | None = None) -> "Schedule":
        """Return a schedule that keeps this one's value between `low` and `high`."""
        return registry.make("clip", self, low, high=high)

    def delay(self, duration: float) -> "Schedule":
        """Return a schedule that holds this one's first value for `duration`, then follows this one."""
        return registry.make("delay", self, duration)

    def __mul__(self, factor: float) -> "Schedule":
        return registry.make("scaled", self, factor)

    __rmul__ = __mul__


def whole(count: Tensor) -> Tensor:
    """Return the whole part of a count of periods; 2.9999999999 gives 3, for 0.3 / 0.1 < 3 in floating point."""
    return ops.floor(count + SLACK)


def cycles(passed: Tensor, growth: Scalar) -> tuple[Tensor, Tensor]:
    """Return the number of the cycle at a time, and the share of that cycle that has passed.

    Args:
        passed: Time divided by the duration of the first cycle, float64.
        growth: The duration of a cycle divided by that of the cycle before, >= 1.

    Returns:
        The number of the cycle, from 0 on, and the share, in [0, 1).
    """
    growth = ops.convert_to_tensor(growth, "float64")
    even = growth < 1 + SLACK
    ratio = ops.where(even, 2.0, growth)  # not 1, for which the sum of a geometric series has another form

    def start(number: Tensor) -> Tensor:
        return ops.where(even, number, (ratio**number - 1) / (ratio - 1))

    guess = ops.where(even, whole(passed), whole(ops.log1p(passed * (ratio - 1)) / ops.log(ratio)))
    late = passed + SLACK < start(guess)
    number = ops.where(late, guess - 1, ops.where(passed + SLACK >= start(guess + 1), guess + 1, guess))
    return number, ops.maximum(passed - start(number), 0.0) / ops.where(even, 1.0, ratio**number)
