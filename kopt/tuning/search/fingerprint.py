"""Fingerprint: a description of a search's data, to compare with another's, in numbers and texts of JSON."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from kopt.data.base import checksum

__all__ = ["fingerprint"]

BYTES = 2**24  # of a larger array only so much is read: rows at even distances


def fingerprint(
    x: Any, y: Any = None, sample_weight: Any = None, validation_data: Any = None, groups: Any = None
) -> dict[str, Any]:
    """Return the kinds, shapes, dtypes and checksums of data, without using any of them up.

    An array is described by its shape, its dtype and the checksum of its rows, of a large one rows at even distances.
    What cannot be read without using it up or computing it is described by its kind, its length and, for a
    `tf.data.Dataset`, its element spec.

    Args:
        x: Inputs, as `fit` takes them: arrays, a nest of them, a dataset, a generator or None.
        y: Targets, likewise.
        sample_weight: Weights, likewise.
        validation_data: A tuple of these, or a dataset.
        groups: A name or number for each example.

    Returns:
        Name of each argument that is not None -> nests of dictionaries, equal after a round trip through JSON.

    Example:
        >>> fingerprint(np.zeros((2, 3)), tf.data.Dataset.range(4))["x"]["shape"]
        [2, 3]
        >>> fingerprint(tf.data.Dataset.range(4))
        {'x': {'kind': '_RangeDataset', 'length': 4, 'elements': 'TensorSpec(shape=(), dtype=tf.int64, name=None)'}}
    """
    given = {
        "x": x,
        "y": y,
        "sample_weight": sample_weight,
        "validation_data": validation_data,
        "groups": groups,
    }
    return {name: described(part) for name, part in given.items() if part is not None}


def described(part: Any) -> Any:
    """Return the description of a nest: a nest of the same form."""
    if part is None or isinstance(part, (bool, int, float, str)):
        return part
    if isinstance(part, Mapping):
        return {str(name): described(one) for name, one in sorted(part.items(), key=str)}
    if isinstance(part, (list, tuple)):
        if part and all(isinstance(one, (bool, int, float, str, np.generic)) for one in part):
            return described(np.asarray(part))  # a column in a list
        return [described(one) for one in part]
    return leaf(part)


def leaf(part: Any) -> dict[str, Any]:
    """Return the description of one array, dataset, generator or other source."""
    arrays = list(arrays_of(part))
    if arrays:  # the same numbers in another container are the same data
        shape, dtype = part.shape, getattr(part, "dtype", arrays[0].dtype)
        sizes = [None if size is None else int(size) for size in shape]
        return {"shape": sizes, "dtype": getattr(dtype, "name", str(dtype)), "checksum": checksum(*arrays)}
    told: dict[str, Any] = {"kind": type(part).__name__}
    length = length_of(part)
    if length is not None:
        told["length"] = length
    if hasattr(part, "element_spec"):
        told["elements"] = str(part.element_spec)
    return told


def arrays_of(part: Any) -> Iterator[np.ndarray]:
    """Yield what to sum up of an array, dense, sparse or ragged; nothing for what is no array."""
    if isinstance(part, tf.Variable):
        part = part.value()
    if isinstance(part, (tf.RaggedTensor, tf.SparseTensor)):
        yield from (rows_of(one.numpy()) for one in tf.nest.flatten(part, expand_composites=True))
    elif isinstance(part, tf.Tensor):
        yield rows_of(part.numpy())
    elif hasattr(part, "tocoo"):  # SciPy's
        triples = part.tocoo()
        yield from (rows_of(one) for one in (triples.data, triples.row, triples.col))
    elif hasattr(part, "iloc"):  # pandas'
        yield rows_of(part.to_numpy())
    elif hasattr(part, "shape") and hasattr(part, "dtype") and hasattr(part, "__getitem__"):
        yield rows_of(part)


def rows_of(array: Any) -> np.ndarray:
    """Return an array, or rows of a large one at even distances, the first and the last among them."""
    size = int(np.prod(array.shape)) * (getattr(array.dtype, "itemsize", None) or 8)
    if size <= BYTES or not array.shape:
        return np.asarray(array)
    rows = array.shape[0]
    wanted = max(2, int(rows * BYTES / size))
    chosen = np.unique(np.linspace(0, rows - 1, min(rows, wanted)).astype(int))
    return np.stack([np.asarray(array[int(row)]) for row in chosen])


def length_of(part: Any) -> int | None:
    """Return how many elements a source has, as far as it knows: -1 and -2 are TensorFlow's endless and unknown."""
    if isinstance(part, tf.data.Dataset):
        return int(part.cardinality())
    if hasattr(part, "num_batches"):  # Keras' PyDataset
        return part.num_batches
    return len(part) if hasattr(part, "__len__") else None
