"""What users of KerasTuner write: loops by hand, models of their own, nested scopes, strategies; and what they see."""

import pathlib
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf
from searches import StopAt

from kopt.tuning import Tuner
from kopt.tuning.search.retries import RETRIES
from kopt.tuning.trial.objectives import measured

X = np.random.default_rng(0).normal(size=(20, 3)).astype("float32")
Y = X[:, :1]
DATA: dict[str, Any] = {"x": X, "y": Y, "validation_data": (X, Y), "verbose": 0}


def build(hp: Any) -> keras.Model:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(keras.optimizers.SGD(hp.Float("rate", 0.01, 0.1)), "mse", run_eagerly=True)
    return model


class Loop(keras_tuner.HyperModel):
    """The loop of KerasTuner's guide: `set_model` and `on_epoch_end`, and nothing else, are called."""

    first, as_given, obeys, epochs, ran = 0, float, False, 4, 0

    def build(self, hp):
        return build(hp)

    def fit(self, hp, model, x, y, validation_data, callbacks=None, **_):
        rate, best = hp.get("rate"), float("inf")
        for callback in callbacks:
            callback.set_model(model)
        for epoch in range(self.first, self.first + self.epochs):
            self.ran += 1
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((model(x) - y) ** 2)
            for weight, gradient in zip(model.trainable_variables, tape.gradient(loss, model.trainable_variables)):
                weight.assign_sub(rate * gradient)
            value = keras.losses.MeanSquaredError()(validation_data[1], model(validation_data[0]))
            for callback in callbacks:
                callback.on_epoch_end(epoch, logs={"my_metric": self.as_given(value)})
            best = min(best, float(value))
            if self.obeys and model.stop_training:
                break
        return best


def loop(folder: pathlib.Path, **how: Any) -> tuple[Loop, Tuner]:
    own = {name: how.pop(name) for name in list(how) if hasattr(Loop, name)}
    hypermodel = type("Own", (Loop,), own)()
    tuner = Tuner(hypermodel, keras_tuner.Objective("my_metric", "min"), directory=folder, **how)
    tuner.search(X, Y, validation_data=(X, Y), verbose=0)
    return hypermodel, tuner


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("as_given", [float, np.float32, np.asarray, lambda value: value])
def test_a_loop_by_hand_reports_and_keeps_its_best_epoch(first: int, as_given: Any, tmp_path) -> None:
    _, tuner = loop(tmp_path, max_trials=1, first=first, as_given=staticmethod(as_given))
    trial = tuner.study.best_trial
    assert sorted(trial.intermediate_values) == list(range(first + 1, first + 5))
    assert trial.value == min(trial.intermediate_values.values())
    (model,) = tuner.get_best_models()
    assert float(np.mean((model(X) - Y) ** 2)) == pytest.approx(trial.value)


@pytest.mark.parametrize("obeys", [False, True])
def test_a_loop_by_hand_is_stopped_whether_it_obeys_or_not(obeys: bool, tmp_path) -> None:
    own, tuner = loop(tmp_path, max_trials=2, pruner=StopAt(2), obeys=obeys)
    assert [one.state.name for one in tuner.study.trials] == ["COMPLETE", "PRUNED"]
    assert tuner.study.trials[1].last_step == 2 and own.ran == (6 if obeys else 7)
    pruned = tuner.oracle.get_best_trials(2)[1]
    assert pruned.score == pytest.approx(min(tuner.study.trials[1].intermediate_values.values()))


def test_a_lost_loop_by_hand_begins_anew(tmp_path) -> None:
    def fail(value):
        if len(Loop.seen) == 2:
            Loop.seen.clear()
            raise KeyboardInterrupt
        Loop.seen.append(1)
        return value

    Loop.seen = []
    with pytest.raises(KeyboardInterrupt):
        loop(tmp_path, max_trials=1, as_given=staticmethod(fail))
    _, tuner = loop(tmp_path, max_trials=1)
    _, whole = loop(tmp_path / "whole", max_trials=1)
    assert tuner.study.best_trial.intermediate_values == whole.study.best_trial.intermediate_values


