"""Where Keras is silently wrong: what it trains and what kopt trains, beside what should come out.

Command   python recipes/benchmarks/exactness.py
Data      random numbers; networks of one or two layers, 30 to 40 updates
Shows     the largest difference of a weight from what is right; of a learning rate, the mean one over the highest rate
Target    kopt at most 1e-6, Keras more than 1e-3: the command ends with code 1 where one of them is not so
Time      about 40 s on 2 cores

What is right: for two devices, what one gives; for a rate, the schedule; for micro-batches, the whole batch; for rows
of an embedding, gradients that are added up before Adam squares them; for a run that was stopped in mid-epoch and
started again, one that was not; for a penalty, the model that is built with it; for a second schedule, a model that is
compiled with it. Keras' side: fit, a callback that sets the rate of each batch, gradient_accumulation_steps,
BackupAndRestore(save_freq=1), `layer.kernel_regularizer = ...`, `optimizer.learning_rate = ...`. None of them warns.

Measured on Keras 3.15 and TensorFlow 2.21:

                                                      Keras     kopt
    two devices, an uneven last batch               1.8e-02  6.0e-08
    two devices, clipnorm                           4.8e-02  3.0e-08
    two devices, mean_with_sample_weight            1.0e-01  6.0e-08
    a rate for each batch, steps_per_execution=10   2.3e-01        0
    an average of weights, 4 micro-batches          7.3e-02  8.9e-08
    Adam, an embedding's row twice in a batch       1.3e-01        0
    stopped in mid-epoch and started again          8.1e-02        0
    a penalty on a built model                      3.0e-02        0
    a second learning-rate schedule                 7.5e-02        0
"""

import sys
import tempfile
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import kopt

Weights = list[np.ndarray]
EPOCHS, BATCH = 10, 16
X = np.random.default_rng(0).normal(size=(40, 8)).astype("float32")
Y = X[:, :1] * X[:, 1:2]
HOW: dict[str, Any] = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
WARMED = kopt.schedules.Cosine(0.1, duration=30).warmup(10)


def in_keras(model: Any, *data: Any, **how: Any) -> None:
    """Train by Keras' own fit."""
    model.fit(*data, **{**HOW, **how})


def in_kopt(model: Any, *data: Any, **how: Any) -> None:
    """Train by kopt's fit."""
    kopt.fit(model, *data, **{**HOW, **how})


def network(optimizer: Any, *, loss: Any = "mse", penalty: Any = None, dropout: float = 0.0, **how: Any) -> Any:
    """Return a compiled network of two layers, with the same starting weights each time."""
    keras.utils.set_random_seed(0)
    hidden = keras.layers.Dense(16, "relu", kernel_regularizer=penalty)
    layers = [hidden, keras.layers.Dropout(dropout), keras.layers.Dense(1, kernel_regularizer=penalty)]
    model = keras.Sequential([keras.Input((8,)), *layers])
    model.compile(optimizer, loss, **how)
    return model


def apart(one: Weights, other: Weights) -> float:
    """Return the largest difference of a weight."""
    return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))


def two_devices(
    fit: Callable[..., None], optimizer: Callable[[], Any], loss: Any = "mse", *, rows: int = 32, **how: Any
) -> float:
    """Return how far two devices are from one."""
    found = []
    for devices in ("cpu:0", "cpu:0,cpu:1"):
        with kopt.distribute.strategy(devices).scope():
            model = network(optimizer(), loss=loss)
        fit(model, X[:rows], Y[:rows], epochs=EPOCHS, **how)
        found.append(model.get_weights())
    return apart(*found)


def uneven_batch(stock: bool) -> float:
    """Train on two devices with a last batch of 5 examples, by Adam."""
    return two_devices(in_keras if stock else in_kopt, lambda: keras.optimizers.Adam(0.01), rows=37)


