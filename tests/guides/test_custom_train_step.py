"""Keras' guide "Customizing what happens in fit()": each of its models, trained by Keras and by kopt."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

X = np.random.default_rng(0).random((50, 4)).astype("float32")
Y = X[:, :1] * 2 + 0.1
WEIGHTS = np.random.default_rng(1).random(50).astype("float32")


class Simple(keras.Model):
    """Loss and metrics from compile; the logs are all metrics' results, some of them nested."""

    def train_step(self, data: Any) -> dict[str, Any]:
        return self.step(*keras.utils.unpack_x_y_sample_weight(data))

    def step(self, x: Any, y: Any, sample_weight: Any) -> dict[str, Any]:
        with tf.GradientTape() as tape:
            predicted = self(x, training=True)
            loss = self.compute_loss(y=y, y_pred=predicted, sample_weight=sample_weight)
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return self.counted(loss, y, predicted, sample_weight)

    def counted(self, loss: Any, y: Any, predicted: Any, sample_weight: Any) -> dict[str, Any]:
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(y, predicted, sample_weight=sample_weight)
        return {metric.name: metric.result() for metric in self.metrics}


class WithOwnTestStep(Simple):
    """The same for evaluation."""

    def test_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        predicted = self(x, training=False)
        return self.counted(self.compute_loss(y=y, y_pred=predicted), y, predicted, None)


class LowLevel(keras.Model):
    """A loss and metrics of the model's own, which it lists so that they start anew each epoch."""

    def __init__(self, *arguments: Any, **how: Any):
        super().__init__(*arguments, **how)
        self.total, self.error = keras.metrics.Mean(name="loss"), keras.metrics.MeanAbsoluteError(name="mae")
        self.loss_function = keras.losses.MeanSquaredError()

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        with tf.GradientTape() as tape:
            predicted = self(x, training=True)
            loss = self.loss_function(y, predicted)
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        self.total.update_state(loss)
        self.error.update_state(y, predicted)
        return {"loss": self.total.result(), "mae": self.error.result()}

    @property
    def metrics(self) -> list[Any]:
        return [self.total, self.error]


def made(kind: type[keras.Model], **compiled: Any) -> Any:
    inputs = keras.Input((4,))
    model = kind(inputs, keras.layers.Dense(1)(keras.layers.Dense(3, "relu")(inputs)))
    model.compile(keras.optimizers.Adam(0.01), **compiled)
    return model


COMPILED = {"loss": "mse", "metrics": ["mae"]}


@pytest.mark.parametrize(
    ("kind", "compiled", "fitted"),
    [
        (Simple, COMPILED, {}),
        (Simple, COMPILED, {"steps_per_epoch": 2}),
        (Simple, COMPILED, {"validation_split": 0.2}),
        (Simple, COMPILED, {"sample_weight": WEIGHTS}),
        (Simple, COMPILED | {"weighted_metrics": ["mse"]}, {"sample_weight": WEIGHTS}),
        (Simple, COMPILED, {"class_weight": {0: 1.0, 1: 3.0}}),
        (LowLevel, {}, {}),
    ],
)
def test_a_train_step_of_ones_own(kind: type, compiled: dict, fitted: dict, as_in_fit) -> None:
    def use(trainer: Any, model: Any, callbacks: Any) -> dict[str, Any]:
        how = {"batch_size": 16, "epochs": 3, "shuffle": False, "verbose": 0, "callbacks": callbacks}
        return trainer.fit(X, Y, **how, **fitted).history

    as_in_fit(lambda: made(kind, **compiled), use, xla=kind is LowLevel or "weighted_metrics" in compiled)


