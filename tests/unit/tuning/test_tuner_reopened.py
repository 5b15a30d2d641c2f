"""A search that is opened again: all that KerasTuner shows of one, and what must not have changed."""

import contextlib
import io
import re
import shutil
from typing import Any

import keras
import keras_tuner
import numpy as np
import optuna
import pytest
from examples import RECIPE

from kopt.tuning import HyperModel, Range, Tuner
from kopt.tuning.search.meaning import meaning_of
from kopt.values.field_paths import replace


class Searches:
    """The same results of the same points for KerasTuner's tuner and kopt's."""

    def run_trial(self, trial, **_):
        hp = trial.hyperparameters
        kind, units = hp.Choice("kind", ["a", "b"]), hp.Int("units", 1, 3)
        with hp.conditional_scope("kind", ["b"]):
            extra = hp.Float("extra", 0.5, 1.0, step=0.5) if kind == "b" else 0.0
        if units == 2 and kind == "a":
            raise KeyError("units")
        return {"loss": units + 10 * extra, "mae": -units}


class KoptSearch(Searches, Tuner):
    pass


class KerasSearch(Searches, keras_tuner.GridSearch):
    pass


def open_kopt(folder) -> KoptSearch:
    return KoptSearch(objective="loss", max_trials=20, sampler="grid", directory=folder, project_name="kopt")


def open_stock(folder) -> KerasSearch:
    how = {"max_trials": 20, "directory": folder, "project_name": "stock", "max_consecutive_failed_trials": 20}
    return KerasSearch(objective="loss", **how)


def scored(tuner: Any) -> list[Any]:
    """The trials that have a score; KerasTuner fills its list of the best up with those that failed."""
    best = tuner.oracle.get_best_trials(20)
    some = [one for one in best if one.score is not None]
    return sorted(((one.score, one.status, one.best_step, one.hyperparameters.values) for one in some), key=repr)


def seen(tuner: Any) -> dict[str, Any]:
    """What the public methods of a tuner and its oracle give, by the points and not by their numbers."""
    oracle, printed = tuner.oracle, io.StringIO()
    with contextlib.redirect_stdout(printed):
        tuner.search_space_summary()
        tuner.results_summary(3)
    text = printed.getvalue()
    statuses = sorted(trial.status for trial in oracle.trials.values())
    assert sorted(oracle.start_order) == sorted(oracle.end_order) == sorted(oracle.trials)
    assert all(oracle.get_trial(number) is trial for number, trial in oracle.trials.items())
    assert all(trial.trial_id == number for number, trial in oracle.trials.items())
    failed = next(trial for trial in oracle.trials.values() if trial.status == "FAILED")
    assert "KeyError: 'units'" in failed.message
    return {
        "trials": len(oracle.trials),
        "statuses": statuses,
        "scored": scored(tuner),
        "metrics": sorted(
            trial.metrics.get_best_value("mae") for trial in oracle.trials.values() if trial.status == "COMPLETED"
        ),
        "failed": sorted(
            str(trial.hyperparameters.values) for trial in oracle.trials.values() if trial.status == "FAILED"
        ),
        "best": tuner.get_best_hyperparameters()[0].values,
        "space": sorted(str(hp.get_config()) for hp in oracle.get_space().space),
        "remaining": (tuner.remaining_trials, oracle.remaining_trials()),
        "ongoing": oracle.ongoing_trials,
        "size": re.findall(r"Default search space size: \d+", text),
        "scores": re.findall(r"Score: (.*)", text),
    }


def test_a_search_that_is_opened_again_shows_what_keras_tuner_shows(tmp_path) -> None:
    for tuner in (open_kopt(tmp_path), open_stock(tmp_path)):
        tuner.oracle.verbose = 0
        tuner.search()
    stock = open_stock(tmp_path)
    stock.reload()
    expected = seen(stock)
    assert expected["trials"] == 9 and expected["statuses"] == ["COMPLETED"] * 8 + ["FAILED"]
    opened = open_kopt(tmp_path)
    assert seen(opened) == expected
    opened.reload()  # as a script written for KerasTuner does
    assert seen(opened) == expected
    with pytest.raises(KeyError):
        opened.oracle.get_trial("none")


def test_a_trial_whose_process_has_ended_for_good_is_there_too(tmp_path) -> None:
    first = open_kopt(tmp_path)
    trial = first.oracle.create_trial("tuner0")
    hp = trial.hyperparameters
    values = {"kind": hp.Choice("kind", ["a", "b"]), "units": hp.Int("units", 1, 3)}
    first.study.tell(0, state=optuna.trial.TrialState.FAIL)
    other = open_kopt(tmp_path)
    other.oracle.verbose = 0
    other.search()
    found = open_kopt(tmp_path).oracle.get_trial("0")
    assert found.status == "FAILED" and found.hyperparameters.values == values


X = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
DATA = {"x": X, "y": X[:, :1], "validation_data": (X, X[:, :1]), "epochs": 2, "batch_size": 8}


def build(hp: Any) -> keras.Model:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(hp.Float("rate", 1e-3, 0.1)), "mse", run_eagerly=True)
    return model


def opened(folder, trials: int = 2, **how: Any) -> Tuner:
    tuner = Tuner(build, how.pop("objective", "val_loss"), trials, sampler="random", directory=folder, **how)
    tuner.oracle.verbose = 0
    return tuner


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("searched")
    opened(folder, 1).search(**DATA)
    return folder


@pytest.fixture
def begun(searched, tmp_path):
    """A search of one trial."""
    return shutil.copytree(searched, tmp_path / "begun")


