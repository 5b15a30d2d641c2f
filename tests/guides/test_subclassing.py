"""Keras' guide "Making new layers and models via subclassing" and its VAE with a train_step of its own."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

layers, ops = keras.layers, keras.ops
X = np.random.default_rng(0).random((40, 12)).astype("float32")
HOW = {"batch_size": 8, "epochs": 3, "shuffle": False, "verbose": 0}


class Linear(layers.Layer):
    """A dense layer whose weights are made when its inputs are known, with a penalty."""

    def __init__(self, units: int):
        super().__init__()
        self.units = units

    def build(self, input_shape: Any) -> None:
        shape = (input_shape[-1], self.units)
        self.w = self.add_weight(shape=shape, initializer="random_normal", regularizer="l2")
        self.b = self.add_weight(shape=(self.units,), initializer="zeros")

    def call(self, inputs: Any) -> Any:
        return ops.matmul(inputs, self.w) + self.b


class Total(layers.Layer):
    """Counts what it has seen, in a weight that is not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.total = self.add_weight(initializer="zeros", shape=(), trainable=False)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if training:
            self.total.assign_add(ops.sum(inputs))
        return inputs


class Block(keras.Model):
    """Layers in layers, with batch normalization and dropout."""

    def __init__(self, dropout: float):
        super().__init__()
        self.first, self.second, self.normal = Linear(6), Linear(1), layers.BatchNormalization()
        self.dropout, self.total = layers.Dropout(dropout, seed=3), Total()

    def call(self, inputs: Any, training: bool = False) -> Any:
        hidden = self.normal(ops.relu(self.first(self.total(inputs, training=training))), training=training)
        return self.second(self.dropout(hidden, training=training))


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_model_of_layers_of_ones_own(dropout: float, as_in_fit) -> None:
    def build() -> Any:
        model = Block(dropout)
        model.compile(keras.optimizers.SGD(1e-2), "mse", metrics=["mae"])
        return model

    def use(trainer: Any, model: Any, callbacks: Any) -> dict[str, Any]:
        data = X, X.sum(1, keepdims=True)
        history = trainer.fit(*data, validation_split=0.2, callbacks=callbacks, **HOW).history
        result = trainer.evaluate(*data, verbose=0)
        return {"history": history, "result": result, "outputs": trainer.predict(X, verbose=0)}

    as_in_fit(build, use, xla=dropout == 0)


class Sampling(layers.Layer):
    """Draws a point of the distribution of a mean and a logarithm of a variance."""

    def __init__(self) -> None:
        super().__init__()
        self.seeds = keras.random.SeedGenerator(1337)

    def call(self, inputs: Any) -> Any:
        mean, log_variance = inputs
        return mean + ops.exp(0.5 * log_variance) * keras.random.normal(ops.shape(mean), seed=self.seeds)


class Encoder(layers.Layer):
    """Inputs to a mean, a logarithm of a variance, and a point."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.mean, self.log_variance = layers.Dense(8, "relu"), layers.Dense(2), layers.Dense(2)
        self.sampling = Sampling()

    def call(self, inputs: Any) -> Any:
        hidden = self.hidden(inputs)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        return mean, log_variance, self.sampling((mean, log_variance))


def divergence(mean: Any, log_variance: Any) -> Any:
    return -0.5 * ops.mean(log_variance - ops.square(mean) - ops.exp(log_variance) + 1)


class AutoEncoder(keras.Model):
    """A VAE whose divergence is added to the compiled loss."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = keras.Sequential([layers.Dense(8, "relu"), layers.Dense(12, "sigmoid")])

    def call(self, inputs: Any) -> Any:
        mean, log_variance, point = self.encoder(inputs)
        self.add_loss(divergence(mean, log_variance))
        return self.decoder(point)


class OwnAutoEncoder(keras.Model):
    """A VAE with a train_step of its own and no call at all."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = keras.Sequential([layers.Dense(8, "relu"), layers.Dense(12, "sigmoid")])
        self.trackers = [keras.metrics.Mean(name=name) for name in ("loss", "reconstruction", "divergence")]

    @property
    def metrics(self) -> list[Any]:
        return self.trackers

    def train_step(self, data: Any) -> dict[str, Any]:
        with tf.GradientTape() as tape:
            mean, log_variance, point = self.encoder(data)
            crossentropy = keras.losses.binary_crossentropy(data, self.decoder(point))
            reconstruction, gap = ops.mean(crossentropy), divergence(mean, log_variance)
            total = reconstruction + gap
        self.optimizer.apply_gradients(zip(tape.gradient(total, self.trainable_weights), self.trainable_weights))
        for tracker, value in zip(self.trackers, (total, reconstruction, gap)):
            tracker.update_state(value)
        return {tracker.name: tracker.result() for tracker in self.trackers}


@pytest.mark.parametrize("kind", [AutoEncoder, OwnAutoEncoder])
def test_a_variational_autoencoder(kind: type, as_in_fit) -> None:
    def build() -> Any:
        model = kind()
        model.encoder(X[:2]), model.decoder(np.ones((2, 2)))
        model.compile(keras.optimizers.Adam(1e-2), **({"loss": "mse"} if kind is AutoEncoder else {}))
        return model

    data = (X, X) if kind is AutoEncoder else (X,)
    run = lambda trainer, model, callbacks: trainer.fit(*data, callbacks=callbacks, **HOW).history
    as_in_fit(build, run, tolerance=0 if kind is AutoEncoder else 2e-7)  # sizes that are known fold
