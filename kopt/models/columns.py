"""Columns by name, as one vector."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

__all__ = ["columns_encoder"]


def columns_encoder(x: Mapping[str, Any]) -> keras.Model:
    """Make a model that turns columns into one vector: numbers are standardized, names and whole numbers one-hot.

    A name that was not there has a place of its own, the first.

    Args:
        x: Column -> (n,) array to learn means, deviations and names from.

    Returns:
        A model from a dict of (n,) inputs to (n, width) float32.

    Example:
        >>> encoder = columns_encoder({"size": np.array([1.0, 3.0]), "kind": np.array(["a", "b"])})
        >>> encoder({"kind": tf.constant([["b"]]), "size": tf.constant([[3.0]])}).numpy().round(3)
        array([[0., 1., 0., 1.]], dtype=float32)

    Source:
        `keras.utils.FeatureSpace`.
    """
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
    return keras.Model(dict(space.get_inputs()), space.get_encoded_features(), name="columns")


def as_tensor(column: np.ndarray) -> Any:
    """A column as TensorFlow takes it: texts, int64, or float32."""
    if column.dtype.kind in "OUS":
        return tf.constant([str(text) for text in column])
    return tf.constant(column.astype("float32" if column.dtype.kind == "f" else "int64"))
