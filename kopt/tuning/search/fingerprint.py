"""Fingerprint: a description of a search's data, to compare with another's, in numbers and texts of JSON."""

from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf

from kopt.data.base import checksum
from kopt.values.types import ArrayLike, FitArgument, Json

__all__ = ["fingerprint"]

BYTES = 2**24  # how much of a larger array is read: rows at even distances


def fingerprint(
    x: FitArgument,
    y: FitArgument = None,
    sample_weight: FitArgument = None,
    validation_data: FitArgument = None,
    groups: FitArgument = None,
) -> dict[str, Json]:
    """Return the kinds, shapes, dtypes and checksums of data, without drawing from any source.

    An array is described by its shape, its dtype and the checksum of its rows; a large array by some rows, at even
    distances. A source that a look would use up or compute is described by its kind, its length and, for a
    `tf.data.Dataset`, its element spec.

    Args:
        x: Inputs, as `fit` takes them: arrays, a nest of them, a dataset, a generator or None.
        y: Targets, as `fit` takes them.
        sample_weight: Weights, as `fit` takes them.
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


def described(part: FitArgument) -> Json:
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


def leaf(part: FitArgument) -> dict[str, Json]:
    """Return the description of one array, dataset, generator or other source."""
    arrays = list(arrays_of(part))
    if arrays:  # the same numbers in another container are the same data
        sizes = [None if size is None else int(size) for size in part.shape]
        return {"shape": sizes, "dtype": dtype_name(part, arrays[0]), "checksum": checksum(*arrays)}
    description: dict[str, Json] = {"kind": type(part).__name__}
    length = length_of(part)
    if length is not None:
        description["length"] = length
    if hasattr(part, "element_spec"):
        description["elements"] = str(part.element_spec)
    return description


def dtype_name(part: ArrayLike, array: np.ndarray) -> str:
    """Return the name of an array's dtype; a data frame has none, so that of its numbers stands for it."""
    dtype = part.dtype if hasattr(part, "dtype") else array.dtype
    return dtype.name if hasattr(dtype, "name") else str(dtype)


def arrays_of(part: FitArgument) -> Iterator[np.ndarray]:
    """Yield the NumPy arrays whose checksum describes a dense, sparse or ragged array; none for other sources."""
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


def rows_of(array: ArrayLike) -> np.ndarray:
    """Return an array, or rows of a large one at even distances, the first and the last among them."""
    itemsize = array.dtype.itemsize if hasattr(array.dtype, "itemsize") else 0
    size = int(np.prod(array.shape)) * (itemsize or 8)
    if size <= BYTES or not array.shape:
        return np.asarray(array)
    rows = array.shape[0]
    wanted = max(2, int(rows * BYTES / size))
    chosen = np.unique(np.linspace(0, rows - 1, min(rows, wanted)).astype(int))
    return np.stack([np.asarray(array[int(row)]) for row in chosen])


def length_of(part: FitArgument) -> int | None:
    """Return how many elements a source says it has; -1 and -2 are TensorFlow's infinite and unknown."""
    if isinstance(part, tf.data.Dataset):
        return int(part.cardinality())
    if hasattr(part, "num_batches"):  # Keras' PyDataset
        return part.num_batches
    return len(part) if hasattr(part, "__len__") else None
