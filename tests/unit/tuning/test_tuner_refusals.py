"""What a search refuses before it trains anything, in one sentence that names the argument."""

import pathlib
from typing import Any

import keras
import keras_tuner
import numpy as np
import optuna
import pytest
from examples import RECIPE

from kopt.tuning import HyperModel, Range, Tuner
from kopt.tuning.search.storage import Journal

X = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
Y = X[:, :1]


def build(hp: Any) -> keras.Model:
    if hp.Choice("kind", ["a", "b"]) == "a":
        with hp.conditional_scope("kind", ["a"]):
            units = hp.Int("units", 2, 4)
    else:
        with hp.conditional_scope("kind", ["b"]):
            units = hp.Int("units", 20, 40)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(units), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(hp.Float("rate", 1e-3, 0.1)), "mse", run_eagerly=True)
    return model


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"folds": None}, "folds must be a whole number >= 1, got None."),
        ({"executions_per_trial": None}, "executions_per_trial must be a whole number >= 1, got None."),
        ({"max_retries_per_trial": -1}, "max_retries_per_trial must be a whole number >= 0, got -1."),
        ({"max_consecutive_failed_trials": "a"}, "max_consecutive_failed_trials must be a whole number >= 1, got 'a'."),
        ({"project_name": 3}, "project_name must be a text, got 3."),
        ({"directory": 3}, "directory must be a path, got 3."),
        ({"overwrite": "no"}, "overwrite must be a bool, got 'no'."),
        ({"hyperparameters": {"a": 1}}, "hyperparameters must be KerasTuner's HyperParameters, got {'a': 1}."),
        ({"distribution_strategy": "gpu"}, "distribution_strategy must be a tf.distribute.Strategy, got 'gpu'."),
        ({"storage": 3}, "storage must be a path, a database's URL or an Optuna storage, got 3."),
        ({"storage": "sqlite://"}, "storage must be kept in a file, sqlite:///search.db, got 'sqlite://'."),
        ({"hypermodel": None}, "hypermodel must be given where run_trial is not one's own, got None."),
        ({"hypermodel": 3}, "hypermodel must be a function or a keras_tuner.HyperModel, got 3."),
        (
            {"objective": keras_tuner.Objective("loss", "minimize")},
            "objective must have the direction 'min' or 'max', got 'minimize'.",
        ),
        (
            {"objective": ["loss", "parameters"], "sampler": optuna.samplers.CmaEsSampler()},
            "sampler must be one for several objectives, got <optuna",
        ),
    ],
)
def test_arguments(given: dict[str, Any], message: str, tmp_path) -> None:
    with pytest.raises(ValueError) as caught:
        Tuner(**{"hypermodel": build, "objective": "val_loss", "directory": tmp_path / "runs"} | given)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("how", "args", "given", "message"),
    [
        ({"folds": 41}, (X, Y), {}, "folds must be <= 40, the number of examples, got 41."),
        ({"folds": 2}, (X, Y[:30]), {}, "y must be 40 rows, as x has, got 30."),
        ({"folds": 2}, (X, Y), {"sample_weight": np.ones(50)}, "sample_weight must be 40 rows, as x has, got 50."),
        ({"folds": 2}, (X, Y), {"sample_weight": [1.0] * 40}, "sample_weight must be an array to be dealt into folds"),
        ({"folds": 2}, (X, Y), {"groups": np.arange(3)}, "groups must be 40, one for each example, got 3."),
        ({"folds": 3}, (X, Y), {"groups": np.arange(40) % 2}, "folds must be <= 2, the number of groups, got 3."),
        ({}, (X, Y), {"groups": np.arange(40)}, "groups must be None without folds, got 'ndarray'."),
        ({}, (X[:30], Y), {}, "y must be 30 rows, as x has, got 40."),
        ({}, (), {}, "x must be data to train on, got None."),
        ({}, (X, Y), {"epoch": 3}, "got an unexpected keyword argument 'epoch'"),
        (
            {},
            (X, Y),
            {"callbacks": keras.callbacks.EarlyStopping()},
            "callbacks must be a list of Keras callbacks, got",
        ),
    ],
)
def test_what_search_is_given(how: Any, args: Any, given: Any, message: str, tmp_path) -> None:
    tuner = Tuner(build, "loss", directory=tmp_path, **how)
    with pytest.raises((ValueError, TypeError)) as caught:
        tuner.search(*args, **given)
    assert str(caught.value).startswith(message) and tuner.study.trials == []


@pytest.mark.parametrize(
    "given", [{"x": X}, {"validation_split": 0.5}, {"groups": np.arange(3)}, {"sample_weight": np.ones(40)}]
)
def test_a_recipe_brings_its_own_data(given: Any, tmp_path) -> None:
    tuner = Tuner(HyperModel(RECIPE, {"schedule.rate": Range(1e-3, 0.1)}), "val_loss", folds=2, directory=tmp_path)
    with pytest.raises(ValueError, match=r"^search\(\) must be called without data, the recipe trains on Digits\("):
        tuner.search(**given)
    assert tuner.study.trials == []


def test_a_model_that_is_not_compiled(tmp_path) -> None:
    tuner = Tuner(lambda hp: keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]), "loss", directory=tmp_path)
    with pytest.raises(ValueError, match="^hypermodel must give a compiled model, got 'Sequential'"):
        tuner.search(X, Y)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "b", "units": 23}, None),
        ({"kind": "a", "units": np.int64(3)}, None),
        ({"kind": "a", "units": 30}, "units must be in [2, 4], got 30."),
        ({"kind": "b", "units": 3}, "units must be in [20, 40], got 3."),
        ({"kind": "c"}, "kind must be one of ['a', 'b'], got 'c'."),
        ({"units": "many"}, "units must be in [2, 4], got 'many'."),
    ],
)
def test_starts_of_each_branch(values: Any, message: str | None, tmp_path) -> None:
    tuner = Tuner(build, "loss", max_trials=1, directory=tmp_path)
    if message is not None:
        with pytest.raises(ValueError) as caught:
            tuner.enqueue(**values)
        assert str(caught.value) == message and tuner.study.trials == []
        return
    tuner.enqueue(**values)
    tuner.search(X, Y, verbose=0)
    assert values.items() <= tuner.get_best_hyperparameters()[0].values.items()
    tuner.enqueue(**values)  # has been run: nothing to do
    with pytest.raises(ValueError, match="^max_trials must leave a trial to be begun for a start, got 1"):
        tuner.enqueue(kind="b")


@pytest.mark.parametrize("text", ["notes\n", "notes", '{"a": 1}', '{"a": 1}\n', '{"op_code":0}\n{"other'])
def test_a_file_that_is_no_journal_stays_as_it_is(text: str, tmp_path) -> None:
    path = pathlib.Path(tmp_path / "file")
    path.write_text(text)
    with pytest.raises(
        ValueError, match="^storage must be a (whole )?journal, .*file (is broken in line|ends otherwise)"
    ):
        Journal(path)
    assert path.read_text() == text


def test_a_file_that_is_no_database(tmp_path) -> None:
    path = pathlib.Path(tmp_path / "notes")
    path.write_text("nothing of a database " * 100)
    with pytest.raises(ValueError, match="^storage must be a whole database, .*notes is damaged .* got 'file is not"):
        Tuner(build, "loss", directory=tmp_path, storage=f"sqlite:///{path}")
