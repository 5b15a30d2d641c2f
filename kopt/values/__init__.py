"""Values: frozen dataclasses with paths, JSON and registries; and checks of arguments."""

from kopt.values.field_paths import bind, is_count, number_paths, paths, read, replace, with_field
from kopt.values.fields import Named, Number, Value, from_json, to_json, written, written_arguments
from kopt.values.registry import Registry

__all__ = [
    "Named",
    "Number",
    "Registry",
    "Value",
    "bind",
    "from_json",
    "is_count",
    "number_paths",
    "paths",
    "read",
    "replace",
    "to_json",
    "with_field",
    "written",
    "written_arguments",
]
