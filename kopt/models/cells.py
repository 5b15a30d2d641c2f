"""Vectors of a table's cells, from Keras' own layers and operations: numbers, names, whole numbers, bags of words."""

import collections
from collections.abc import Iterable, Sequence
from typing import NewType, TypeVar

import numpy as np
from keras import layers, ops

from kopt.values.types import Tensor

__all__ = ["Words", "bag", "names", "numbers", "whole"]

MOST_WORDS = 2000  # of a column
LEAST_WIDTH = 1e-6  # of a bin: two equal edges are a step

Cell = TypeVar("Cell", str, int)
Words = NewType("Words", list[str])


def numbers(columns: Sequence[np.ndarray], given: Sequence[Tensor], *, bins: int = 0) -> list[Tensor]:
    """Standardize numbers; NaN becomes the median, with an indicator for each column that has NaN.

    With `bins` there is also the share of each bin below a number, in [0, 1], as of Gorishniy, Rubachev and Babenko, On
    Embeddings for Numerical Features in Tabular Deep Learning, 2022, section 3.2.

    Args:
        columns: (n,) floats each, from which medians, means, deviations and edges are computed.
        given: An input of (n, 1) for each.
        bins: Bins of equal counts for each column, >= 0.

    Returns:
        Tensors to concatenate.

    Example:
        >>> given = layers.Input((1,))
        >>> [part.shape for part in numbers([np.array([1.0, np.nan])], [given], bins=4)]
        [(None, 1), (None, 1), (None, 4)]
    """
    table = [column.astype("float64")[~np.isnan(column)] for column in columns]
    table = [column if len(column) else np.zeros(1) for column in table]
    x = layers.Concatenate(dtype="float32")(given) if len(given) > 1 else given[0]
    lacking = ops.isnan(x)
    filled = ops.where(lacking, as_floats([np.median(column) for column in table]), x)
    moments = [(column.mean(), column.var()) for column in complete(columns, table)]
    center, scale = as_floats([mean for mean, _ in moments]), as_floats([np.sqrt(var) or 1.0 for _, var in moments])
    found = [ops.divide(ops.subtract(filled, center), scale)]
    marked = [place for place, column in enumerate(columns) if np.isnan(column).any()]
    if marked:
        found.append(ops.cast(ops.take(lacking, np.array(marked, "int32"), axis=1), "float32"))
    if bins:
        edges = np.array([np.quantile(column, np.linspace(0, 1, bins + 1)) for column in table], "float32")
        widths = np.maximum(edges[:, 1:] - edges[:, :-1], np.float32(LEAST_WIDTH))
        shares = ops.divide(ops.subtract(ops.expand_dims(filled, -1), edges[:, :-1]), widths)
        found.append(layers.Reshape((len(table) * bins,), dtype="float32")(ops.clip(shares, 0.0, 1.0)))
    return found


def complete(columns: Sequence[np.ndarray], present: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return columns as they are after imputation."""
    return [
        np.append(there, np.full(max(len(one) - len(there), 0), np.median(there)))
        for one, there in zip(columns, present)
    ]


def names(texts: Sequence[str], given: Tensor) -> list[Tensor]:
    """Turn texts into one-hot vectors; empty ones become the most frequent text, with an indicator if `texts` has any.

    Args:
        texts: The texts from which the vocabulary is computed.
        given: An input of (n, 1) texts.

    Returns:
        Tensors to concatenate; the first position of the vector is for unknown texts.

    Example:
        >>> [part.shape for part in names(["a", "b", ""], layers.Input((1,), dtype="string"))]
        [(None, 3), (None, 1)]
    """
    known = by_frequency(text for text in texts if text)
    missing = len(known) + 1
    place = layers.StringLookup(vocabulary=[*known, ""])(given)
    lacking = ops.equal(place, missing)
    filled = ops.where(lacking, min(1, len(known)), place)  # 1 is the most frequent text, 0 an unknown one
    found = [ops.one_hot(ops.squeeze(filled, -1), missing)]
    return [*found, ops.cast(lacking, "float32")] if "" in texts else found


def whole(column: np.ndarray, given: Tensor) -> Tensor:
    """Turn whole numbers into one-hot vectors; the first position is for unknown ones.

    Args:
        column: The numbers from which the vocabulary is computed.
        given: An input of (n, 1) whole numbers.

    Returns:
        A tensor of (n, numbers + 1).

    Example:
        >>> whole(np.array([7, 5, 7]), layers.Input((1,), dtype="int64")).shape
        (None, 3)
    """
    known = by_frequency(column.astype("int64").tolist())
    return ops.one_hot(ops.squeeze(layers.IntegerLookup(vocabulary=known)(given), -1), len(known) + 1)


def bag(texts: Words, given: Tensor) -> Tensor:
    """Turn texts into bags of words: for each of the most frequent words its count times its rarity.

    Args:
        texts: The texts from which words and their rarity are computed.
        given: An input of (n, 1) texts.

    Returns:
        A tensor of (n, words), of at most 2,000 words; the first position is for unknown ones.

    Example:
        >>> bag(Words(["so good", "so bad"]), layers.Input((1,), dtype="string")).shape
        (None, 4)

    Source:
        `keras.layers.TextVectorization(output_mode="tf_idf")`.
    """
    vector = layers.TextVectorization(MOST_WORDS, output_mode="tf_idf")
    vector.adapt(np.array(texts, object), batch_size=1024)
    return vector(ops.squeeze(given, -1))


def by_frequency(values: Iterable[Cell]) -> list[Cell]:
    """Return the different values, the most frequent first."""
    counted = collections.Counter(values)
    return sorted(counted, key=lambda value: (counted[value], value), reverse=True)


def as_floats(values: Sequence[float]) -> np.ndarray:
    return np.array(values, "float32")
