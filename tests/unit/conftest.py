"""What tests of several rooms share."""

from typing import Any

import keras
import pytest
from keras import layers


@pytest.fixture
def model() -> Any:
    """A model with weights of every role: kernels of several kinds, an embedding, norms, biases, a shared layer."""
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 4, name="embed")(inputs)
    x = layers.LSTM(3, name="lstm", return_sequences=True)(x)
    x = layers.SeparableConv1D(5, 2, name="separable")(x)
    x = layers.LayerNormalization(name="norm")(layers.BatchNormalization(name="batch")(x))
    shared = layers.Dense(5, name="shared")
    return keras.Model(inputs, layers.Dense(2, name="head")(layers.Flatten()(shared(shared(x)))), name="net")