CHANGES = [
    ({"executions_per_trial": 2}, {}, r"executions_per_trial must be 1, .*, got 2\."),
    ({"seed": 1}, {}, r"seed must be 0, .*, got 1\."),
    ({"seed": None}, {}, r"seed must be 0, .*, got None\."),
    ({"folds": 2}, {"validation_data": None}, r"folds must be 1, .*, got 2\."),
    ({}, {"epochs": 3}, r"epochs must be 2, .*, got 3\."),
    ({}, {"batch_size": 4}, r"batch_size must be 8, .*, got 4\."),
    ({}, {"class_weight": {0: 1.0}}, r"class_weight must be None, .*, got {'0': 1\.0}\."),
    ({}, {"x": X + 1}, r"x's checksum must be '\w+', .*, got '\w+'\."),
    ({}, {"x": X[:12], "y": X[:12, :1]}, r"x's shape must be \[16, 3\], .*, got \[12, 3\]\."),
    ({}, {"y": X[:, 1:2]}, r"y's checksum must be "),
    ({}, {"sample_weight": np.ones(16)}, r"sample_weight must be None, .*, got {'shape': \[16\], "),
    ({}, {"validation_data": (X[:8], X[:8, :1])}, r"validation_data\[0\]'s shape must be \[16, 3\], .* got \[8, 3\]\."),
]


@pytest.mark.parametrize(("how", "given", "told"), CHANGES, ids=lambda one: str(one)[:40])
def test_what_decides_a_score_must_be_as_in_the_trials_before(how, given, told, begun) -> None:
    tuner = opened(begun, **how)
    with pytest.raises(ValueError, match=f"^{told}") as caught:
        tuner.search(**DATA | given)
    assert ", as in the trials before (overwrite=True begins anew), got " in str(caught.value)
    assert len(tuner.study.trials) == 1
    assert len(tuner.oracle.get_best_trials()) == 1  # what was found can still be read


@pytest.fixture
def half_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


def test_another_precision_is_refused(begun, half_precision) -> None:
    with pytest.raises(ValueError, match=r"^precision must be 'float32', .*, got 'mixed_bfloat16'\."):
        opened(begun).search(**DATA)


def test_the_precision_that_is_set_is_that_of_every_trial(tmp_path, half_precision) -> None:
    """KerasTuner clears it with Keras' session before each model."""
    policies = []

    class Notes(keras.callbacks.Callback):
        def set_model(self, model):
            policies.append(model.layers[0].dtype_policy.name)

    opened(tmp_path).search(**DATA | {"epochs": 1, "callbacks": [Notes()]})
    assert policies == ["mixed_bfloat16"] * 2 and keras.config.dtype_policy().name == "mixed_bfloat16"


def test_the_same_goes_on_and_another_begins_anew(begun) -> None:
    """The counter-test: the same data in other objects, other names for the same arguments."""
    positional = {name: value for name, value in DATA.items() if name not in ("x", "y", "batch_size", "epochs")}
    tuner = opened(begun, keep=1, max_retries_per_trial=1)
    tuner.search(X.copy(), X[:, :1].copy(), 8, 2, verbose=0, **positional)
    assert len(tuner.study.trials) == 2
    tuner = opened(begun, 1, folds=2, overwrite=True)
    tuner.search(X, X[:, :1], verbose=0)
    assert len(tuner.study.trials) == 1


def test_data_for_a_fit_of_ones_own_decide_too_in_any_place(tmp_path) -> None:
    class Own(keras_tuner.HyperModel):
        def build(self, hp):
            hp.Float("rate", 0.0, 1.0)
            return keras.Sequential([keras.Input((3,))])

        def fit(self, hp, model, x, **_):
            return float(np.sum(x)) + hp.get("rate")

    def searched_by(x: Any, trials: int) -> int:
        tuner = Tuner(Own(), keras_tuner.Objective("loss", "min"), trials, directory=tmp_path)
        tuner.oracle.verbose = 0
        tuner.search(x)
        return len(tuner.study.trials)

    assert [searched_by(X, 1), searched_by(X.copy(), 2)] == [1, 2]
    with pytest.raises(ValueError, match=r"^x's checksum must be '\w+', as in the trials before"):
        searched_by(X + 1, 3)


def test_before_the_first_trial_anything_may_change(tmp_path) -> None:
    opened(tmp_path, folds=2).oracle.require_same({"folds": 2})
    tuner = opened(tmp_path, 1)
    tuner.enqueue(rate=0.01)
    tuner.search(**DATA)
    assert len(tuner.study.trials) == 1


def test_the_fields_of_a_recipe_that_are_not_searched_decide_too(tmp_path) -> None:
    def meaning(recipe: Any, **ranges: Range) -> dict[str, Any]:
        tuner = Tuner(HyperModel(recipe, ranges or {"schedule.rate": Range(1e-3, 0.1)}), "val_loss", directory=tmp_path)
        return meaning_of(tuner, (), {})

    before = meaning(RECIPE)
    same = ({"schedule.rate": 0.05}, {"name": "other"}, {"devices": "cpu"})
    other = ({"training.epochs": 4}, {"training.batch_size": 8}, {"model.units": (8,)}, {"seed": 1}, {"data.test": 0.3})
    assert all(meaning(replace(RECIPE, change)) == before for change in same)
    assert all(meaning(replace(RECIPE, change)) != before for change in other)
    assert meaning(RECIPE, **{"schedule.rate": Range(1e-4, 1.0)}) == before
    assert meaning(RECIPE, **{"rule.beta_1": Range(0.5, 0.9)}) != before
