"""A trial that is lost and gone on with ends as one that is not, to the bit, on one device."""

import pathlib
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf

from kopt import rules
from kopt.optimizers import Decayed, Optimizer
from kopt.tuning import Tuner

random = np.random.default_rng(0)
X = random.normal(size=(40, 3)).astype("float32")
Y = (X[:, :1] * 2 - 1 + random.normal(size=(40, 1)) / 2).astype("float32")
EPOCHS = 5


def schedule() -> Any:
    return keras.optimizers.schedules.ExponentialDecay(0.1, 5, 0.8)


class Two(keras.Model):
    """Two optimizers and a step of its own, unbuilt until it is fitted."""

    def __init__(self):
        super().__init__()
        self.first, self.drop, self.second = keras.layers.Dense(4), keras.layers.Dropout(0.3), keras.layers.Dense(1)
        self.others = [keras.optimizers.Adam(0.05), keras.optimizers.SGD(0.05, momentum=0.9)]

    def call(self, x, training=False):
        return self.second(self.drop(self.first(x), training=training))

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((self(x, training=True) - y) ** 2)
        parts = [self.first.trainable_variables, self.second.trainable_variables]
        for optimizer, part, gradients in zip(self.others, parts, tape.gradient(loss, parts)):
            optimizer.apply(gradients, part)
        return {"loss": loss}


def sequential(optimizer: Any, *, eager: bool = True) -> Any:
    dense = keras.layers.Dense
    layers = [dense(4, "relu"), keras.layers.Dropout(0.3), keras.layers.BatchNormalization(), dense(1)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.compile(optimizer, "mse", run_eagerly=eager)
    return model


def multi() -> Any:
    by_name = keras.optimizers.OptimizerMap(keras.optimizers.Adam(0.05), {".*bias": keras.optimizers.SGD(0.1, 0.9)})
    return keras.optimizers.MultiOptimizer(by_name)


def two() -> Any:
    model = Two()
    model.compile(loss="mse")
    return model


MODELS = {
    "adam with a schedule": lambda: sequential(keras.optimizers.Adam(schedule()), eager=False),
    "momentum": lambda: sequential(keras.optimizers.SGD(0.05, momentum=0.9)),
    "average": lambda: sequential(keras.optimizers.Adam(0.05, use_ema=True, ema_momentum=0.5)),
    "overwritten average": lambda: sequential(
        keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=4)
    ),
    "accumulation": lambda: sequential(keras.optimizers.Adam(0.05, gradient_accumulation_steps=3)),
    "loss scale": lambda: sequential(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.05))),
    "kopt's": lambda: sequential(Optimizer(rules.AdamW(), 0.05)),
    "decayed": lambda: sequential(Decayed(keras.optimizers.Adam(0.05), 0.01)),
    "several optimizers in one": lambda: sequential(multi()),
    "two optimizers, no build": two,
}


class Lost(keras.callbacks.Callback):
    """Ends the process, as far as the search can tell, at the beginning of the nth epoch."""

    def __init__(self, nth: int | None):
        super().__init__()
        self.nth = nth

    def __deepcopy__(self, memo):
        return self  # one for all executions

    def on_epoch_begin(self, epoch, logs=None):
        if self.nth is not None:
            self.nth -= 1
            if self.nth < 0:
                raise KeyboardInterrupt


def watchers() -> list[Any]:
    return [
        keras.callbacks.EarlyStopping("loss", patience=2, restore_best_weights=True, min_delta=0.05),
        keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, cooldown=1, min_delta=0.05),
    ]


class Kept(Tuner):
    """Keeps the weights that training ended with."""

    def run_trial(self, trial, *args, **kwargs):
        self.weights: list[Any] = []
        return super().run_trial(trial, *args, **kwargs)

    def save_build(self, trial_id, model, inputs):
        super().save_build(trial_id, model, inputs)
        self.weights.append(model.get_weights())


