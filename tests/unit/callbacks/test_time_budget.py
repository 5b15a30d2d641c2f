"""Budgets of time, and how fast training goes."""

import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt.callbacks import Throughput, TimeBudget
from kopt.training import Loop


@pytest.mark.parametrize(
    ("budget", "seconds"), [("30m", 1800), ("1h30m", 5400), ("90s", 90), ("2d", 172800), ("0.5h", 1800), (12, 12)]
)
def test_durations(budget, seconds: float) -> None:
    assert TimeBudget(budget).budget == seconds


@pytest.mark.parametrize(
    "budget", ["", "30", "m", "30 m", "1h-5m", 0, -1, "0s", float("inf"), float("nan"), None, True]
)
def test_bad_durations(budget) -> None:
    with pytest.raises(ValueError, match="budget must be seconds > 0 or a duration such as '30m' or '1h30m', got "):
        TimeBudget(budget)


@pytest.mark.parametrize("loop", [False, True])
def test_it_stops_in_the_middle_of_an_epoch_and_validates(loop: bool, network, points) -> None:
    def endless():
        while True:
            yield points[0][:10], points[1][:10]

    specs = tf.TensorSpec((10, 10)), tf.TensorSpec((10, 1))
    data = tf.data.Dataset.from_generator(endless, output_signature=specs)
    model = network()
    fit = Loop(model, jit=False).fit if loop else model.fit
    started = time.monotonic()
    how = {"steps_per_epoch": 10**6, "epochs": 5, "validation_data": points, "shuffle": False, "verbose": 0}
    history = fit(data, callbacks=[TimeBudget(1.0)], **how)
    assert 1 <= time.monotonic() - started < 30 and history.epoch == [0] and len(history.history["val_loss"]) == 1


def test_throughput_counts_examples_and_waits(network, points) -> None:
    def slow():
        for first in range(0, 100, 10):
            time.sleep(0.01)
            yield points[0][first : first + 10], points[1][first : first + 10]

    specs = tf.TensorSpec((10, 10)), tf.TensorSpec((10, 1))
    data = tf.data.Dataset.from_generator(slow, output_signature=specs)
    started = time.perf_counter()
    logs = Loop(network(), jit=False).fit(data, epochs=3, callbacks=[Throughput()], verbose=0).history
    seconds = time.perf_counter() - started
    steps = np.array(logs["step_seconds"])
    np.testing.assert_allclose(logs["examples_per_second"], 10 / steps, rtol=1e-6)
    np.testing.assert_allclose(np.add(logs["data_seconds"], logs["compute_seconds"]), steps, rtol=1e-6)
    assert 0.005 < logs["data_seconds"][-1] < steps[-1] and 10 * steps.sum() < seconds


@pytest.mark.parametrize("loop", [False, True])
def test_throughput_leaves_validation_out(loop: bool, network, points) -> None:
    class Sleeps(keras.callbacks.Callback):
        def on_test_begin(self, logs=None):
            time.sleep(0.8)

    model = network()
    fit = Loop(model, jit=False).fit if loop else model.fit
    how = {"validation_data": (points[0][:30], points[1][:30]), "epochs": 2, "verbose": 0}
    started = time.perf_counter()
    logs = fit(*points, batch_size=10, callbacks=[Throughput(), Sleeps()], **how).history
    assert 10 * sum(logs["step_seconds"]) < time.perf_counter() - started - 2 * 0.8
    np.testing.assert_allclose(logs["examples_per_second"], 10 / np.array(logs["step_seconds"]), rtol=1e-6)


def test_epochs_that_run_in_one_call_share_its_time(network, points) -> None:
    started = time.perf_counter()
    logs = Loop(network()).fit(*points, epochs=200, batch_size=10, callbacks=[Throughput()], verbose=0).history
    assert 10 * sum(logs["step_seconds"]) < time.perf_counter() - started
    np.testing.assert_allclose(logs["examples_per_second"], 10 / np.array(logs["step_seconds"]), rtol=1e-6)
