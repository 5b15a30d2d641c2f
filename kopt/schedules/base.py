"""Schedule: a number as a function of time, and what every schedule can be combined into."""

import math
from abc import abstractmethod
from typing import Any

import keras
import numpy as np
from keras import ops

from kopt.checks import require
from kopt.fields import Value
from kopt.registry import Registry

__all__ = ["Schedule", "registry"]

registry: Registry["Schedule"] = Registry("schedules")


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

    def warmup(self, duration: float, start: float = 0.0) -> "Schedule":
        """Go linearly from `start` to this schedule's first value over `duration`, then follow it, that much later."""
        return registry.make("warmup", self, duration, start=start)

    def then(self, after: "Schedule", at: float | None = None) -> "Schedule":
        """Follow this schedule until time `at` (its own duration when left out), then `after` from its start."""
        at = self.total if at is None else at
        require(at is not None and at < math.inf, "at", "must be given where the first schedule has no end", at)
        return registry.make("then", self, after, at=at)

    def __mul__(self, factor: float) -> "Schedule":
        return registry.make("scaled", self, factor)

    __rmul__ = __mul__
