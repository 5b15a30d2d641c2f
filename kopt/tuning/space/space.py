"""Space: a recipe, or any other value, with ranges for some of its fields."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY
from typing import Generic, Protocol, TypeAlias, TypeVar

import keras_tuner
import optuna

from kopt.values.checks import require
from kopt.values.field_paths import is_count, replace
from kopt.values.fields import Number, Value
from kopt.values.registry import Registry
from kopt.values.types import Argument, FieldValue, HyperParameters, ParameterValue

__all__ = ["Choice", "Range", "Space"]

registry: Registry[Value] = Registry("tuning")

PLAIN = (bool, int, float, str)
Searched = TypeVar("Searched", bound=Value)
Allowed: TypeAlias = "Range | Choice | Sequence[FieldValue]"
Source: TypeAlias = HyperParameters | optuna.trial.BaseTrial | Mapping[str, FieldValue]


@registry.register
class Range(Value):
    """All numbers from low to high; only whole numbers where the field is a count.

    Args:
        low: The least number.
        high: The greatest number, > low.
        log: Whether to draw uniformly on a log scale; low must be > 0 then.

    Raises:
        ValueError: When the range is empty, or reaches 0 on a log scale.

    Example:
        >>> Range(1e-4, 1e-1, log=True)
        Range(0.0001, high=0.1, log=True)

    Source:
        Bergstra and Bengio, Random Search for Hyper-Parameter Optimization, 2012.
    """

    low: Number
    high: Number
    _: KW_ONLY
    log: bool = False

    def check(self) -> None:
        require(self.low < self.high, "high", f"must be > low = {self.low:g}", self.high)
        require(not self.log or self.low > 0, "low", "must be > 0 on a log scale", self.low)

    def ends(self) -> tuple[FieldValue, ...]:
        """Return the values that the field must accept."""
        return self.low, self.high


@registry.register
class Choice(Value):
    """Options of any kind that the field accepts: numbers, names, whole schedules.

    Args:
        options: The options, at least two, all different.

    Raises:
        ValueError: When there are too few, or two are equal.

    Example:
        >>> Choice((16, 32, "full"))
        Choice((16, 32, 'full'))

    Source:
        Folklore.
    """

    options: tuple[FieldValue, ...]

    def check(self) -> None:
        different = len(self.options) == len(set(map(repr, self.options)))
        require(len(self.options) >= 2 and different, "options", "must be at least two, all different", self.options)

    def ends(self) -> tuple[FieldValue, ...]:
        """Return the values that the field must accept."""
        return self.options


class Space(Generic[Searched]):
    """A value with ranges for some of its fields; `fill` returns the value with the fields that a tuner draws.

    Args:
        value: A recipe, or any other value; fields without a range do not change.
        ranges: Path -> `Range` or `Choice`; a tuple or list is short for a Choice of its elements.

    Raises:
        ValueError: When a path does not exist, or its field refuses an end of the range; when a pair of numbers could
            be meant as the ends of a Range; before anything is trained.

    Example:
        >>> from kopt.models import MLP
        >>> space = Space(MLP((4,), 3), {"dropout": Range(0, 0.5), "units": [(32,), (64, 64)]})
        >>> space.fill({"dropout": 0.1, "units": (32,)})
        MLP((4,), outputs=3, units=(32,), dropout=0.1)

    Source:
        The paths of the command line.
    """

    def __init__(self, value: Searched, ranges: Mapping[str, Allowed]):
        require(isinstance(value, Value), "value", "must be a kopt value", value)
        require(isinstance(ranges, Mapping) and len(ranges) > 0, "ranges", "must be paths with ranges", ranges)
        self.value, self.ranges = value, {path: as_range(value, path, one) for path, one in ranges.items()}
        for path, allowed in self.ranges.items():
            for end in allowed.ends():
                replace(value, {path: as_field(value, path, end)})

    def fill(self, source: Source) -> Searched:
        """Return the value with a drawn field for each range.

        Args:
            source: KerasTuner's `HyperParameters`, an Optuna trial, or a mapping from paths to fields.

        Returns:
            A value of the same type as the value of the space.

        Raises:
            ValueError: When the source is none of these, or lacks a path.
        """
        return replace(self.value, {path: self._draw(source, path, allowed) for path, allowed in self.ranges.items()})

    def _draw(self, source: Source, path: str, allowed: Range | Choice) -> FieldValue:
        if isinstance(source, Mapping):
            require(path in source, "source", f"must hold {path!r}", sorted(source))
            return source[path]
        suggest = SOURCES.get(type(source)) or next(
            (f for kind, f in SOURCES.items() if isinstance(source, kind)), None
        )
        require(suggest is not None, "source", "must be HyperParameters, an Optuna trial or a mapping", source)
        assert suggest is not None
        if isinstance(allowed, Range):
            return suggest.number(source, path, allowed, whole=is_count(self.value, path))
        labels = {label(option, allowed.options): option for option in allowed.options}
        return labels[suggest.option(source, path, list(labels))]


class Suggest(Protocol):
    """Draws from the hyperparameters of one library."""

    def number(self, source: Argument, path: str, allowed: Range, whole: bool) -> float: ...

    def option(self, source: Argument, path: str, labels: list[ParameterValue]) -> ParameterValue: ...


class FromKerasTuner:
    """Draws from KerasTuner's hyperparameters."""

    @staticmethod
    def number(source: HyperParameters, path: str, allowed: Range, whole: bool) -> float:
        draw, number = (source.Int, int) if whole else (source.Float, float)
        return draw(path, number(allowed.low), number(allowed.high), sampling="log" if allowed.log else "linear")

    @staticmethod
    def option(source: HyperParameters, path: str, labels: list[ParameterValue]) -> ParameterValue:
        return source.Choice(path, labels, ordered=False)


