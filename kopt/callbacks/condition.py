"""Conditions on metrics, such as `StopWhen` waits for: comparisons and plateaus, combined by `&`, `|` and `~`."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from kopt.tasks.directions import of_name
from kopt.values.checks import is_whole, require
from kopt.values.fields import Number, Value
from kopt.values.registry import Registry

__all__ = ["Condition", "conditions", "metric"]

conditions: Registry["Condition"] = Registry("conditions")

Curves: TypeAlias = Mapping[str, Sequence[float]]  # the values that each metric has had, the newest last


class Condition(Value):
    """A condition on the values that metrics have had in a run; combine conditions by `&`, `|` and `~`.

    A metric that was not logged yet makes a condition neither true nor false: None, and so does a combination that
    depends on it.

    Example:
        >>> condition = metric("val_loss").plateaus(3) & (metric("val_auc") > 0.9)
        >>> condition
        (metric('val_loss').plateaus(3) & (metric('val_auc') > 0.9))
        >>> condition.holds({"val_loss": [1.0, 2.0, 2.0, 2.0], "val_auc": [0.95]})
        True
    """

    @abstractmethod
    def holds(self, curves: Curves) -> bool | None:
        """Return whether the condition holds; None where that depends on a metric without a value.

        Args:
            curves: The values that each metric has had, the newest last.
        """

    @property
    @abstractmethod
    def metrics(self) -> tuple[str, ...]:
        """The names of the metrics that the condition is about, each once."""

    def __and__(self, other: "Condition") -> "Condition":
        return Both(self, other)

    def __or__(self, other: "Condition") -> "Condition":
        return Either(self, other)

    def __invert__(self) -> "Condition":
        return Without(self)

    def __bool__(self) -> bool:
        """Refuse `and`, `or`, `not` and `0 < metric < 1`, which Python would answer without the metrics."""
        require(False, "condition", "must be combined by &, | and ~, and not by and, or, not or a < b < c", self)
        raise AssertionError


@conditions.register
class Compared(Condition):
    """The newest value of a metric compared with a number."""

    metric: str
    sign: Literal[">", ">=", "<", "<="]
    bound: Number

    def check(self) -> None:
        require_name(self.metric)

    def holds(self, curves: Curves) -> bool | None:
        if not curves.get(self.metric):
            return None
        value, bound = curves[self.metric][-1], self.bound
        return {">": value > bound, ">=": value >= bound, "<": value < bound, "<=": value <= bound}[self.sign]

    @property
    def metrics(self) -> tuple[str, ...]:
        return (self.metric,)

    def __repr__(self) -> str:
        return f"(metric({self.metric!r}) {self.sign} {self.bound:g})"


@conditions.register
class Plateaus(Condition):
    """No improvement of a metric by more than `min_delta` in its last `patience` values."""

    metric: str
    patience: int
    min_delta: Number = 0.0
    mode: Literal["auto", "min", "max"] = "auto"

    def check(self) -> None:
        require_name(self.metric)
        require(is_whole(self.patience) and self.patience >= 1, "patience", "must be >= 1", self.patience)
        require(self.min_delta >= 0, "min_delta", "must be >= 0", self.min_delta)
        known = of_name(self.metric) if self.mode == "auto" else self.mode
        rule = "must be 'min' or 'max' for a metric whose direction is not known"
        require(known is not None or self.metric.endswith("_loss"), "mode", rule, self.metric)

    @property
    def sign(self) -> float:
        """-1 where more is better, else 1."""
        mode = of_name(self.metric) if self.mode == "auto" else self.mode
        return -1.0 if mode == "max" else 1.0

    def holds(self, curves: Curves) -> bool | None:
        if not curves.get(self.metric):
            return None
        best, wait = math.inf, 0
        for value in curves[self.metric]:
            better_now = self.sign * value < best - self.min_delta
            best, wait = (self.sign * value, 0) if better_now else (best, wait + 1)
        return wait >= self.patience

    @property
    def metrics(self) -> tuple[str, ...]:
        return (self.metric,)

    def __repr__(self) -> str:
        more = f", min_delta={self.min_delta:g}" if self.min_delta else ""
        more += f", mode={self.mode!r}" if self.mode != "auto" else ""
        return f"metric({self.metric!r}).plateaus({self.patience}{more})"


@conditions.register
class Both(Condition):
    """Two conditions that both hold."""

    left: Condition
    right: Condition

    def holds(self, curves: Curves) -> bool | None:
        found = self.left.holds(curves), self.right.holds(curves)
        return False if False in found else None if None in found else True

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.left.metrics, *self.right.metrics)))

    def __repr__(self) -> str:
        return f"({self.left!r} & {self.right!r})"


@conditions.register
class Either(Condition):
    """Two conditions of which one holds at least."""

    left: Condition
    right: Condition

    def holds(self, curves: Curves) -> bool | None:
        found = self.left.holds(curves), self.right.holds(curves)
        return True if True in found else None if None in found else False

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.left.metrics, *self.right.metrics)))

    def __repr__(self) -> str:
        return f"({self.left!r} | {self.right!r})"


@conditions.register
class Without(Condition):
    """A condition that does not hold."""

    of: Condition

    def holds(self, curves: Curves) -> bool | None:
        found = self.of.holds(curves)
        return None if found is None else not found

    @property
    def metrics(self) -> tuple[str, ...]:
        return self.of.metrics

    def __repr__(self) -> str:
        return f"~{self.of!r}"


class Metric:
    """A metric by its name in the logs, to be compared with numbers."""

    def __init__(self, name: str):
        self.name = require_name(name)

    def __gt__(self, bound: float) -> Condition:
        return Compared(self.name, ">", bound)

    def __ge__(self, bound: float) -> Condition:
        return Compared(self.name, ">=", bound)

    def __lt__(self, bound: float) -> Condition:
        return Compared(self.name, "<", bound)

    def __le__(self, bound: float) -> Condition:
        return Compared(self.name, "<=", bound)

    def plateaus(
        self, patience: int, *, min_delta: float = 0.0, mode: Literal["auto", "min", "max"] = "auto"
    ) -> Condition:
        """Return the condition that the metric has not improved by more than `min_delta` for `patience` values.

        Args:
            patience: The number of values without an improvement, >= 1: of epochs, or of validations.
            min_delta: The least improvement that counts, >= 0.
            mode: "min" where less is better, "max", or "auto" for metrics whose direction is known.
        """
        return Plateaus(self.name, patience, min_delta, mode)

    def __repr__(self) -> str:
        return f"metric({self.name!r})"


def metric(name: str) -> Metric:
    """Return a metric, to make conditions of: `metric("val_auc") > 0.9`, `metric("val_loss").plateaus(3)`.

    Args:
        name: Its name in the logs of an epoch.

    Returns:
        What `>`, `>=`, `<`, `<=` with a number and `.plateaus(patience, min_delta=, mode=)` make conditions of.

    Raises:
        ValueError: When the name is no text without spaces.

    Example:
        >>> (metric("val_loss") < 0.1) | ~(metric("loss") <= 5)
        ((metric('val_loss') < 0.1) | ~(metric('loss') <= 5))

    Source:
        Folklore; plateaus as in `keras.callbacks.EarlyStopping`.
    """
    return Metric(name)


def require_name(name: str) -> str:
    """Return a metric's name; raise ValueError when it is none."""
    named = isinstance(name, str) and bool(name) and not any(sign.isspace() for sign in name)
    require(named, "metric", "must be a name in the logs, such as 'val_loss'", name)
    return name
