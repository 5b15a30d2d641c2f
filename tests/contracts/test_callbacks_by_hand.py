"""Callbacks in loops that a user writes: each acts there, or says what it misses.

A loop says which callback methods it calls and how it trains; a callback says what it needs of that.
"""

import pathlib

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf
from examples import CALLBACKS

from kopt import callbacks, schedules
from kopt.state import Knob
from kopt.training import ProgressBar
from kopt.tuning.trial.checkpoints import TrialCheckpoint
from kopt.tuning.trial.progress import Progress

(TOGETHER,) = (name for name in CALLBACKS if " + " in name)
IN_HAND = {
    **{name: make for name, make in CALLBACKS.items() if " + " not in name},
    **{name: lambda one=one: [one] for name, one in zip(TOGETHER.split(" + "), CALLBACKS[TOGETHER]())},
    "learning_rate, closed": lambda: [callbacks.LearningRate(schedules.Step(0.1, 0.5, every=1), unit="epoch")],
    "scheduled, closed": lambda: [callbacks.Scheduled(Knob(name="dial"), schedules.Step(0.1, 0.5, every=1))],
    "progress_bar": lambda: [ProgressBar(live=False)],
    "progress_bar, live": lambda: [ProgressBar(live=True)],
    "checkpoint": lambda: [TrialCheckpoint(Progress(pathlib.Path("trial")), keras_tuner.Objective("loss", "min"))],
}
NEEDS = {
    "average": {"begin", "step", "compiled"},
    "average, swa": {"begin", "run", "compiled"},
    "average, lawa": {"begin", "compiled"},
    "gradient_monitor": {"step", "compiled"},
    "layer_rates": {"step", "compiled"},
    "learning_rate": {"begin", "run", "compiled"},
    "learning_rate, closed": {"begin", "compiled"},
    "scheduled": {"begin", "run", "compiled"},
    "scheduled, closed": {"begin", "compiled"},
    "reduce_on_plateau": {"compiled"},
    "spike_guard": {"begin", "batch", "step", "compiled"},
    "throughput": {"compiled"},
    "validate_every": {"run"},
    "batch_logs": {"step", "compiled"},
}
LOOPS: dict[str, tuple] = {
    # first epoch, type of the logs, how a batch is trained, and what is missing: on_epoch_begin, batch methods, the
    # length of the run, the model's train_step, a compiled model
    "ends of epochs, from 0": (0, np.float32, "train_on_batch", {"begin", "batch", "run"}),
    "ends of epochs, from 1": (1, None, "tape", {"begin", "batch", "run", "step"}),
    "epochs, from 1": (1, tf.constant, "train_on_batch", {"batch", "run"}),
    "epochs, from 0": (0, float, "tape", {"batch", "run", "step"}),
    "batches": (0, np.float32, "train_on_batch", {"run"}),
    "uncompiled": (0, float, "none", {"begin", "batch", "run", "step", "compiled"}),
}


def by_hand(model, points, listed, loop: str) -> None:
    """Train as a user's loop does, without set_params, on_train_begin and on_train_end."""
    first, number, how, lacks = LOOPS[loop]
    for one in listed:
        one.set_model(model)
    x, y = (tf.constant(part[:40]) for part in points)
    for epoch in range(first, first + 3):
        for one in [] if "begin" in lacks else listed:
            one.on_epoch_begin(epoch)
        for batch in range(2):
            for one in [] if "batch" in lacks else listed:
                one.on_train_batch_begin(batch)
            train_batch(model, x[batch * 20 :][:20], y[batch * 20 :][:20], how)
            for one in [] if "batch" in lacks else listed:
                one.on_train_batch_end(batch, {"loss": number(1.0)})
        logs = None if number is None else {"loss": number(1.0 / (epoch + 1)), "mae": number(1.0)}
        for one in listed:
            one.on_epoch_end(epoch, logs)


def train_batch(model, x, y, how: str) -> None:
    if how == "train_on_batch":
        model.train_on_batch(x, y)
    elif how == "tape":
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x, training=True) - y))
        weights = model.trainable_weights
        model.optimizer.apply(tape.gradient(loss, weights), weights)


@pytest.mark.parametrize("name", IN_HAND)
@pytest.mark.parametrize("loop", LOOPS)
def test_in_a_loop_of_the_users_it_acts_or_says_so(name, loop, network, points, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = network("sgd", run_eagerly=True)
    if loop == "uncompiled":
        model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(1)])
    if NEEDS.get(name, set()) & LOOPS[loop][-1]:
        with pytest.raises(ValueError, match=r"^[^\n]* must [^\n]*, got [^\n]*\.$"):
            by_hand(model, points, IN_HAND[name](), loop)
        return
    by_hand(model, points, listed := IN_HAND[name](), loop)
    if name == "learning_rate, closed":
        assert float(model.optimizer.learning_rate) == pytest.approx(0.1 * 0.5**2)
    if name == "reduce_on_plateau" and LOOPS[loop][1] is not None and loop != "uncompiled":
        assert float(model.optimizer.learning_rate) == pytest.approx(0.01 * 0.25)
    for one in listed:
        if isinstance(one, callbacks.Average):
            one.close()
            assert float(one.averaged.count) > 0