class FromOptuna:
    """Draws from an Optuna trial."""

    @staticmethod
    def number(source: optuna.trial.BaseTrial, path: str, allowed: Range, whole: bool) -> float:
        if whole:
            return source.suggest_int(path, int(allowed.low), int(allowed.high), log=allowed.log)
        return source.suggest_float(path, allowed.low, allowed.high, log=allowed.log)

    @staticmethod
    def option(source: optuna.trial.BaseTrial, path: str, labels: list[ParameterValue]) -> ParameterValue:
        return source.suggest_categorical(path, labels)


SOURCES: dict[type, Suggest] = {keras_tuner.HyperParameters: FromKerasTuner, optuna.trial.BaseTrial: FromOptuna}


def as_range(value: Value, path: str, allowed: Allowed) -> Range | Choice:
    """Return a Range or a Choice as it is, and a Choice for a tuple or list; refuse a pair that could be a Range's."""
    if isinstance(allowed, (Range, Choice)):
        return allowed
    rule = "must have a Range, a Choice, or a tuple or list of options"
    require(isinstance(allowed, (tuple, list)), path, rule, allowed)
    numbers = all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in allowed)
    if len(allowed) == 2 and numbers and not is_count(value, path):
        low, high = sorted(allowed)
        spelt = f"must be Range({low!r}, {high!r}) for all numbers between, or Choice({tuple(allowed)!r}) for these two"
        require(False, path, spelt, allowed)
    return Choice(tuple(allowed))


def as_field(value: Value, path: str, end: FieldValue) -> FieldValue:
    """Return an end of a range as its field accepts it: 2 for 2.0 where the field is a count."""
    whole = isinstance(end, float) and end.is_integer() and is_count(value, path)
    return int(end) if whole else end


def label(option: FieldValue, options: tuple[FieldValue, ...]) -> ParameterValue:
    """Return what a tuner records for an option: the option when all are plain and of one type, else its code."""
    plain = all(isinstance(other, PLAIN) for other in options) and len(set(map(type, options))) == 1
    return option if plain else repr(option)
