"""Keras' guide "Transfer learning & fine-tuning" and its example of knowledge distillation."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kopt.training import Loop

layers = keras.layers
X = np.random.default_rng(0).random((32, 8, 8, 3)).astype("float32")
Y = (X.mean((1, 2, 3)) > 0.5).astype("float32")[:, np.newaxis]
LABELS = np.random.default_rng(1).integers(0, 4, 32)
HOW = {"batch_size": 8, "epochs": 2, "shuffle": False, "verbose": 0}


def test_freezing_training_a_head_and_fine_tuning(as_in_fit) -> None:
    parts: list[Any] = []

    def build() -> Any:
        base = [keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU()]
        base = keras.Sequential([*base, layers.GlobalAveragePooling2D()])
        base.trainable = False
        inputs = keras.Input((8, 8, 3))
        scale = layers.Rescaling(2.0, -1.0)
        hidden = layers.Dropout(0.2, seed=1)(base(scale(inputs), training=False))
        model = keras.Model(inputs, layers.Dense(1)(hidden))
        parts[:] = [base]
        compiled(model, 1e-2)
        return model

    def compiled(model: Any, rate: float) -> None:
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(rate), loss, metrics=[keras.metrics.BinaryAccuracy()])

    def use(trainer: Any, model: Any, callbacks: Any) -> dict[str, Any]:
        before = [weight.numpy().copy() for weight in parts[0].weights]
        first = trainer.fit(X, Y, validation_data=(X, Y), callbacks=callbacks, **HOW).history
        for weight, value in zip(parts[0].weights, before):
            np.testing.assert_array_equal(weight, value)
        parts[0].trainable = True
        compiled(model, 1e-3)
        # A Loop of before goes on with what is compiled now; a new one does the same.
        again = type(trainer)(model) if not isinstance(trainer, Loop) else trainer
        second = again.fit(X, Y, validation_data=(X, Y), callbacks=callbacks, **HOW).history
        assert np.abs(parts[0].weights[0].numpy() - before[0]).max() > 0
        return {"first": first, "second": second}

    as_in_fit(build, use)


class Distiller(keras.Model):
    """A student learns a teacher's softened outputs, by a loss and a compile of its own."""

    def __init__(self, student: Any, teacher: Any):
        super().__init__()
        self.student, self.teacher = student, teacher

    def compile(self, optimizer: Any, metrics: Any, student_loss: Any, distillation_loss: Any) -> None:
        super().compile(optimizer=optimizer, metrics=metrics)
        self.student_loss, self.distillation_loss = student_loss, distillation_loss

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        taught = self.teacher(x, training=False)
        soft = self.distillation_loss(tf.nn.softmax(taught / 3.0), tf.nn.softmax(y_pred / 3.0))
        return 0.1 * self.student_loss(y, y_pred) + 0.9 * 9.0 * soft

    def call(self, x: Any) -> Any:
        return self.student(x)


class OldDistiller(Distiller):
    """The same in a train_step, with losses of the last batch among the logs."""

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        taught = self.teacher(x, training=False)
        with tf.GradientTape() as tape:
            predicted = self.student(x, training=True)
            hard = self.student_loss(y, predicted)
            soft = self.distillation_loss(tf.nn.softmax(taught / 3.0), tf.nn.softmax(predicted / 3.0))
            loss = 0.1 * hard + 0.9 * soft
        weights = self.student.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
        logs = self.compute_metrics(x, y, predicted, sample_weight=None)
        return logs | {"student_loss": hard, "distillation_loss": soft}

    def test_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        predicted = self.student(x, training=False)
        return self.compute_metrics(x, y, predicted) | {"student_loss": self.student_loss(y, predicted)}


def distilled(kind: type[Distiller]) -> Any:
    def network(filters: int) -> Any:
        convolutions = [layers.Conv2D(filters, 3, strides=2), layers.LeakyReLU(negative_slope=0.2)]
        return keras.Sequential([keras.Input((8, 8, 3)), *convolutions, layers.Flatten(), layers.Dense(4)])

    model = kind(network(2), network(6))
    metrics = [keras.metrics.SparseCategoricalAccuracy()]
    hard = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), metrics, hard, keras.losses.KLDivergence())
    return model


def trained(trainer: Any, model: Any, callbacks: Any) -> dict[str, Any]:
    history = trainer.fit(X, LABELS, validation_split=0.25, callbacks=callbacks, **HOW).history
    return {"history": history, "result": trainer.evaluate(X, LABELS, verbose=0, callbacks=callbacks)}


def test_distillation(as_in_fit) -> None:
    as_in_fit(lambda: distilled(Distiller), trained)


def test_distillation_by_a_train_step(as_in_fit) -> None:
    as_in_fit(lambda: distilled(OldDistiller), trained)
