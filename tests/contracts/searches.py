"""A small search, for the tests of the tuner."""

from typing import Any

import keras
import numpy as np
import optuna

from kopt.tuning import Tuner

X = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
Y = (X[:, :1] > 0).astype("int32")
DATA: dict[str, Any] = {"x": X, "y": Y, "validation_data": (X, Y), "verbose": 0}


def build(hp: Any) -> keras.Model:
    units = hp.Choice("units", [2, 8, 32])
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(units, "relu"), keras.layers.Dense(1, "sigmoid")])
    rate = hp.Float("rate", 1e-3, 1.0, sampling="log")
    model.compile(keras.optimizers.SGD(rate), "binary_crossentropy", metrics=["accuracy"], run_eagerly=True)
    return model


def told(tuner: Tuner) -> list[dict[str, Any]]:
    return [trial.params for trial in tuner.study.trials]


class Line(Tuner):
    def run_trial(self, trial, **_):
        hp = trial.hyperparameters
        return hp.Float("x", 0, 1) + (hp.Int("y", 0, 3) if hp.Boolean("more") else 0)


def line(folder, trials: int, **how: Any) -> Line:
    tuner = Line(max_trials=trials, directory=folder, **how)
    tuner.oracle.verbose = 0
    tuner.search()
    return tuner


class Interruptible(Tuner):
    """A search in which a trial may be interrupted, as by Ctrl-C."""

    def run_trial(self, trial, stop_in=None):
        if trial.trial_id == stop_in:
            raise KeyboardInterrupt
        return trial.hyperparameters.Float("x", 0, 1) + trial.hyperparameters.Choice("y", [1, 5, 6])


def interruptible(folder, trials: int, **how: Any) -> Interruptible:
    tuner = Interruptible(max_trials=trials, directory=folder, project_name="line", sampler="random", **how)
    tuner.oracle.verbose = 0
    return tuner


class StopAt(optuna.pruners.BasePruner):
    """Stops every trial but the first at a step."""

    def __init__(self, step: int):
        self.step = step

    def prune(self, study, trial):
        return trial.number > 0 and trial.last_step >= self.step
