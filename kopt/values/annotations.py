"""What a field's annotation means: which values it takes, and how they are said."""

import math
import numbers
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import numpy as np

from kopt.values.checks import require

__all__ = ["Number"]

NUMBER = "number"
# A finite float; inside a program it may be a scalar tensor, so that it can be tuned without a retrace.
Number = Annotated[float, NUMBER]


def members(hint: Any) -> tuple[Any, ...]:
    """The kinds that a union allows, or the one kind."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def is_number(hint: Any) -> bool:
    """Whether a field is declared a number."""
    return any(NUMBER in getattr(member, "__metadata__", ()) for member in members(hint))


def canonical(value: Any, name: str, hint: Any) -> Any:
    """A field in the one form that equal values share: finite floats for numbers, tuples, Python's own types."""
    if is_number(hint) and isinstance(value, numbers.Real) and not isinstance(value, bool):
        require(math.isfinite(value), name, "must be finite", float(value))
        return float(value)
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    return tuple(canonical(item, name, None) for item in value) if isinstance(value, (list, tuple)) else value


def conforms(value: Any, hint: Any) -> bool:
    """Whether a canonical value is of the annotated kind."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(conforms(value, member) for member in arguments)
    if origin is Annotated:
        return conforms(value, arguments[0])
    if origin is Literal:
        return value in arguments
    if origin is tuple:
        items = arguments[:1] * len(value) if arguments[-1] is Ellipsis and isinstance(value, tuple) else arguments
        return isinstance(value, tuple) and len(value) == len(items) and all(map(conforms, value, items))
    if hint is Any:
        return True
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, hint) and (hint is not int or not isinstance(value, bool))


def describe(hint: Any) -> str:
    """An annotation as a person says it: "a number or None"."""
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(map(describe, get_args(hint)))
    if get_origin(hint) is Annotated:
        return "a number" if is_number(hint) else describe(get_args(hint)[0])
    if get_origin(hint) is Literal:
        return " or ".join(map(repr, get_args(hint)))
    if get_origin(hint) is tuple:
        return f"a tuple of {describe(get_args(hint)[0])}"
    return {type(None): "None", int: "a whole number", float: "a number", str: "a text"}.get(hint, f"a {hint.__name__}")
