"""A trial that is lost and gone on with ends as one that is not, to the bit, on one device."""

import collections
import dataclasses
import json
import pathlib
import shutil
import signal
import subprocess
import sys
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf
from examples import RECIPE

from kopt import rules
from kopt.callbacks import SWA
from kopt.optimizers import Decayed, Optimizer
from kopt.tuning import HyperModel, Range, Tuner
from kopt.tuning.trial import checkpoints
from kopt.tuning.trial.progress import Progress

random = np.random.default_rng(0)
X = random.normal(size=(40, 3)).astype("float32")
Y = (X[:, :1] * 2 - 1 + random.normal(size=(40, 1)) / 2).astype("float32")
EPOCHS = 4


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
        # No plain values, which would be gone on with.
        self.left = None if nth is None else iter(range(nth))
        self.begun: collections.deque[int] = collections.deque()

    def __deepcopy__(self, memo):
        return self  # one for all executions

    def on_epoch_begin(self, epoch, logs=None):
        self.begun.append(epoch)
        if self.left is not None and next(self.left, None) is None:
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
def test_optimizers(name: str, tmp_path, caplog) -> None:
    plateau = [] if name in ("adam with a schedule", "two optimizers, no build") else watchers()[1:]
    build = lambda hp: MODELS[name]()
    whole, lost = (search(tmp_path, part, build, at, plateau) for part, at in (("a", None), ("b", 2)))
    require_same(whole, lost)
    assert len(whole.study.best_trial.intermediate_values) == EPOCHS
    assert ("anew" in caplog.text) == ("no build" in name)  # it has no weights yet when its fit begins


@pytest.mark.parametrize("at", [3, EPOCHS + 3])
def test_callbacks_and_later_executions(at: int, tmp_path, caplog) -> None:
    """EarlyStopping's best, wait and weights, ReduceLROnPlateau's, and the seeds of each execution."""
    found = []
    for part, when in (("a", None), ("b", at)):
        build = lambda hp: MODELS["momentum"]()
        how: dict[str, Any] = {"executions_per_trial": 2, "fit": {"epochs": 2 * EPOCHS}}
        found.append(search(tmp_path, part, build, when, watchers(), **how))
    require_same(*found)
    assert "anew" not in caplog.text


class WithACallback(keras_tuner.HyperModel):
    """Calls it after the tuner's."""

    def build(self, hp):
        return MODELS["momentum"]()

    def fit(self, hp, model, *args, callbacks, **named):
        stopping = keras.callbacks.EarlyStopping("loss", patience=2, min_delta=0.3)
        return model.fit(*args, callbacks=[*callbacks, stopping], **named)


class WithoutInitialEpoch(WithACallback):
    def fit(self, hp, model, x, y, callbacks, verbose, epochs, batch_size):
        return model.fit(x, y, batch_size, epochs, verbose, callbacks)


class TwoFits(WithACallback):
    def fit(self, hp, model, *args, **named):
        model.fit(*args, **named | {"epochs": 3})
        model.optimizer.learning_rate = 0.001
        return model.fit(*args, **named)


class Ignores(WithACallback):
    def fit(self, hp, model, *args, initial_epoch=0, **named):
        return model.fit(*args, **named)


class Loop(WithACallback):
    """A loop of one's own over a model that is not compiled."""

    def build(self, hp):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.3), keras.layers.Dense(1)])
        model.optimizer = keras.optimizers.Adam(0.05)
        return model

    def fit(self, hp, model, x, y, callbacks, epochs, initial_epoch=0, **named):
        called = keras.callbacks.CallbackList(callbacks, model=model)
        called.on_train_begin()
        for epoch in range(initial_epoch, epochs):
            called.on_epoch_begin(epoch)
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((model(x, training=True) - y) ** 2)
            weights = model.trainable_variables
            model.optimizer.apply(tape.gradient(loss, weights), weights)
            called.on_epoch_end(epoch, {"loss": loss})
        return float(loss)


GO_ON = (WithACallback, Loop)


@pytest.mark.parametrize(
    ("kind", "at"), [(WithACallback, 3), (Loop, 2), (WithoutInitialEpoch, 2), (TwoFits, 2), (TwoFits, 4), (Ignores, 2)]
)
def test_a_fit_of_ones_own_goes_on_or_begins_anew(kind: Any, at: int, tmp_path, caplog) -> None:
    fit = {"epochs": 2 * EPOCHS} if kind is WithACallback else {}
    whole, lost = (search(tmp_path, name, kind(), when, fit=fit) for name, when in (("a", None), ("b", at)))
    require_same(whole, lost)
    assert ("anew" in caplog.text) == (kind not in GO_ON)


def test_a_recipe_goes_on_with_its_average_augmentation_and_patience(tmp_path, caplog, monkeypatch) -> None:
    monkeypatch.setattr(checkpoints, "EVERY", "1 epoch")
    training = dataclasses.replace(RECIPE.training, patience=2, micro_batches=2)
    recipe = dataclasses.replace(
        RECIPE, training=training, model=dataclasses.replace(RECIPE.model, dropout=0.3), average=SWA(0.4)
    )
    found = []
    for part, lost in (("a", None), ("b", 2)):
        hypermodel = HyperModel(recipe, {"schedule.rate": Range(1e-3, 1e-1, log=True)})
        how: dict[str, Any] = {"max_trials": 1, "directory": tmp_path, "project_name": part}
        if lost is not None:
            with pytest.raises(KeyboardInterrupt):
                Kept(hypermodel, "val_loss", **how).search(callbacks=[Lost(lost)], verbose=0)
        found.append(Kept(hypermodel, "val_loss", **how))
        found[-1].search(callbacks=[last := Lost(None)], verbose=0)
    require_same(*found)
    assert "anew" not in caplog.text and last.begun[0] > 0


