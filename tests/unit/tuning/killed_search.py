"""Searches, each in a fork that kills itself in the middle of an epoch, or is not killed.

    python killed_search.py KIND '[[folder, update], ...]'

KIND is "recipe", for a search over a recipe, or "fit", for a hypermodel of a user's that calls kopt.fit; either trains
for 4 epochs of 5 updates. The process of a search is killed when its trial has made so many updates, 0 for none. What
is printed is a JSON list of what each has ended with: a negative signal, or [found, updates that were made here]. Found
are the score, the SHA-256 of the last epoch's weights and optimizer, that of the best epoch's weights, the values of
the epochs, and what a callback has counted that declares no state.
"""

import hashlib
import json
import os
import signal
import sys
import threading
from typing import Any

import keras
import keras_tuner
import numpy as np

import kopt
from kopt import data, models, schedules
from kopt.callbacks import EMA
from kopt.tuning import HyperModel, Range, Tuner
from kopt.tuning.trial import checkpoints

RECIPE = kopt.Recipe(
    "searched",
    data.Digits(examples=120),
    augment=kopt.augment.Shift(0.06, 0.06),
    model=models.MLP((8, 8, 1), 10, units=(16,), dropout=0.2, scale=1 / 16),
    schedule=schedules.Cosine(0.02).warmup(1),
    average=EMA(0.9),
    training=kopt.Training(epochs=4, batch_size=16, patience=3),
)
random = np.random.default_rng(0)
X = random.normal(size=(80, 3)).astype("float32")
Y = (X[:, :1] * 2 - 1 + random.normal(size=(80, 1)) / 2).astype("float32")


class OnesOwn(keras_tuner.HyperModel):
    """Trains by kopt.fit, with a callback of its own."""

    def build(self, hp: Any) -> Any:
        dense = keras.layers.Dense
        layers = [dense(8, "relu"), keras.layers.Dropout(hp.Float("dropout", 0.1, 0.4)), dense(1)]
        model = keras.Sequential([keras.Input((3,)), *layers])
        model.compile(keras.optimizers.Adam(0.01), "mse")
        return model

    def fit(self, hp: Any, model: Any, x: Any, y: Any, callbacks: Any = (), **named: Any) -> Any:
        stopping = keras.callbacks.EarlyStopping("loss", patience=2, restore_best_weights=True)
        return kopt.fit(model, x, y, epochs=4, batch_size=16, callbacks=[stopping, *callbacks], verbose=0)


class Watch(keras.callbacks.Callback):
    """Kills the process after an update; it declares no state, but has a sum."""

    def __init__(self, update: int):
        super().__init__()
        self.update, self.sum, self.made = update, 0.0, iter(range(10**6))

    def __deepcopy__(self, memo: object) -> "Watch":
        return self

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        next(self.made)
        self.sum += float(logs["loss"])
        for one in threading.enumerate():
            if one.name == "kopt-checkpoint":  # so that none is left out for another that is being written
                one.join()
        if self.update and int(keras.ops.convert_to_numpy(self.model.optimizer.iterations)) == self.update:
            os.kill(os.getpid(), signal.SIGKILL)


class Kept(Tuner):
    """Keeps the state that training ended with."""

    def save_build(self, trial_id: str, model: Any, inputs: Any) -> None:
        super().save_build(trial_id, model, inputs)
        self.last = digest([*model.get_weights(), *(one.numpy() for one in model.optimizer.variables)])


def digest(arrays: list[np.ndarray]) -> str:
    """Return the SHA-256 of arrays."""
    found = hashlib.sha256()
    for one in arrays:
        found.update(np.ascontiguousarray(one).tobytes())
    return found.hexdigest()


def search(kind: str, folder: str, update: int) -> list[Any]:
    """Run or go on with a search; return what it has found."""
    watch = Watch(update)
    if kind == "recipe":
        hypermodel: Any = HyperModel(RECIPE, {"schedule.rate": Range(1e-3, 1e-1, log=True)})
        tuner = Kept(hypermodel, "val_loss", max_trials=1, directory=folder)
        tuner.search(verbose=0, callbacks=[watch])
    else:
        worst = keras_tuner.Objective("loss", "max")  # the first epoch, which is over when the process is killed
        tuner = Kept(OnesOwn(), worst, max_trials=1, directory=folder)
        tuner.search(X, Y, verbose=0, callbacks=[watch])
    best = digest(tuner.get_best_models()[0].get_weights())
    values = sorted(tuner.study.best_trial.intermediate_values.items())
    return [[tuner.study.best_value, tuner.last, best, values, watch.sum], next(watch.made)]


def in_fork(*job: Any) -> Any:
    """Call `search` in a fork; return what it returns, or how the fork has ended."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, json.dumps(search(*job)).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        found = file.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return json.loads(found) if found else code


if __name__ == "__main__":
    checkpoints.EVERY = "2 steps"
    print(json.dumps([in_fork(sys.argv[1], *job) for job in json.loads(sys.argv[2])]))