def clipped(stock: bool) -> float:
    """Train on two devices with even batches and a bound of the gradients' norms."""
    fit = in_keras if stock else in_kopt
    return two_devices(fit, lambda: keras.optimizers.SGD(0.1, clipnorm=0.1))


def weighted_mean(stock: bool) -> float:
    """Train on two devices with even batches and a mean that is divided by the sum of the weights."""
    weights = np.linspace(0.1, 2, 32).astype("float32")
    loss = keras.losses.MeanSquaredError(reduction="mean_with_sample_weight")
    fit = in_keras if stock else in_kopt
    return two_devices(fit, lambda: keras.optimizers.SGD(0.1), loss, sample_weight=weights)


class Noted(keras.optimizers.SGD):
    """Gradient descent that writes down the rate of each update of a model with one weight."""

    def build(self, variables: Any) -> None:
        """Make the list of rates."""
        super().build(variables)
        self.rates = tf.Variable(tf.zeros(40), trainable=False)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Write the rate down, and update."""
        place, rate = keras.ops.cast(self.iterations, "int32"), keras.ops.cast(learning_rate, "float32")
        self.rates.scatter_nd_update([[place]], [rate])
        super().update_step(gradient, variable, learning_rate)


class PerBatch(keras.callbacks.Callback):
    """The usual way to a rate for each batch in Keras."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Set the rate of the batch."""
        self.model.optimizer.learning_rate = float(WARMED(batch))


def rate_of_each_update(stock: bool) -> float:
    """Follow a schedule over 40 updates, ten of which are a call of the program."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(Noted(0.1), "mse", steps_per_execution=10)
    callback = PerBatch() if stock else kopt.callbacks.LearningRate(WARMED)
    model.fit(X, Y, batch_size=1, verbose=0, callbacks=[callback])
    planned = np.array([float(WARMED(step)) for step in range(40)])
    return float(np.abs(model.optimizer.rates.numpy() - planned).mean() / planned.max())


def micro_batches(stock: bool) -> float:
    """Average the weights over updates, each of four parts of a batch."""
    averaged = {"use_ema": True, "ema_momentum": 0.9}
    whole = network(keras.optimizers.SGD(0.1, **averaged))
    in_keras(whole, X[:32], Y[:32], epochs=EPOCHS)
    if stock:
        parts = network(keras.optimizers.SGD(0.1, gradient_accumulation_steps=4, **averaged))
        in_keras(parts, X[:32], Y[:32], epochs=EPOCHS, batch_size=BATCH // 4)
    else:
        parts = network(keras.optimizers.SGD(0.1, **averaged))
        step = kopt.training.TrainStep(parts, micro_batches=4)
        kopt.Loop(parts, step=step).fit(X[:32], Y[:32], epochs=EPOCHS, **HOW)
    return apart(parts.get_weights(), whole.get_weights())


def repeated_rows(stock: bool) -> float:
    """Train an embedding of which a batch reads most rows several times, by Adam."""
    words = np.random.default_rng(1).integers(0, 5, (40, 6))

    def reader() -> Any:
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Embedding(5, 4), keras.layers.Flatten(), keras.layers.Dense(1)]
        model = keras.Sequential([keras.Input((6,), dtype="int32"), *layers])
        model.compile(keras.optimizers.Adam(0.01), "mse")
        return model

    model, expected = reader(), reader()
    (in_keras if stock else in_kopt)(model, words, Y, epochs=EPOCHS)
    for start in [0, 16, 32] * EPOCHS:
        with tf.GradientTape() as tape:
            outputs = expected(words[start : start + BATCH], training=True)
            loss = tf.reduce_mean((Y[start : start + BATCH] - outputs) ** 2)
        gradients = tape.gradient(loss, expected.trainable_variables)
        expected.optimizer.apply([tf.convert_to_tensor(one) for one in gradients], expected.trainable_variables)
    return apart(model.get_weights(), expected.get_weights())


class Stop(keras.callbacks.Callback):
    """Raises after the fourth batch, in the second epoch, as a crash would."""

    batches = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count batches, and raise."""
        self.batches += 1
        if self.batches == 4:
            raise InterruptedError

    def get_state(self) -> dict[str, Any]:
        """Return nothing: the crash is no part of the run."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take nothing."""