@pytest.mark.parametrize("kind", ["one input", "named inputs", "own build", "sequential", "dataset", "two optimizers"])
def test_models_without_an_input_are_loaded(kind: str, tmp_path) -> None:
    class Network(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)
            if kind == "named inputs":
                self.table = keras.layers.Embedding(5, 2)

        def call(self, x):
            parts = [x["a"], self.table(x["b"])] if kind == "named inputs" else [x]
            return self.dense(keras.ops.concatenate(parts, -1))

    class Built(Network):
        def build(self, input_shape):
            self.dense.build(input_shape)
            self.built = True

    def unbuilt(hp):
        hp.Int("units", 1, 3)
        sequential = keras.Sequential([keras.layers.Dense(1)])
        model = Built() if kind == "own build" else sequential if kind == "sequential" else Network()
        if kind == "two optimizers":
            model.others = [keras.optimizers.Adam(), keras.optimizers.SGD(momentum=0.9)]
        model.compile("adam", "mse", run_eagerly=True)
        return model

    x = {"a": X, "b": np.arange(20) % 5} if kind == "named inputs" else X
    data = tf.data.Dataset.from_tensor_slices((x, Y)).batch(8)
    given = [data] if kind == "dataset" else [x, Y]
    tuner = Tuner(unbuilt, "val_loss", max_trials=1, directory=tmp_path)
    tuner.search(*given, validation_data=data, verbose=0, shuffle=kind != "dataset")
    (model,) = tuner.get_best_models()
    assert model.evaluate(data, verbose=0) == pytest.approx(tuner.study.best_value)
    assert int(model.optimizer.iterations) > 0


def test_a_model_that_cannot_be_built_again_says_what_to_do(tmp_path) -> None:
    class Network(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)

        def call(self, first, second=None):
            return self.dense(first)

        def fit(self, *_, callbacks, **__):
            self(X, second=X)
            for callback in callbacks:
                callback.set_model(self)
                callback.on_epoch_end(0, {"val_loss": 1.0})
            return 1.0

        def get_build_config(self):
            return None

    tuner = Tuner(lambda hp: (hp.Int("units", 1, 2), Network())[1], "val_loss", max_trials=1, directory=tmp_path)
    tuner.search()  # its fit has data of its own, and no compile
    with pytest.raises(ValueError, match=r"^model must have an Input or a build\(input_shape\), .* got 'Network'\.$"):
        tuner.get_best_models()


def test_a_stock_fit_without_data_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"^x must be data to train on, got None\.$"):
        Tuner(build, "val_loss", directory=tmp_path).search()


def test_every_model_is_built_and_loaded_in_the_strategys_scope(tmp_path) -> None:
    scopes: list[bool] = []

    def seen(hp):
        scopes.append(tf.distribute.has_strategy())
        return build(hp)

    how: dict[str, Any] = {"distribution_strategy": tf.distribute.MirroredStrategy(["CPU:0"]), "directory": tmp_path}
    tuner = Tuner(seen, "val_loss", max_trials=1, **how)
    tuner.search(**DATA)
    (model,) = tuner.get_best_models()
    assert all(scopes) and model.optimizer.built
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(tuner.study.best_value)


def nested(hp: Any) -> dict[str, Any]:
    """Scopes on one parent within each other and twice, on a parent under a condition, and by `parent_name`."""
    kind, got = hp.Choice("kind", ["dense", "conv"]), {}
    with hp.conditional_scope("kind", ["conv"]):
        got["convs"] = hp.Int("convs", 1, 3)
        for place in range(1, 4):
            with hp.conditional_scope("convs", list(range(place, 4))):
                got[f"filters_{place}"] = hp.Int(f"filters_{place}", 1, 9)
                with hp.conditional_scope("kind", ["conv"]):
                    got[f"size_{place}"] = hp.Choice(f"size_{place}", [3, 5])
    with hp.conditional_scope("convs", [3]):
        got["deep"] = hp.Boolean("deep")
    with hp.conditional_scope("kind", ["conv"]):
        got["pool"] = hp.Choice("pool", [2, 3])
    got["rest"] = hp.Float("rest", 0, 1, parent_name="deep", parent_values=True)
    return {"kind": kind} | got


def test_scopes_may_be_nested_on_one_parent(tmp_path) -> None:
    class Nested(Tuner):
        def run_trial(self, trial, **_):
            got = nested(trial.hyperparameters)
            convs = got["convs"] or 0
            expected = {"convs", "pool"} if got["kind"] == "conv" else set()
            expected |= {f"{name}_{place}" for place in range(1, convs + 1) for name in ("filters", "size")}
            expected |= {"deep"} if convs == 3 else set()
            expected |= {"rest"} if got["deep"] else set()
            assert {name for name, value in got.items() if value is not None} - {"kind"} == expected
            return float(convs)

    tuner = Nested(objective=None, max_trials=30, sampler="random", directory=tmp_path)
    tuner.search(verbose=0)
    assert all(one.state.name == "COMPLETE" for one in tuner.study.trials)
    assert {one.value for one in tuner.study.trials} == {0, 1, 2, 3}
    again = Nested(objective=None, max_trials=30, sampler="random", directory=tmp_path)
    for trial in (*tuner.oracle.get_best_trials(30), *again.oracle.get_best_trials(30)):
        got = nested(trial.hyperparameters)
        assert {name: value for name, value in got.items() if value is not None} == trial.hyperparameters.values
    assert nested(tuner.oracle.get_space())["kind"] == "dense"


