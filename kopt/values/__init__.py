"""Values: the frozen base of everything tunable, its fields, paths and registry, and one voice for bad arguments."""

from kopt.values.fields import Number, Value, bind, from_json, is_count, number_paths, paths, read, replace, to_json
from kopt.values.registry import Registry

__all__ = [
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
]