@pytest.mark.parametrize("arrays", [True, False])
def test_a_train_step_and_a_test_step_of_ones_own(arrays: bool, as_in_fit) -> None:
    def use(trainer: Any, model: Any, callbacks: Any) -> dict[str, Any]:
        data = (X, Y) if arrays else (tf.data.Dataset.from_tensor_slices((X, Y)).batch(16),)
        how = {"verbose": 0, "callbacks": callbacks} | ({"batch_size": 16} if arrays else {})
        history = trainer.fit(*data, shuffle=False, **how).history
        return {"history": history, "result": trainer.evaluate(*data, **how)}

    as_in_fit(lambda: made(WithOwnTestStep, **COMPILED), use, xla=arrays)


class GAN(keras.Model):
    """Two networks, two optimizers, a compile of its own, noise from a generator of its own."""

    def __init__(self, discriminator: Any, generator: Any, size: int):
        super().__init__()
        self.discriminator, self.generator, self.size = discriminator, generator, size
        self.d_total, self.g_total = keras.metrics.Mean(name="d_loss"), keras.metrics.Mean(name="g_loss")
        self.seeds = keras.random.SeedGenerator(1337)

    @property
    def metrics(self) -> list[Any]:
        return [self.d_total, self.g_total]

    def compile(self, d_optimizer: Any, g_optimizer: Any, loss_function: Any) -> None:
        super().compile()
        self.d_optimizer, self.g_optimizer, self.loss_function = d_optimizer, g_optimizer, loss_function

    def noise(self, count: Any) -> Any:
        return keras.random.normal((count, self.size), seed=self.seeds)

    def train_step(self, data: Any) -> dict[str, Any]:
        real = data[0] if isinstance(data, tuple) else data
        count = tf.shape(real)[0]
        images = tf.concat([self.generator(self.noise(count)), real], 0)
        labels = tf.concat([tf.ones((count, 1)), tf.zeros((count, 1))], 0)
        labels += 0.05 * keras.random.uniform(tf.shape(labels), seed=self.seeds)
        with tf.GradientTape() as tape:
            d_loss = self.loss_function(labels, self.discriminator(images))
        weights = self.discriminator.trainable_weights
        self.d_optimizer.apply(tape.gradient(d_loss, weights), weights)
        noise = self.noise(count)
        with tf.GradientTape() as tape:
            g_loss = self.loss_function(tf.zeros((count, 1)), self.discriminator(self.generator(noise)))
        weights = self.generator.trainable_weights
        self.g_optimizer.apply(tape.gradient(g_loss, weights), weights)
        self.d_total.update_state(d_loss)
        self.g_total.update_state(g_loss)
        return {"d_loss": self.d_total.result(), "g_loss": self.g_total.result()}


def gan() -> GAN:
    layers = keras.layers
    discriminator = [layers.Conv2D(4, 3, strides=2, padding="same"), layers.LeakyReLU(negative_slope=0.2)]
    discriminator = [keras.Input((8, 8, 1)), *discriminator, layers.GlobalMaxPooling2D(), layers.Dense(1)]
    generator = [keras.Input((3,)), layers.Dense(4 * 4 * 2), layers.LeakyReLU(negative_slope=0.2)]
    generator += [layers.Reshape((4, 4, 2)), layers.Conv2DTranspose(2, 4, strides=2, padding="same")]
    generator += [layers.Conv2D(1, 3, padding="same", activation="sigmoid")]
    model = GAN(keras.Sequential(discriminator), keras.Sequential(generator), 3)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), keras.optimizers.Adam(3e-3), loss)
    return model


@pytest.mark.parametrize("arrays", [True, False])
def test_a_gan(arrays: bool, as_in_fit) -> None:
    images = np.random.default_rng(0).random((40, 8, 8, 1)).astype("float32")

    def use(trainer: Any, model: Any, callbacks: Any) -> dict[str, Any]:
        data = images if arrays else tf.data.Dataset.from_tensor_slices(images).shuffle(40, seed=1).batch(8)
        how = {"batch_size": 8} if arrays else {}
        return trainer.fit(data, epochs=3, shuffle=False, verbose=0, callbacks=callbacks, **how).history

    as_in_fit(gan, use)