def test_scopes_may_stand_on_hyperparameters_that_were_given(tmp_path) -> None:
    class Given(Tuner):
        def run_trial(self, trial, **_):
            hp = trial.hyperparameters
            with hp.conditional_scope("kind", ["b"]), hp.conditional_scope("kind", ["b"]):
                only = hp.Int("only", 1, 3)
            return float(only or 0)

    hp = keras_tuner.HyperParameters()
    hp.Choice("kind", ["a", "b"])
    tuner = Given(objective=None, max_trials=12, sampler="random", hyperparameters=hp, directory=tmp_path)
    tuner.search(verbose=0)
    drawn = [any(name.startswith("only") for name in one.params) for one in tuner.study.trials]
    assert [one.value > 0 for one in tuner.study.trials] == drawn and set(drawn) == {True, False}


def test_the_values_of_a_trial_are_shown_once_they_are_drawn(tmp_path, capsys) -> None:
    class Later(keras_tuner.HyperModel):
        def build(self, hp):
            return build(hp)

        def fit(self, hp, model, *args, **named):
            print("fit")
            hp.Int("later", 1, 3)
            return model.fit(*args, **named | {"verbose": 0})

    tuner = Tuner(Later(), "val_loss", max_trials=2, directory=tmp_path)
    capsys.readouterr()
    tuner.search(**DATA | {"verbose": 1})
    shown = capsys.readouterr().out
    assert "default configuration" not in shown
    first, second = shown.split("Search: Running Trial #")[1:]
    before, after = (part.split("\nfit\n") for part in (first, second))
    rates = [f"{one.params['rate']:.5g}" for one in tuner.study.trials]
    table = r"Value             |Best Value So Far |Hyperparameter"
    assert table in before[0] and f"{rates[0]:<18}|?                 |rate" in before[0]
    assert f"{rates[1]:<18}|{rates[0]:<18}|rate" in after[0]
    assert "later" not in before[0] and "|later" in before[1]  # drawn after the model was built


def test_a_trial_that_is_given_up_leaves_nothing(tmp_path) -> None:
    class Kill(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    def tuner() -> Tuner:
        return Tuner(build, "val_loss", max_trials=2, seed=None, directory=tmp_path, project_name="a")

    for _ in range(RETRIES + 1):
        with pytest.raises(KeyboardInterrupt):
            tuner().search(**DATA, epochs=3, callbacks=[Kill()])
    assert (tmp_path / "a" / f"trial_{RETRIES}" / "progress.json").exists()
    folder, oracle = tmp_path / "a", tuner().oracle
    with oracle.folder.alone():
        oracle.retries.requeue()
    assert not list(folder.glob("trial_*"))  # at once, not only at another trial's end
    tuner().search(**DATA, epochs=3, callbacks=[])
    assert [path.name for path in folder.glob("trial_*")] == [f"trial_{RETRIES + 1}"]
    assert sorted(path.name for path in (folder / f"trial_{RETRIES + 1}").iterdir()) == [
        "build_config.json",
        "checkpoint.weights.h5",
    ]
    assert not [path for path in (folder / "locks").iterdir() if path.name.isdigit()]


@pytest.mark.parametrize(
    ("returned", "objective", "message"),
    [
        ("0.5", None, "run_trial and HyperModel.fit must return a History, a number, metrics .* got '0.5'."),
        (["0.5"], None, "run_trial and HyperModel.fit must return a History, .* got '0.5'."),
        ([], None, r"run_trial and HyperModel.fit must return a History, .* got \[\]."),
        ({"a": 1.0}, None, "objective must be given where metrics are returned, one of a, got None."),
        ({"a": "1"}, "min a", "a must be a number where run_trial or HyperModel.fit returns it, got '1'."),
        ({"b": 1.0}, "min a", "objective must be one of b, got 'a'"),
    ],
)
def test_what_cannot_be_a_result_is_named_by_what_was_written(returned, objective, message, tmp_path) -> None:
    class Returns(Tuner):
        def run_trial(self, trial, **_):
            trial.hyperparameters.Int("a", 1, 3)
            return returned

    chosen = keras_tuner.Objective("a", "min") if objective else None
    tuner = Returns(objective=chosen, max_trials=2, directory=tmp_path)
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        tuner.search(verbose=0)
    assert not list(tmp_path.rglob("trial_*")) and [one.state.name for one in tuner.study.trials] == ["FAIL"]


@pytest.mark.parametrize("result", [2, 2.0, np.float32(2), np.asarray(2.0), tf.constant(2.0)])
def test_numbers_of_every_kind_are_results(result: Any) -> None:
    assert measured(result, keras_tuner.Objective("a", "min")).metrics == {"a": 2.0}
