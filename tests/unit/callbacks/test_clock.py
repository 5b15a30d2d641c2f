"""The time of a run: epochs without an update, updates that epochs cut, and who may read the rate."""

import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt.callbacks import EMA, Average, LearningRate
from kopt.schedules import Cosine, Step
from kopt.training import Loop

SCHEDULE = Cosine(0.1).warmup(1)


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("how", ["accumulated", "overflows"])
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_an_epoch_without_an_update_keeps_the_rate_a_number(loop: bool, how: str, network, points) -> None:
    accumulated = keras.optimizers.SGD(0.01, gradient_accumulation_steps=6)
    overflowing = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.01), initial_scale=2.0**127)
    model = network(accumulated if how == "accumulated" else overflowing)
    x, y = points
    scale = 1.0 if how == "accumulated" else 1e3  # the gradients, which overflow until the loss scale has been halved
    data = tf.data.Dataset.from_tensor_slices((x, y * scale)).batch(25).filter(lambda x, y: True)
    callbacks = [LearningRate(Step(0.1, 0.5, every=1), unit="epoch")]
    fit = Loop(model, jit=False).fit if loop else model.fit
    rates = fit(data, epochs=5, shuffle=False, verbose=0, callbacks=callbacks).history["learning_rate"]
    assert np.isfinite(rates).all() and all(np.isfinite(weight).all() for weight in model.get_weights())
    assert rates[0] == pytest.approx(0.01) and rates[-1] == pytest.approx(0.1 * 0.5**4)  # the optimizer's own at first


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("unit", ["step", "epoch"])
def test_a_resumed_rate_is_exact_where_epochs_cut_an_update(loop: bool, unit: str, network, points, tmp_path) -> None:
    """Seven batches an epoch, four an update: what is left of an epoch goes into the next one's first update."""

    class Keep(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 3:
                shutil.copytree(tmp_path / "backup", tmp_path / "kept")

    def run(*more):
        model = network(keras.optimizers.Adam(0.01, gradient_accumulation_steps=4))
        rate = LearningRate(Cosine(0.02), unit=unit, per_step=True)
        how = {"batch_size": 15, "epochs": 6, "shuffle": False, "verbose": 0}
        fit = Loop(model, jit=False).fit if loop else model.fit
        history = fit(*points, callbacks=[rate, *more], **how).history
        return history["learning_rate"], list(rate.rates), model

    expected, rates, whole = run(keras.callbacks.BackupAndRestore(tmp_path / "backup"), Keep())
    found, left, resumed = run(keras.callbacks.BackupAndRestore(tmp_path / "kept"))
    assert found == expected[3:] and left == rates[-len(left) :]
    time = np.arange(6 * 7 // 4) / (6 * 7 / 4)
    np.testing.assert_allclose(rates, 0.01 * (1 + np.cos(np.pi * time)), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("loop", [False, True])
def test_an_average_beside_it_changes_no_logged_rate(loop: bool, network, points) -> None:
    def run(*more):
        callbacks = [LearningRate(SCHEDULE, unit="epoch"), *more]
        how = {"batch_size": 10, "epochs": 3, "shuffle": False, "verbose": 0}
        model = network("sgd", jit_compile=False)
        fit = Loop(model, jit=False).fit if loop else model.fit
        return fit(*points, callbacks=callbacks, **how).history["learning_rate"]

    expected = [float(SCHEDULE.resolve(3.0)(epoch + 0.9)) for epoch in range(3)]
    assert run(Average(EMA(0.9))) == run() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("eagerly", [False, True])
def test_reading_the_rate_writes_nothing(loop: bool, eagerly: bool, network, points) -> None:
    """A metric that is the optimizer's rate, as many write it, and a callback that reads it."""

    def run(watched: bool):
        model = network()

        def rate(y, p):
            return tf.convert_to_tensor(model.optimizer.learning_rate) + 0 * y[0, 0]

        metrics = [rate] if watched else []
        model.compile(keras.optimizers.SGD(0.01), "mse", metrics=metrics, run_eagerly=eagerly)
        read = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: float(model.optimizer.learning_rate)
        )
        callbacks = [LearningRate(SCHEDULE, unit="epoch"), *[read] * watched]
        how = {"batch_size": 25, "epochs": 2, "shuffle": False, "verbose": 0}
        fit = Loop(model, jit=False).fit if loop else model.fit
        return fit(*points, callbacks=callbacks, **how).history["learning_rate"]

    expected = [float(SCHEDULE.resolve(2.0)(epoch + 0.75)) for epoch in range(2)]
    assert run(True) == run(False) == pytest.approx(expected, rel=1e-6)