def search(folder: pathlib.Path, name: str, hypermodel: Any, lost: int | None, callbacks: Any = (), **how: Any) -> Kept:
    """A search of one trial; `lost` epochs after its beginning it is lost, and another tuner goes on with it."""
    fit = {"epochs": EPOCHS, "verbose": 0, "batch_size": 20} | how.pop("fit", {})
    how = {"max_trials": 1, "directory": folder, "project_name": name} | how
    if lost is not None:
        with pytest.raises(KeyboardInterrupt):
            Kept(hypermodel, "loss", **how).search(X, Y, callbacks=[*callbacks, Lost(lost)], **fit)
    tuner = Kept(hypermodel, "loss", **how)
    tuner.search(X, Y, callbacks=[*callbacks, Lost(None)], **fit)
    return tuner


def require_same(one: Kept, other: Kept) -> None:
    assert one.study.best_value == other.study.best_value
    assert one.study.best_trial.intermediate_values == other.study.best_trial.intermediate_values
    for whole, resumed in zip(one.weights[-1], other.weights[-1], strict=True):
        np.testing.assert_array_equal(whole, resumed)
    loaded = [tuner.get_best_models()[0] for tuner in (one, other)]
    for a, b in zip(*(model.get_weights() for model in loaded), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", MODELS)
def test_optimizers(name: str, tmp_path) -> None:
    plateau = [] if name in ("adam with a schedule", "two optimizers, no build") else watchers()[1:]
    whole, lost = (search(tmp_path, part, lambda hp: MODELS[name](), at, plateau) for part, at in (("a", None), ("b", 3)))
    require_same(whole, lost)
    assert len(whole.study.best_trial.intermediate_values) == EPOCHS


@pytest.mark.parametrize("at", [2, EPOCHS + 3])
def test_callbacks_and_later_executions(at: int, tmp_path) -> None:
    """EarlyStopping's best, wait and weights, ReduceLROnPlateau's, and the seeds of each execution."""
    how: dict[str, Any] = {"executions_per_trial": 2, "fit": {"epochs": 2 * EPOCHS}}
    build = MODELS["momentum"]
    whole, lost = (search(tmp_path, name, lambda hp: build(), when, watchers(), **how) for name, when in (("a", None), ("b", at)))
    require_same(whole, lost)
    ends = [len(trial.user_attrs["keras_tuner"]["metrics"]["metrics"]) for trial in (whole.study.trials[-1], lost.study.trials[-1])]
    assert ends[0] == ends[1]


def own_fit(**how: Any) -> Any:
    """A hypermodel whose fit adds a callback, and takes what it is given."""

    class Own(keras_tuner.HyperModel):
        def build(self, hp):
            return MODELS["momentum"]()

        def fit(self, hp, model, *args, callbacks, **named):
            stopping = keras.callbacks.EarlyStopping("loss", patience=1, min_delta=0.2)
            return model.fit(*args, callbacks=[*callbacks, stopping], **named)

    return Own()


class WithoutInitialEpoch(keras_tuner.HyperModel):
    def build(self, hp):
        return MODELS["momentum"]()

    def fit(self, hp, model, x, y, callbacks, verbose, epochs, batch_size):
        return model.fit(x, y, batch_size, epochs, verbose, callbacks)


class TwoFits(WithoutInitialEpoch):
    def fit(self, hp, model, *args, **named):
        model.fit(*args, **named | {"epochs": 3})
        model.optimizer.learning_rate = 0.001
        return model.fit(*args, **named)


class Ignores(WithoutInitialEpoch):
    def fit(self, hp, model, *args, initial_epoch=0, **named):
        return model.fit(*args, **named)


@pytest.mark.parametrize("at", [2, 4])
@pytest.mark.parametrize("kind", [own_fit, WithoutInitialEpoch, TwoFits, Ignores])
def test_a_fit_of_ones_own_goes_on_or_begins_anew(kind: Any, at: int, tmp_path) -> None:
    whole, lost = (search(tmp_path, name, kind(), when) for name, when in (("a", None), ("b", at)))
    require_same(whole, lost)
