"""The encoder of tables: columns by name become one vector."""

from collections.abc import Mapping

import keras
import numpy as np

from kopt.models.cells import Words, bag, names, numbers, whole
from kopt.values.checks import require
from kopt.values.columns import WORDS
from kopt.values.types import ArrayLike, Tensor

__all__ = ["columns_encoder"]


def columns_encoder(x: Mapping[str, ArrayLike], *, bins: int = 0) -> keras.Model:
    """Build a model that turns columns into one vector: numbers are standardized, names and whole numbers one-hot.

    The first position of a one-hot vector stands for unknown names. A missing value (a number that is NaN, a text that
    is empty) becomes the median or the most frequent text of `x`; a column with missing values in `x` has one position
    more, 1 where the value was missing. Texts of a column whose name ends in ".words" become a bag of words. With
    `bins` the vector also has, for each number, its share of each of that many bins of equal counts, so that a network
    finds steps and thresholds as trees do.

    The model is made of Keras' own layers and operations alone, so that Keras loads it without kopt.

    Args:
        x: Name -> (n,) column, from which means, deviations, medians, bins and names are computed.
        bins: Bins of each column of floating-point numbers, >= 0.

    Returns:
        A model from a dict of (n, 1) inputs to (n, width) float32.

    Raises:
        ValueError: When `bins` is out of range.

    Example:
        >>> encoder = columns_encoder({"size": np.array([1.0, 3.0, np.nan]), "kind": np.array(["a", "b", "b"])})
        >>> rows = {"kind": np.array([["b"], ["c"]], object), "size": np.array([[3.0], [np.nan]])}
        >>> encoder({name: keras.ops.convert_to_tensor(column) for name, column in rows.items()}).numpy().round(3)
        array([[0.   , 1.   , 0.   , 1.225, 0.   ],
               [1.   , 0.   , 0.   , 0.   , 1.   ]], dtype=float32)

    Source:
        `keras.utils.FeatureSpace`; for missing values, `sklearn.impute.SimpleImputer(add_indicator=True)`.
    """
    require(bins >= 0, "bins", "must be >= 0", bins)
    columns = {name: np.asarray(column) for name, column in sorted(x.items())}
    inputs, vectors = {}, []
    floats = {name: column for name, column in columns.items() if column.dtype.kind == "f"}
    for name, column in columns.items():
        inputs[name] = given = keras.Input((1,), name=name, dtype=dtype_of(column))
        if name not in floats:
            vectors += vectors_of(name, column, given)
    if floats:
        vectors += numbers(list(floats.values()), [inputs[name] for name in floats], bins=bins)
    vector = keras.layers.Concatenate(dtype="float32")(vectors) if len(vectors) > 1 else vectors[0]
    return keras.Model(inputs, vector, name="columns")


def vectors_of(name: str, column: np.ndarray, given: Tensor) -> list[Tensor]:
    """Return the parts of the vector for a column of texts or whole numbers."""
    if column.dtype.kind not in "OUST":
        return [whole(column, given)]
    texts = [str(text) for text in column]
    return [bag(Words(texts), given)] if name.endswith(WORDS) else names(texts, given)


def dtype_of(column: np.ndarray) -> str:
    """Return the type of a column's input."""
    return {"f": "float32", "i": "int64", "u": "int64", "b": "int64"}.get(column.dtype.kind, "string")
