"""Annotations of fields: the values that each accepts, and its words in errors."""

import math
import numbers
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import numpy as np

from kopt.values.checks import require
from kopt.values.types import Annotation, FieldValue

__all__ = ["Number"]

NUMBER = "number"
# A finite float; inside a program it may be a scalar tensor, so that it can be tuned without a retrace.
Number = Annotated[float, NUMBER]


def members(hint: Annotation) -> tuple[Annotation, ...]:
    """Return the members of a union, or the one annotation."""
    return get_args(hint) if origin_of(hint) is Union else (hint,)


def origin_of(hint: Annotation) -> Annotation:
    """Return Annotated, Literal, tuple or Union, or None for a class."""
    origin: Annotation = get_origin(hint)
    return Union if origin is types.UnionType else origin


def is_number(hint: Annotation) -> bool:
    """Tell whether a field is declared a number, perhaps among others."""
    return any(origin_of(member) is Annotated and NUMBER in get_args(member)[1:] for member in members(hint))


def canonical(value: FieldValue, name: str, hint: Annotation) -> FieldValue:
    """Return a field in the one form that equal fields share: finite floats for numbers, tuples, Python's own types."""
    if is_number(hint) and isinstance(value, numbers.Real) and not isinstance(value, bool):
        number = as_float(value)
        require(math.isfinite(number), name, "must be finite", number)
        return number
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    return tuple(canonical(item, name, None) for item in value) if isinstance(value, (list, tuple)) else value


def as_float(value: numbers.Real) -> float:
    """Return a number as a float; infinity for a whole number that is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def conforms(value: FieldValue, hint: Annotation) -> bool:
    """Tell whether a canonical field is of the annotated type."""
    origin, arguments = origin_of(hint), get_args(hint)
    if origin is Union:
        return any(conforms(value, member) for member in arguments)
    if origin is Annotated:
        return conforms(value, arguments[0])
    if origin is Literal:
        return value in arguments
    if origin is tuple:
        items = arguments[:1] * len(value) if arguments[-1] is Ellipsis and isinstance(value, tuple) else arguments
        return isinstance(value, tuple) and len(value) == len(items) and all(map(conforms, value, items))
    return is_instance(value, hint)


def is_instance(value: FieldValue, hint: Annotation) -> bool:
    """Tell whether a field is of a class; an int is a float, and a bool is no number."""
    if hint is Any:
        return True
    if hint in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if hint is float else hint)


def describe(hint: Annotation) -> str:
    """Return an annotation in words: "a number or None"."""
    origin, arguments = origin_of(hint), get_args(hint)
    if origin is Union:
        return " or ".join(map(describe, arguments))
    if origin is Annotated:
        return "a number" if is_number(hint) else describe(arguments[0])
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin is tuple:
        return f"a tuple of {describe(arguments[0])}"
    return {type(None): "None", int: "a whole number", float: "a number", str: "a text"}.get(hint, f"a {hint.__name__}")
