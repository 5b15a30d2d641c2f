"""Columns by name, as one vector."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kopt.models.layers import PiecewiseLinear
from kopt.values.checks import require

__all__ = ["columns_encoder"]


def columns_encoder(x: Mapping[str, Any], *, bins: int = 0) -> keras.Model:
    """Make a model that turns columns into one vector: numbers are standardized, names and whole numbers one-hot.

    A name that was not there has a place of its own, the first. With `bins` the vector has `PiecewiseLinear` of each
    number too, over as many bins with as many rows each: a network then finds steps and thresholds as trees do.

    Args:
        x: Column -> (n,) array to learn means, deviations, bins and names from.
        bins: Of each column of floating-point numbers, >= 0.

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


def as_tensor(column: np.ndarray) -> Any:
    """A column as TensorFlow takes it: texts, int64, or float32."""
    if column.dtype.kind in "OUS":
        return tf.constant([str(text) for text in column])
    return tf.constant(column.astype("float32" if column.dtype.kind == "f" else "int64"))
