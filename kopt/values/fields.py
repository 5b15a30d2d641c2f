"""Value: the frozen base of everything tunable; and paths into trees of values.

A field is a *number* (annotated `Number`: a finite float; inside a program it may be a scalar tensor, so that it can be
tuned without a retrace) or *structure* (counts, names, shapes, nested values).
"""

import abc
import copy
import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from typing import Any, Self, dataclass_transform, get_type_hints

from keras import saving

from kopt.values.annotations import Number, canonical, conforms, describe, members
from kopt.values.checks import require, unknown

__all__ = [
    "Named",
    "Number",
    "Value",
    "bind",
    "from_json",
    "is_count",
    "number_paths",
    "paths",
    "read",
    "replace",
    "to_json",
]


@dataclass_transform(frozen_default=True)
@dataclasses.dataclass(frozen=True, repr=False)
class Value(abc.ABC):
    """A frozen dataclass that compares, hashes, prints as code, and survives JSON and Keras files.

    Subclasses declare annotated fields and a `check`; no decorator is needed. Numbers become floats, lists become
    tuples, and a field of another type than its annotation is refused, so that equal values are equal however they were
    made.

    Raises:
        ValueError: When a field has the wrong type, a number is not finite, or `check` refuses.

    Example:
        >>> from kopt.schedules import Cosine
        >>> Cosine(1, end=0)
        Cosine(1)
        >>> Cosine.from_config(Cosine(0.1, duration=90).get_config())
        Cosine(0.1, duration=90)
    """

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        dataclasses.dataclass(frozen=True, repr=False)(cls)

    def __post_init__(self) -> None:
        for name, hint in hints(type(self)).items():
            value = canonical(getattr(self, name), name, hint)
            require(conforms(value, hint), name, f"must be {describe(hint)}", value)
            object.__setattr__(self, name, value)
        self.check()

    def check(self) -> None:
        """Refuse fields that are out of range, with `checks.require`."""

    def get_config(self) -> dict[str, Any]:
        """Return the fields as JSON types; a class may return another config for Keras."""
        return encoded_fields(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the value back from its fields."""
        return cls(**{name: decode(value) for name, value in config.items()})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(written_arguments(self))})"


class Named(Value):
    """A value with a name, by which its folder and its reports are called; `Recipe` is one.

    Args:
        name: The name.

    Example:
        >>> Named("digits")
        Named('digits')
    """

    name: str


def paths(value: Value) -> dict[str, Any]:
    """List every field of a tree of values by its path.

    A wrapper's `of` is passed through, so the rate of a warmed-up cosine is `rate`, not `of.rate`.

    Args:
        value: Any value.

    Returns:
        Path -> field value, nested values and their own fields both, in the order of declaration.

    Example:
        >>> from kopt.schedules import Cosine
        >>> paths(Cosine(0.1).warmup(5))
        {'rate': 0.1, 'duration': None, 'end': 0.0, 'warmup_duration': 5.0, 'start': 0.0, 'shape': 'linear'}
    """
    found: dict[str, Any] = {}
    for name in hints(type(value)):
        inner = getattr(value, name)
        if name == "of":
            found.update({path: v for path, v in paths(inner).items()})
            continue
        found[name] = inner
        if isinstance(inner, Value):
            found.update({f"{name}.{path}": v for path, v in paths(inner).items()})
    return found


def number_paths(value: Value) -> list[str]:
    """List the paths of the fields that are numbers and set, in the order of `paths`.

    Args:
        value: Any value.

    Returns:
        The paths.

    Example:
        >>> from kopt.schedules import Cosine
        >>> number_paths(Cosine(0.1).warmup(5))
        ['rate', 'end', 'warmup_duration', 'start']
    """
    return [path for path, inner in paths(value).items() if isinstance(inner, float)]


def read(value: Value, path: str) -> Any:
    """Give the field at a path.

    Args:
        value: Any value.
        path: Names with dots between them, as `paths` lists them.

    Returns:
        The field.

    Raises:
        ValueError: When there is no such field; says the nearest.

    Example:
        >>> from kopt.schedules import Cosine
        >>> read(Cosine(0.1).warmup(5), "rate")
        0.1
    """
    found = paths(value)
    if path not in found:
        raise unknown("path", path, found)
    return found[path]


def bind(value: Value, changes: Mapping[str, Any]) -> Any:
    """Copy a value with other fields and no checks: inside a program the new fields may be scalar tensors.

    Args:
        value: The value to copy; it stays as it is.
        changes: Path -> new field. Bind numbers as float64 scalars: a formula casts last.

    Returns:
        A value of the same type.

    Raises:
        ValueError: When there is no such field; says the nearest.

    Example:
        >>> from kopt.schedules import Cosine
        >>> bind(Cosine(0.1).warmup(5), {"rate": 0.2}).of
        Cosine(0.2)
    """
    for path, new in changes.items():
        read(value, path)
        value = with_field(value, path, new)
    return value


def replace(value: Value, changes: Mapping[str, Any]) -> Any:
    """Copy a value with other fields, checked as if it had been written so.

    Args:
        value: The value to copy; it stays as it is.
        changes: Path -> new field.

    Returns:
        A value of the same type.

    Raises:
        ValueError: When there is no such field, or the new one is refused.

    Example:
        >>> from kopt.schedules import Cosine
        >>> replace(Cosine(0.1).warmup(5), {"rate": 0.2, "warmup_duration": 3})
        Cosine(0.2).warmup(3)
    """
    return checked(bind(value, changes))


def to_json(value: Value) -> str:
    """Write a value as JSON text.

    Args:
        value: Any value whose class is registered.

    Returns:
        The text.

    Example:
        >>> from kopt.schedules import Cosine
        >>> from_json(to_json(Cosine(0.1).warmup(5)))
        Cosine(0.1).warmup(5)
    """
    return json.dumps(encode(value), indent=2)


def from_json(text: str) -> Any:
    """Build the value back that `to_json` wrote.

    Args:
        text: What it wrote.

    Returns:
        A value equal to the one that was written.

    Example:
        >>> from kopt.schedules import Constant
        >>> from_json(to_json(Constant(0.1)))
        Constant(0.1)
    """
    return saving.deserialize_keras_object(json.loads(text))


def is_count(value: Value, path: str) -> bool:
    """Whether the field at a path is declared a whole number, whatever else it may be: `int | None`, `int | "full"`.

    Args:
        value: Any value.
        path: As for `read`.

    Returns:
        True for counts, False for numbers and all else.

    Raises:
        ValueError: When there is no such field; says the nearest.

    Example:
        >>> from kopt.experiment.recipe import Training
        >>> is_count(Training(batch_size="full"), "batch_size")
        True
    """
    read(value, path)
    parent, _, name = path.rpartition(".")
    owner: Any = read(value, parent) if parent else value
    while name not in hints(type(owner)):
        owner = owner.of
    return int in members(hints(type(owner))[name])


def with_field(value: Any, path: str, new: Any) -> Any:
    head, _, rest = path.partition(".")
    if head not in hints(type(value)):
        head, rest = "of", path
    changed = copy.copy(value)
    object.__setattr__(changed, head, with_field(getattr(value, head), rest, new) if rest else new)
    return changed


def checked(value: Value) -> Value:
    return type(value)(
        **{
            name: checked(inner) if isinstance(inner := getattr(value, name), Value) else inner
            for name in hints(type(value))
        }
    )


def declared(cls: Any) -> dict[str, Any]:
    """Field name -> annotation, in the order of declaration."""
    found = get_type_hints(cls, include_extras=True)
    return {field.name: found[field.name] for field in dataclasses.fields(cls)}


hints: Callable[[type], dict[str, Any]] = functools.cache(declared)


def encode(value: Any) -> Any:
    """Return a field as JSON types, a value as `keras.saving` has it, with all its fields."""
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    if not isinstance(value, Value):
        return value
    kind = type(value)
    names = {"module": kind.__module__, "class_name": kind.__name__, "config": encoded_fields(value)}
    return names | {"registered_name": saving.get_registered_name(kind)}


def encoded_fields(value: Value) -> dict[str, Any]:
    return {name: encode(getattr(value, name)) for name in hints(type(value))}


def decode(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(decode(item) for item in value)
    return saving.deserialize_keras_object(value) if isinstance(value, dict) else value


def written(value: Any) -> str:
    """`repr`, with whole floats written as a person would: 90, not 90.0."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e16:
        return str(int(value))
    return repr(value)


def written_arguments(value: Value) -> list[str]:
    """The arguments that differ from their defaults, the first one by position."""
    shown = []
    for place, field in enumerate(dataclasses.fields(value)):
        inner = getattr(value, field.name)
        if field.default is dataclasses.MISSING or inner != field.default:
            by_position = place == 0 and not field.kw_only
            shown.append(written(inner) if by_position else f"{field.name}={written(inner)}")
    return shown
