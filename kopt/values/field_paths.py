"""Paths into trees of values: read a field, or copy a value with other fields."""

import copy
from collections.abc import Mapping, Sequence
from typing import TypeVar

from kopt.values.annotations import members
from kopt.values.checks import require, unknown
from kopt.values.fields import Value, hints
from kopt.values.types import FieldValue

__all__ = ["bind", "is_count", "number_paths", "paths", "read", "replace", "with_field"]

AnyValue = TypeVar("AnyValue", bound=Value)

# What fields are called elsewhere, by the name that they have here.
ELSEWHERE = {"lr": "rate", "learning_rate": "rate", "l1": "strength", "l2": "strength"}


def paths(value: Value) -> dict[str, FieldValue]:
    """List every field of a tree of values by its path.

    Paths leave out the field `of` of a wrapper: the rate of a warmed-up cosine is `rate`, not `of.rate`. A value in a
    tuple of values has its place in its path: `routes.0.rule`.

    Args:
        value: Any value.

    Returns:
        Path -> field, in the order of declaration; a nested value stands before its own fields.

    Example:
        >>> from kopt.schedules import Cosine
        >>> paths(Cosine(0.1).warmup(5))
        {'rate': 0.1, 'duration': None, 'end': 0.0, 'warmup_duration': 5.0, 'start': 0.0, 'shape': 'linear'}
    """
    found: dict[str, FieldValue] = {}
    for name in hints(type(value)):
        inner = getattr(value, name)
        if name == "of":
            found.update(paths(inner))
            continue
        found[name] = inner
        found.update({f"{name}.{path}": field for path, field in paths_within(inner).items()})
    return found


def paths_within(field: FieldValue) -> dict[str, FieldValue]:
    """List the paths from a field on: those of a value, and those of the values in a tuple by their places."""
    if isinstance(field, Value):
        return paths(field)
    found: dict[str, FieldValue] = {}
    for place, item in enumerate(field) if isinstance(field, tuple) else ():
        if isinstance(item, Value):
            found[str(place)] = item
            found.update({f"{place}.{path}": inner for path, inner in paths(item).items()})
    return found


def number_paths(value: Value) -> list[str]:
    """List the paths of the numbers that are not None, in the order of `paths`.

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


def read(value: Value, path: str) -> FieldValue:
    """Return the field at a path.

    Args:
        value: Any value.
        path: Names with dots between them, as `paths` lists them.

    Returns:
        The field.

    Raises:
        ValueError: When there is no such field; the error names the nearest one.

    Example:
        >>> from kopt.schedules import Cosine
        >>> read(Cosine(0.1).warmup(5), "rate")
        0.1
    """
    found = paths(value)
    if path not in found:
        owner = path.rpartition(".")[0]
        is_none = owner in found and found[owner] is None
        require(not is_none, "path", f"must be within a field that is set, and {owner!r} is None", path)
        raise unknown_path(path, list(found))
    return found[path]


def unknown_path(path: str, known: Sequence[str]) -> ValueError:
    """Build the error for a path that does not exist: it lists the fields beside it, and names the nearest one."""
    owner, _, name = path.rpartition(".")
    beside = [one for one in known if one.rpartition(".")[0] == owner] if owner in known else known
    asked = ELSEWHERE.get(name, name)
    near = next((one for one in beside if one.rpartition(".")[2] == asked), None)
    return unknown("path", path, beside or known, near=near)


def bind(value: AnyValue, changes: Mapping[str, FieldValue]) -> AnyValue:
    """Copy a value with other fields, unchecked: inside a program the new fields may be scalar tensors.

    Args:
        value: The value to copy; it does not change.
        changes: Path -> new field. Bind numbers as float64 scalars: a formula casts last.

    Returns:
        A value of the same type.

    Raises:
        ValueError: When there is no such field; the error names the nearest one.

    Example:
        >>> from kopt.schedules import Cosine
        >>> bind(Cosine(0.1).warmup(5), {"rate": 0.2}).of
        Cosine(0.2)
    """
    for path, new in changes.items():
        read(value, path)
        value = with_field(value, path, new)
    return value


def replace(value: AnyValue, changes: Mapping[str, FieldValue]) -> AnyValue:
    """Copy a value with other fields, checked as at construction.

    Args:
        value: The value to copy; it does not change.
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


def is_count(value: Value, path: str) -> bool:
    """Tell whether the field at a path is declared a whole number, perhaps among others: `int | None`, `int | "full"`.

    Args:
        value: Any value.
        path: As for `read`.

    Returns:
        True for counts; False for numbers and any other field.

    Raises:
        ValueError: When there is no such field; the error names the nearest one.

    Example:
        >>> from kopt.experiment.recipe import Training
        >>> is_count(Training(batch_size="full"), "batch_size")
        True
    """
    read(value, path)
    parent, _, name = path.rpartition(".")
    owner: FieldValue = read(value, parent) if parent else value
    if isinstance(owner, tuple):
        return False
    while name not in (declared := hints(owner.__class__)):
        owner = owner.of
    return int in members(declared[name])


def with_field(value: AnyValue, path: str, new: FieldValue) -> AnyValue:
    """Copy a value with one other field, unchecked.

    Args:
        value: The value to copy; it does not change.
        path: A path that is there.
        new: The new field.

    Returns:
        A value of the same type.

    Example:
        >>> from kopt.schedules import Cosine
        >>> with_field(Cosine(0.1).warmup(5), "rate", 0.2).of
        Cosine(0.2)
    """
    head, _, rest = path.partition(".")
    if head not in hints(type(value)):
        head, rest = "of", path
    changed = copy.copy(value)
    object.__setattr__(changed, head, changed_within(getattr(value, head), rest, new))
    return changed


def changed_within(field: FieldValue, path: str, new: FieldValue) -> FieldValue:
    """Return a field with another one at a path from it on; the new one itself where the path is empty."""
    if not path:
        return new
    if not isinstance(field, tuple):
        return with_field(field, path, new)
    place, _, rest = path.partition(".")
    return tuple(changed_within(item, rest, new) if str(at) == place else item for at, item in enumerate(field))


def checked(value: AnyValue) -> AnyValue:
    """Build a value anew from its fields, so that they are checked."""
    return type(value)(**{name: checked_field(getattr(value, name)) for name in hints(type(value))})


def checked_field(field: FieldValue) -> FieldValue:
    """Return a field with the values in it built anew."""
    if isinstance(field, tuple):
        return tuple(map(checked_field, field))
    return checked(field) if isinstance(field, Value) else field