def stopped_and_resumed(stock: bool) -> float:
    """Train with dropout, stop in mid-epoch, and start the same line again."""
    with tempfile.TemporaryDirectory() as folder:

        def run(kept: bool, callback: Any) -> Weights:
            model = network(keras.optimizers.Adam(0.01), dropout=0.2)
            backup = [keras.callbacks.BackupAndRestore(folder, save_freq=1)] if stock and kept else []
            how = {"checkpoint": folder, "every": "1 step"} if kept and not stock else {}
            fit = in_keras if stock else in_kopt
            fit(model, X, Y, epochs=EPOCHS, callbacks=[*backup, callback], **how)
            return model.get_weights()

        whole, quiet = run(False, keras.callbacks.Callback()), Stop()
        try:
            run(True, Stop())
        except InterruptedError:
            quiet.batches = 100
        return apart(run(True, quiet), whole)


def penalty_later(stock: bool) -> float:
    """Give a penalty to a model that is built."""
    expected = network(keras.optimizers.SGD(0.1), penalty=keras.regularizers.L2(0.01))
    in_keras(expected, X, Y, epochs=EPOCHS)
    model = network(keras.optimizers.SGD(0.1))
    if stock:
        for layer in model.layers:
            layer.kernel_regularizer = keras.regularizers.L2(0.01)
    else:
        kopt.regularizers.attach(model, kopt.regularizers.L2(0.01), report=False)
    (in_keras if stock else in_kopt)(model, X, Y, epochs=EPOCHS)
    return apart(model.get_weights(), expected.get_weights())


def second_schedule(stock: bool) -> float:
    """Fit by one schedule, and then by another."""
    first = kopt.schedules.InverseTime(0.1, decay=1.0, every=10)
    second = keras.optimizers.schedules.ExponentialDecay(0.02, 10, 1.0)  # 0.02 at all times
    expected = network(keras.optimizers.SGD(first))
    in_keras(expected, X, Y, epochs=1)
    expected.compile(keras.optimizers.SGD(0.02), "mse")
    in_keras(expected, X, Y, epochs=EPOCHS)
    if stock:
        model = network(keras.optimizers.SGD(first))
        in_keras(model, X, Y, epochs=1)
        model.optimizer.learning_rate = second
        in_keras(model, X, Y, epochs=EPOCHS)
    else:
        model = network(keras.optimizers.SGD(0.1))
        in_keras(model, X, Y, epochs=1, callbacks=[kopt.callbacks.LearningRate(first)])
        rate = kopt.callbacks.LearningRate(kopt.schedules.Constant(0.02))
        in_keras(model, X, Y, epochs=EPOCHS, callbacks=[rate])
    return apart(model.get_weights(), expected.get_weights())


CASES: dict[str, Callable[[bool], float]] = {
    "two devices, an uneven last batch": uneven_batch,
    "two devices, clipnorm": clipped,
    "two devices, mean_with_sample_weight": weighted_mean,
    "a rate for each batch, steps_per_execution=10": rate_of_each_update,
    "an average of weights, 4 micro-batches": micro_batches,
    "Adam, an embedding's row twice in a batch": repeated_rows,
    "stopped in mid-epoch and started again": stopped_and_resumed,
    "a penalty on a built model": penalty_later,
    "a second learning-rate schedule": second_schedule,
}


def main() -> int:
    """Print the table; return 1 where Keras is right or kopt is wrong."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    print(f"    {'':46} {'Keras':>8} {'kopt':>8}")
    status = 0
    for name, case in CASES.items():
        stock, ours = case(True), case(False)
        status |= not (stock > 1e-3 and ours <= 1e-6)
        print(f"    {name:46} {stock:8.1e} {f'{ours:.1e}' if ours else '0':>8}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
