"""Packing: nests of plain values as JSON, with their arrays in a list beside it."""

from collections.abc import Mapping

import ml_dtypes
import numpy as np

from kopt.values.types import Json, Nest

__all__ = ["FLOATS", "packed", "unpacked"]

FLOATS = {"bfloat16": np.dtype(ml_dtypes.bfloat16)}  # dtypes that NumPy's files cannot hold


def packed(value: Nest, arrays: list[np.ndarray]) -> Json:
    """Return a nest as JSON: [kind, content] for a container; [kind, [number, dtype]] for an array, now in `arrays`.

    Args:
        value: Dictionaries, lists, tuples, numbers, texts, arrays and NumPy's scalars.
        arrays: The list to which the arrays and NumPy's scalars are appended; the first one has number 1.

    Returns:
        What json.dumps takes. Infinite floats and NaN are kept by Python's JSON as `Infinity` and `NaN`.

    Example:
        >>> packed({"a": (1, np.arange(2))}, [])
        ['dict', [['a', ['tuple', [1, ['array', [1, 'int64']]]]]]]
    """
    if isinstance(value, Mapping):
        return ["dict", [[packed(key, arrays), packed(one, arrays)] for key, one in value.items()]]
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, [packed(one, arrays) for one in value]]
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        arrays.append(array.view(np.uint16) if array.dtype.name in FLOATS else array)
        return ["scalar" if isinstance(value, np.generic) else "array", [len(arrays), array.dtype.name]]
    return value


def unpacked(value: Json, arrays: Mapping[str, np.ndarray]) -> Nest:
    """Return the nest from which `packed` made a JSON value.

    Args:
        value: What json.loads gave.
        arrays: The arrays by name: "arr_1", "arr_2", as numpy.savez names them after the text.

    Returns:
        The same nest.

    Raises:
        ValueError: When the value is not what `packed` makes.

    Example:
        >>> unpacked(["tuple", [1, ["list", []]]], {})
        (1, [])
    """
    if not isinstance(value, list):
        return value
    kind, content = pair(value)
    if kind in ("array", "scalar"):
        return unpacked_array(kind, *pair(content), arrays)
    if kind not in ("dict", "list", "tuple") or not isinstance(content, list):
        raise ValueError("a part of its values has no known kind")
    if kind == "dict":
        return unpacked_dict(content, arrays)
    parts = [unpacked(one, arrays) for one in content]
    return parts if kind == "list" else tuple(parts)


def unpacked_dict(items: list[Json], arrays: Mapping[str, np.ndarray]) -> dict[Nest, Nest]:
    """Return a dictionary from its packed items."""
    pairs = [(unpacked(key, arrays), unpacked(one, arrays)) for key, one in map(pair, items)]
    try:
        return dict(pairs)
    except TypeError as error:  # a list, a dict or an array cannot be a key
        raise ValueError("a key of its values cannot be one") from error


def unpacked_array(kind: str, number: Json, dtype: Json, arrays: Mapping[str, np.ndarray]) -> Nest:
    """Return an array, or a NumPy scalar, by its number."""
    name = f"arr_{number}"
    if not isinstance(dtype, str) or name not in arrays:
        raise ValueError("an array of its values is missing")
    array = arrays[name]
    array = array.view(FLOATS[dtype]) if dtype in FLOATS else array
    return array[()] if kind == "scalar" else array


def pair(value: Json) -> tuple[Json, Json]:
    """Return the two elements of a list of two."""
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError("a part of its values is no pair")
    return value[0], value[1]
