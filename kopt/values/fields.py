"""Value: the frozen base of everything tunable, and its JSON form.

A field is a *number* (annotated `Number`: a finite float; inside a program it may be a scalar tensor, so that it can be
tuned without a retrace) or *structure* (counts, names, shapes, nested values).
"""

import abc
import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Self, dataclass_transform, get_type_hints

from kopt.values.annotations import Number, canonical, conforms, describe
from kopt.values.checks import require, shown, unknown
from kopt.values.html_table import html_table
from kopt.values.moved_names import moved_names
from kopt.values.serialization import registered_name, revive
from kopt.values.types import Annotation, Config, FieldValue, Json

__all__ = ["Named", "Number", "Value", "from_json", "to_json"]
CALLBACK_METHODS = ("on_", "set_model", "set_params")  # how names begin that Keras' fit asks a callback for
DEEPEST = 100  # levels of JSON that are read; a wrapped schedule has two a wrapper

__getattr__ = moved_names(
    __name__,
    {
        "bind": "kopt.values.field_paths.bind",
        "is_count": "kopt.values.field_paths.is_count",
        "number_paths": "kopt.values.field_paths.number_paths",
        "paths": "kopt.values.field_paths.paths",
        "read": "kopt.values.field_paths.read",
        "replace": "kopt.values.field_paths.replace",
    },
)


@dataclass_transform(frozen_default=True)
@dataclasses.dataclass(frozen=True, repr=False)
class Value(abc.ABC):
    """A frozen dataclass that compares, hashes, prints as code, and survives JSON and Keras files.

    A subclass declares annotated fields and may define `check`; it needs no decorator. Numbers become floats and lists
    become tuples, so that values of equal fields are equal. A field whose type is not the annotated one is refused.

    Raises:
        ValueError: When a field has the wrong type, a number is not finite, or `check` refuses.

    Example:
        >>> from kopt.schedules import Cosine
        >>> Cosine(1, end=0)
        Cosine(1)
        >>> Cosine.from_config(Cosine(0.1, duration=90).get_config())
        Cosine(0.1, duration=90)
    """

    in_fit: ClassVar[str] = ""  # the code that makes a value, written "{}", work in fit, for it is no callback

    def __init_subclass__(cls, **arguments: object) -> None:
        super().__init_subclass__(**arguments)
        dataclasses.dataclass(frozen=True, repr=False)(cls)

    def __post_init__(self) -> None:
        for name, hint in hints(type(self)).items():
            value = canonical(getattr(self, name), name, hint)
            require(conforms(value, hint), name, f"must be {describe(hint)}", value)
            object.__setattr__(self, name, value)
        self.check()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> None:
            """Raise AttributeError; when Keras' fit takes the value for a callback, the error says what to write."""
            said = f"{type(self).__name__!r} object has no attribute {name!r}"
            if self.in_fit and name.startswith(CALLBACK_METHODS):
                said = f"callbacks must be Keras callbacks: use {self.written_for_fit()}, got {self!r}."
            raise AttributeError(said, name=name, obj=self)

    def written_for_fit(self) -> str:
        """Return the code that makes the value work in fit; empty when there is none."""
        return self.in_fit.replace("{}", repr(self))

    def check(self) -> None:
        """Raise ValueError when a field is out of range, by `checks.require`."""

    def get_config(self) -> Config:
        """Return the fields as JSON types; a subclass may return another config for Keras."""
        return encoded_fields(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Json]) -> Self:
        """Build a value from what `get_config` returned.

        Raises:
            ValueError: When a field is not known, lacks, or is refused.
        """
        for name in config:
            if name not in hints(cls):
                raise unknown("field", name, hints(cls))
        needed = [one.name for one in dataclasses.fields(cls) if one.default is dataclasses.MISSING]
        require(set(needed) <= set(config), cls.__name__, f"must have {', '.join(needed)}", sorted(config))
        return cls(**{name: decode(value) for name, value in config.items()})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(written_arguments(self))})"

    def _repr_html_(self) -> str:
        fields = [(field.name, written(getattr(self, field.name))) for field in dataclasses.fields(self)]
        return html_table(type(self).__name__, fields)


class Named(Value):
    """A value with a name, which its folder and its reports bear; `Recipe` is one.

    Args:
        name: The name.

    Example:
        >>> Named("digits")
        Named('digits')
    """

    name: str


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


def from_json(text: str) -> Json:
    """Build a value from JSON text.

    Args:
        text: The text that `to_json` wrote.

    Returns:
        A value equal to the one that was written.

    Raises:
        ValueError: When the text is no JSON, the class of a value is not registered, or a field is refused.

    Example:
        >>> from kopt.schedules import Constant
        >>> from_json(to_json(Constant(0.1)))
        Constant(0.1)
    """
    return revive(parsed(text))


def parsed(text: str) -> Json:
    """Parse JSON, and refuse what is nested deeper than any value."""
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise ValueError(f"JSON must be nested at most {DEEPEST} deep, got {shown(text)}.") from error
    except ValueError as error:
        raise ValueError(f"JSON must be whole, got {shown(text)} ({error}).") from error
    level = [found] if isinstance(found, (dict, list)) else []
    for _ in range(DEEPEST):
        level = [one for inner in level for one in (inner.values() if isinstance(inner, dict) else inner)]
        level = [one for one in level if isinstance(one, (dict, list))]
    require(not level, "JSON", f"must be nested at most {DEEPEST} deep", text)
    return found


@functools.cache
def hints(cls: type[Value]) -> dict[str, Annotation]:
    """Return field name -> annotation, in the order of declaration."""
    found = get_type_hints(cls, include_extras=True)
    return {field.name: found[field.name] for field in dataclasses.fields(cls)}


def encode(value: FieldValue) -> Json:
    """Return a field as JSON types; a value as `keras.saving` writes it, with all its fields."""
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    if not isinstance(value, Value):
        return value
    kind = type(value)
    names = {"module": kind.__module__, "class_name": kind.__name__, "config": encoded_fields(value)}
    return names | {"registered_name": registered_name(kind)}


def encoded_fields(value: Value) -> Config:
    return {name: encode(getattr(value, name)) for name in hints(type(value))}


def decode(form: Json) -> FieldValue:
    """Return the field that `encode` encoded."""
    if isinstance(form, list):
        return tuple(decode(item) for item in form)
    return revive(form) if isinstance(form, dict) else form


def written(field: FieldValue) -> str:
    """Return `repr` of a field, with whole floats as a person writes them: 90, not 90.0."""
    if isinstance(field, float) and field.is_integer() and abs(field) < 1e16:
        return str(int(field))
    return repr(field)


def written_arguments(value: Value) -> list[str]:
    """Return the arguments that differ from their defaults as code, the first one by position."""
    texts = []
    for place, field in enumerate(dataclasses.fields(value)):
        inner = getattr(value, field.name)
        if field.default is dataclasses.MISSING or inner != field.default:
            by_position = place == 0 and not field.kw_only
            texts.append(written(inner) if by_position else f"{field.name}={written(inner)}")
    return texts
