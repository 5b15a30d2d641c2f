"""Callbacks whose states are taken and put back in the middle of an epoch, in a user's loop."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt import callbacks, schedules
from kopt.keras_internals import global_seeds
from kopt.state import Knob, Snapshot, training_variables
from kopt.training import TrainStep
from kopt.training.checkpoint.callback_states import restore_states, states_of

EPOCHS, STEPS = 4, 10
BREAK = 1, 4  # the epoch and the batch after which the run breaks
POISONED = ((0, 5), (1, 1), (2, 3))  # batches before which weights become infinite
TIMES = ("seconds", "examples_per_second", "step_seconds")


def all_callbacks(folder) -> list[keras.callbacks.Callback]:
    return [
        callbacks.Throughput(),
        callbacks.GradientMonitor(2, noise=True),
        callbacks.LearningRate(schedules.Linear(0.02), unit="epoch", per_step=True),
        callbacks.Scheduled(Knob(1.0, name="dial"), schedules.Linear(1.0), unit="epoch"),
        callbacks.Average(callbacks.LAWA(2)),
        callbacks.SpikeGuard(1000, patience=1),
        callbacks.LayerRates(depth_decay=0.5, unfreeze=2),
        callbacks.ReduceOnPlateau("loss", patience=1, min_delta=1e9),
        callbacks.EpochTime(),
        keras.callbacks.ModelCheckpoint(folder / "{epoch}-{batch}.weights.h5", save_weights_only=True, save_freq=8),
        keras.callbacks.EarlyStopping("loss", patience=9),
        keras.callbacks.CSVLogger(folder / "log.csv"),
        keras.callbacks.History(),
    ]


def changing(model) -> list[Any]:
    step = model.train_step
    extra = step.variables if isinstance(step, TrainStep) else ()
    return training_variables(model, extra, without=global_seeds())


def train(model, points, folder, begin=None, states=True) -> dict[str, Any]:
    """Train from the beginning or from a break; return what is left, and what a checkpoint at the break has."""
    model.optimizer.build(model.trainable_variables)
    model.optimizer.iterations.assign(0 if begin else 7)  # of a fit before
    model.test_on_batch(points[0][:10], points[1][:10])  # makes the metrics' variables
    folder.mkdir()
    listed = all_callbacks(folder)
    called = keras.callbacks.CallbackList(listed, model=model, epochs=EPOCHS, steps=STEPS, verbose=0)
    model.make_train_function()
    called.on_train_begin()
    first, kept, dials = (0, -1) if begin is None else BREAK, None, []
    for epoch in range(first[0], EPOCHS):
        called.on_epoch_begin(epoch)
        model.reset_metrics()
        done = first[1] + 1 if epoch == first[0] else 0
        if done:
            Snapshot(changing(model), begin[0]).restore()
            if states:
                restore_states(listed, begin[1])
        data = iter(tf.data.Dataset.from_tensor_slices(points).batch(10).skip(done))
        for batch in range(done, STEPS):
            if (epoch, batch) in POISONED:
                model.layers[-1].bias.assign([np.inf])
            called.on_train_batch_begin(batch)
            called.on_train_batch_end(batch, model.train_function(data))
            if (epoch, batch) == BREAK:
                kept = Snapshot(changing(model)).values, states_of(listed)
        dials += [float(listed[3].variable)] if epoch >= BREAK[0] else []
        called.on_epoch_end(epoch, model.get_metrics_result())
    left = {name: values for name, values in listed[-1].history.items() if name not in TIMES}
    left |= {"weights": [one.tolist() for one in model.get_weights()], "rates": listed[2].rates.tolist()}
    left["dials"] = dials
    left["saved"] = sorted(file.name for file in folder.glob("[34]*.h5"))
    left["log.csv"] = [line.split(",")[:2] for line in (folder / "log.csv").read_text().splitlines()]
    called.on_train_end()
    return {"kept": kept, **left}


@pytest.fixture
def whole(network, points, tmp_path) -> dict[str, Any]:
    return train(network(keras.optimizers.SGD(0.01, momentum=0.9)), points, tmp_path / "whole")


def test_a_run_goes_on_in_mid_epoch_to_the_bit(whole, network, points, tmp_path) -> None:
    build = lambda: network(keras.optimizers.SGD(0.01, momentum=0.9))
    begin = whole.pop("kept")
    assert whole["spikes"] == [1, 1, 1, 0] and len(whole["rates"]) == 37  # three are skipped
    found = train(build(), points, tmp_path / "resumed", begin)
    assert [name for name in whole if repr(found[name]) != repr(whole[name])] == []
    without = train(build(), points, tmp_path / "without", begin, states=False)
    differing = {name for name in whole if repr(without[name]) != repr(whole[name])}
    assert differing >= {
        "weights",
        "loss",
        "spikes",
        "rates",
        "gradient_norm",
        "noise_scale",
        "dials",
        "log.csv",
        "saved",
    }
