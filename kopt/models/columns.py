"""The encoder of tables: columns by name become one vector."""

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from kopt.models.layers import PiecewiseLinear
from kopt.values.checks import require
from kopt.values.types import ArrayLike, Tensor

__all__ = ["columns_encoder"]


def columns_encoder(x: Mapping[str, ArrayLike], *, bins: int = 0) -> keras.Model:
    """Build a model that turns columns into one vector: numbers are standardized, names and whole numbers one-hot.

    The first position of a one-hot vector stands for unknown names. With `bins` the vector also has `PiecewiseLinear`
    of each number, over that many bins of equal counts, so that a network finds steps and thresholds as trees do.

    Args:
        x: Name -> (n,) column, from which means, deviations, bins and names are computed.
        bins: Bins of each column of floating-point numbers, >= 0.

    Returns:
        A model from a dict of (n,) inputs to (n, width) float32.

    Raises:
        ValueError: When `bins` is out of range.

    Example:
        >>> encoder = columns_encoder({"size": np.array([1.0, 3.0]), "kind": np.array(["a", "b"])})
        >>> encoder({"kind": tf.constant([["b"]]), "size": tf.constant([[3.0]])}).numpy().round(3)
        array([[0., 1., 0., 1.]], dtype=float32)

    Source:
        `keras.utils.FeatureSpace`.
    """
    require(bins >= 0, "bins", "must be >= 0", bins)
    columns = {name: np.asarray(column) for name, column in sorted(x.items())}
    kinds = {
        "f": "float_normalized",
        "i": "integer_categorical",
        "u": "integer_categorical",
        "b": "integer_categorical",
    }
    features = {name: kinds.get(column.dtype.kind, "string_categorical") for name, column in columns.items()}
    space = keras.utils.FeatureSpace(features=features, output_mode="concat")
    space.adapt(tf.data.Dataset.from_tensor_slices({name: as_tensor(column) for name, column in columns.items()}))
    inputs, vectors = dict(space.get_inputs()), [space.get_encoded_features()]
    for name, column in columns.items():
        if bins and column.dtype.kind == "f":
            vectors.append(PiecewiseLinear(np.quantile(column, np.linspace(0, 1, bins + 1)))(inputs[name]))
    vector = keras.layers.Concatenate()(vectors) if len(vectors) > 1 else vectors[0]
    return keras.Model(inputs, vector, name="columns")


def as_tensor(column: np.ndarray) -> Tensor:
    """Return a column as a tensor of strings, int64 or float32."""
    if column.dtype.kind in "OUS":
        return tf.constant([str(text) for text in column])
    return tf.constant(column.astype("float32" if column.dtype.kind == "f" else "int64"))