@pytest.mark.parametrize("kind", ["recipe", "fit"])
def test_a_trial_that_is_killed_in_mid_epoch_goes_on_there(kind: str, tmp_path) -> None:
    """Where kopt trains it: 2 steps at most are trained again, with the same bits."""
    whole, ended = str(tmp_path / "whole"), str(tmp_path / "ended")
    jobs = json.dumps([[whole, 0], [ended, 4], [ended, 14], [ended, 0]])
    command = [sys.executable, str(pathlib.Path(__file__).with_name("killed_search.py")), kind, jobs]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    one, first, second, other = json.loads(done.stdout)
    assert (first, second) == (-signal.SIGKILL, -signal.SIGKILL), done.stderr
    assert one[0] == other[0] and (one[1], other[1]) == (20, 8) and "anew" not in done.stderr
    assert not list((tmp_path / "ended").rglob("last")) and not list((tmp_path / "ended").rglob("progress*"))


def test_a_trial_that_an_older_version_began_begins_anew(tmp_path, caplog) -> None:
    build = lambda hp: MODELS["momentum"]()
    whole = search(tmp_path, "a", build, None)
    with pytest.raises(KeyboardInterrupt):
        fit = {"epochs": EPOCHS, "verbose": 0, "batch_size": 20, "callbacks": [Lost(2)]}
        Kept(build, "loss", max_trials=1, directory=tmp_path, project_name="b").search(X, Y, **fit)
    folder = tmp_path / "b" / "trial_0"
    shutil.rmtree(folder / "last")
    fields = {"of": {}, "values": {}, "finished": [], "epochs": [{"loss": 1.0}], "last": "last-1", "best": 1.0}
    (folder / "progress.json").write_text(json.dumps(fields | {"best_before": None}))
    for name in ("last-1.npz", "last-1.weights.h5"):
        (folder / name).write_bytes(b"of kopt 0.1")
    lost = search(tmp_path, "b", build, None)
    require_same(whole, lost)
    assert "trial 1 begins anew: an older version of kopt began it" in caplog.text
    assert sorted(path.name for path in (tmp_path / "b" / "trial_1").iterdir()) == [
        "build_config.json",
        "checkpoint.weights.h5",
    ]


def test_a_trial_with_other_callbacks_begins_anew_and_says_why(tmp_path, caplog) -> None:
    build = lambda hp: MODELS["momentum"]()
    whole = search(tmp_path, "a", build, None)
    with pytest.raises(KeyboardInterrupt):
        fit = {"epochs": EPOCHS, "verbose": 0, "batch_size": 20, "callbacks": [*watchers(), Lost(2)]}
        Kept(build, "loss", max_trials=1, directory=tmp_path, project_name="b").search(X, Y, **fit)
    require_same(whole, search(tmp_path, "b", build, None))
    assert (
        "trial 1 begins its execution 0 anew: callbacks must be those of the checkpoint: [0] was EarlySt" in caplog.text
    )


def test_a_trial_does_not_go_on_under_other_terms(tmp_path, caplog) -> None:
    """Of weights trained on other rows, some would be validated on rows that they have seen."""

    class Own(Kept):
        rows, batch = X, 20

        def run_trial(self, trial, *args, **named):
            return super().run_trial(trial, self.rows, Y, **named | {"batch_size": self.batch})

    how: dict[str, Any] = {"max_trials": 1, "directory": tmp_path}
    build = lambda hp: MODELS["momentum"]()
    whole = type("Whole", (Own,), {"rows": X + 1})(build, "loss", project_name="whole", **how)
    whole.search(verbose=0, epochs=EPOCHS)
    for name, changed in (("data", {"rows": X + 1}), ("nothing", {})):
        with pytest.raises(KeyboardInterrupt):
            Own(build, "loss", project_name=name, **how).search(verbose=0, epochs=EPOCHS, callbacks=[Lost(2)])
        caplog.clear()
        again = type("Again", (Own,), changed)(build, "loss", project_name=name, **how)
        again.search(verbose=0, epochs=EPOCHS)
        assert ("begins anew: other" in caplog.text) == bool(changed)
    again = Kept(build, "loss", project_name="data", **how)
    assert again.study.best_trial.intermediate_values == whole.study.best_trial.intermediate_values


@pytest.mark.parametrize("damage", ["progress.json", "last/step-000000000002.safetensors"])
def test_a_broken_checkpoint_is_not_gone_on_from(damage: str, tmp_path, caplog) -> None:
    build = lambda hp: MODELS["momentum"]()
    whole = search(tmp_path, "a", build, None)
    with pytest.raises(KeyboardInterrupt):
        fit = {"epochs": EPOCHS, "verbose": 0, "batch_size": 20, "callbacks": [Lost(2)]}
        Kept(build, "loss", max_trials=1, directory=tmp_path, project_name="b").search(X, Y, **fit)
    (tmp_path / "b" / "trial_0" / damage).write_bytes(b"")
    lost = search(tmp_path, "b", build, None)
    require_same(whole, lost)
    assert "begins" in caplog.text and "anew" in caplog.text


def test_an_ended_execution_leaves_nothing_for_the_next_to_go_on_from(tmp_path, monkeypatch) -> None:
    """Whenever the process dies: an execution that is recorded as ended has no checkpoint any more."""
    progress, order = Progress(tmp_path), []
    monkeypatch.setattr(progress, "write", lambda: order.append("recorded"))
    monkeypatch.setattr(progress.checkpoints, "remove", lambda: order.append("removed"))
    progress.end_execution({"loss": 1.0})
    assert order == ["removed", "recorded"]
