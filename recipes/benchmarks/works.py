"""The works that training speed is measured on: random data of the usual shapes, and the Keras network of each."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers

__all__ = ["WORKS", "Work", "classes", "convnet", "mlp"]


class Work(NamedTuple):
    """One training that all contenders run: the same data, order, initial weights, optimizer and metrics.

    `data` gives x and y, `network` inputs and outputs; `optimizer` is "sgd" or "adam"; `loss` is "mse" (with the mean
    absolute error as metric) or "classes" (with the accuracy).
    """

    batch: int
    optimizer: str
    rate: float
    loss: str
    data: Callable[[np.random.Generator], tuple[Any, Any]]
    network: Callable[[], tuple[Any, Any]]

    def arrays(self) -> tuple[Any, np.ndarray]:
        """Return x, one or two arrays, and y."""
        return self.data(np.random.default_rng(0))

    def validation(self) -> tuple[Any, np.ndarray]:
        """Return x and y of the first fifth of the examples, for timings of training with validation."""
        x, y = self.arrays()
        count = len(y) // 5
        return [part[:count] for part in x] if isinstance(x, list) else x[:count], y[:count]

    def steps(self) -> int:
        """Return the number of steps an epoch."""
        return -(-len(self.arrays()[1]) // self.batch)

    def model(self, **compiled: Any) -> Any:
        """Return the compiled Keras model, with the same weights each time."""
        keras.utils.set_random_seed(0)
        model = keras.Model(*self.network())
        kind = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}[self.optimizer]
        if self.loss == "mse":
            model.compile(kind(self.rate), "mse", metrics=["mae"], **compiled)
        else:
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            model.compile(kind(self.rate), loss, metrics=["accuracy"], **compiled)
        return model


def regression(examples: int) -> Callable[[np.random.Generator], tuple[Any, Any]]:
    """Return ten numbers and a linear function of them."""

    def draw(random: np.random.Generator) -> tuple[Any, Any]:
        x = random.normal(size=(examples, 10)).astype("float32")
        return x, (x @ random.normal(size=(10, 1))).astype("float32")

    return draw


def classes(examples: int, *shape: int, tokens: int = 0) -> Callable[[np.random.Generator], tuple[Any, Any]]:
    """Return numbers, or tokens, of a shape, and one of ten classes."""

    def draw(random: np.random.Generator) -> tuple[Any, Any]:
        size = (examples, *shape)
        x = random.integers(0, tokens, size).astype("int32") if tokens else random.normal(size=size).astype("float32")
        return x, random.integers(0, 10, examples).astype("int32")

    return draw


def ratings(random: np.random.Generator) -> tuple[Any, Any]:
    """Return users, items and ratings, as many as in MovieLens' small data set."""
    pairs = [random.integers(0, count, (25600, 1)).astype("int32") for count in (671, 9066)]
    return pairs, random.uniform(0.5, 5, (25600, 1)).astype("float32")


def mlp(inputs: int, hidden: int, outputs: int, dropout: float = 0.0) -> Callable[[], tuple[Any, Any]]:
    """Return a network with one hidden layer."""

    def build() -> tuple[Any, Any]:
        x = keras.Input((inputs,))
        inner = layers.Dense(hidden, "relu")(x)
        return x, layers.Dense(outputs)(layers.Dropout(dropout)(inner) if dropout else inner)

    return build


def normalized_convnet() -> tuple[Any, Any]:
    """Return two convolutions with batch normalization and pooling, then dropout."""
    x = image = keras.Input((28, 28, 1))
    for filters in (16, 32):
        x = layers.BatchNormalization()(layers.Conv2D(filters, 3, padding="same", use_bias=False)(x))
        x = layers.MaxPooling2D()(layers.ReLU()(x))
    return image, layers.Dense(10)(layers.Dropout(0.3)(layers.Flatten()(x)))


def convnet(*shape: int) -> Callable[[], tuple[Any, Any]]:
    """Return two convolutions with pooling, for images of a shape."""

    def build() -> tuple[Any, Any]:
        x = image = keras.Input(shape)
        for filters in (16, 32):
            x = layers.MaxPooling2D()(layers.Conv2D(filters, 3, padding="same", activation="relu")(x))
        return image, layers.Dense(10)(layers.Flatten()(x))

    return build


def transformer(dropout: float = 0.0) -> Callable[[], tuple[Any, Any]]:
    """Return two transformer blocks of width 64, four heads and 64 tokens, with dropout of attention and residuals."""

    def build() -> tuple[Any, Any]:
        dropped = (lambda x: layers.Dropout(dropout)(x)) if dropout else (lambda x: x)
        tokens = keras.Input((64,), dtype="int32")
        x = layers.Embedding(1000, 64)(tokens)
        for _ in range(2):
            normal = layers.LayerNormalization(epsilon=1e-5)(x)
            x = x + dropped(layers.MultiHeadAttention(4, 16, dropout=dropout)(normal, normal))
            normal = layers.LayerNormalization(epsilon=1e-5)(x)
            x = x + dropped(layers.Dense(64)(layers.Dense(256, "relu")(normal)))
        return tokens, layers.Dense(10)(layers.GlobalAveragePooling1D()(x))

    return build


def text_bag() -> tuple[Any, Any]:
    """Return a mean of embeddings: 100 words of a vocabulary of 20,000, 32 numbers each."""
    words = keras.Input((100,), dtype="int32")
    x = layers.GlobalAveragePooling1D()(layers.Embedding(20000, 32)(words))
    return words, layers.Dense(10)(x)


def factorization() -> tuple[Any, Any]:
    """Return a rating as the product of 32 factors of a user and an item."""
    pair = [keras.Input((1,), dtype="int32") for _ in range(2)]
    user, item = (layers.Embedding(count, 32)(one) for count, one in zip((671, 9066), pair))
    return pair, keras.ops.sum(user * item, axis=-1)


def recurrent() -> tuple[Any, Any]:
    """Return a GRU of 64 units over 32 steps."""
    x = keras.Input((32, 16))
    return x, layers.Dense(10)(layers.GRU(64)(x))


WORKS = {
    "10-5-1, batch 1": Work(1, "sgd", 0.01, "mse", regression(4000), mlp(10, 5, 1)),
    "10-5-1, batch 64": Work(64, "sgd", 0.01, "mse", regression(64000), mlp(10, 5, 1)),
    "digits MLP": Work(32, "adam", 1e-3, "classes", classes(1797, 64), mlp(64, 64, 10)),
    "MLP 784": Work(128, "adam", 1e-3, "classes", classes(12800, 784), mlp(784, 256, 10)),
    "CNN": Work(128, "adam", 1e-3, "classes", classes(2560, 28, 28, 1), convnet(28, 28, 1)),
    "transformer": Work(32, "adam", 1e-3, "classes", classes(640, 64, tokens=1000), transformer()),
    "factorization": Work(256, "adam", 1e-3, "mse", ratings, factorization),
    "GRU": Work(32, "adam", 1e-3, "classes", classes(640, 32, 16), recurrent),
    "MLP 784 with dropout": Work(128, "adam", 1e-3, "classes", classes(12800, 784), mlp(784, 512, 10, 0.3)),
    "transformer with dropout": Work(32, "adam", 1e-3, "classes", classes(640, 64, tokens=1000), transformer(0.1)),
    "CNN with BatchNorm and dropout": Work(128, "adam", 1e-3, "classes", classes(2560, 28, 28, 1), normalized_convnet),
    "text bag with an embedding of 20,000": Work(
        32, "adam", 1e-3, "classes", classes(3200, 100, tokens=20000), text_bag
    ),
}
