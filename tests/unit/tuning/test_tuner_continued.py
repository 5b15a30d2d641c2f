"""A search that goes on: after an interruption, with other options, another objective, and after failures."""

import fcntl
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest

from kopt.tuning import Tuner
from kopt.tuning.search.study_schema import StudySchema
from kopt.tuning.space.distributions import dimension

X = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
Y = X[:, :1]
DATA: dict[str, Any] = {"x": X, "y": Y, "validation_data": (X, Y), "verbose": 0}


class Options(Tuner):
    """Draws from options that may change from run to run; wants the least."""

    options: list[Any] = [2, 64, 128]
    raises: type[BaseException] | None = None

    def run_trial(self, trial, **_):
        value = trial.hyperparameters.Choice("units", self.options)
        if self.raises is not None and trial.trial_id == "1":
            raise self.raises
        return float(value)


def search(folder, trials: int, options: list[Any], raises: Any = None, **how: Any) -> Options:
    kind = type("Options", (Options,), {"options": options, "raises": raises})
    tuner = kind(max_trials=trials, directory=folder, project_name="a", duplicates=True, **how)
    tuner.oracle.verbose = 0
    tuner.search()
    return tuner


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_interrupted_search_goes_on_in_another_tuner_of_the_same_process(overwrite: bool, tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, 3, [2, 64], KeyboardInterrupt)
    tuner = search(tmp_path, 3, [2, 64], overwrite=overwrite, timeout=60)
    states = [trial.state.name for trial in tuner.study.trials]
    assert states == ["COMPLETE"] * 3 if overwrite else sorted(states) == ["COMPLETE"] * 3 + ["FAIL"]


def test_a_lock_that_another_process_holds_is_waited_for(tmp_path) -> None:
    """The counter-test: while the lock is held, the trial is not taken for lost."""
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, 3, [2, 64], KeyboardInterrupt)
    with open(tmp_path / "a" / "locks" / "1", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        tuner = search(tmp_path, 3, [2, 64], timeout=2)
    assert [trial.state.name for trial in tuner.study.trials] == ["COMPLETE", "RUNNING", "COMPLETE"]


def test_other_options_of_a_choice_are_another_parameter(tmp_path) -> None:
    """By their places alone, 2 of (2, 64, 128) and 0 of (0, 1, 2) would be one value."""
    search(tmp_path, 12, [2, 64, 128], sampler="tpe")
    tuner = search(tmp_path, 24, [128, 64, 0, 2], sampler="tpe")  # in no order: recorded by the options themselves
    tuner = search(tmp_path, 36, [0, 2, 64], sampler="tpe")
    trials = tuner.study.trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 36
    assert {name for trial in trials[:12] for name in trial.params} == {"units"}
    assert {name for trial in trials[24:] for name in trial.params} == {"units of [0, 2, 64]"}
    assert all(tuner.options[trial.params["units of [0, 2, 64]"]] == trial.value for trial in trials[24:])
    assert tuner.get_best_hyperparameters()[0].get("units") == 0


def test_the_ends_of_an_interval_may_change(tmp_path) -> None:
    study = search(tmp_path, 1, [1, 2]).study
    schema = StudySchema(study)
    for high in (1.0, 2.0):
        found = dimension(keras_tuner.engine.hyperparameters.Float("rate", 0.5, high))
        assert schema.named(found).name == "rate"
    whole = dimension(keras_tuner.engine.hyperparameters.Int("rate", 1, 3))
    assert StudySchema(study).named(whole).name == "rate of IntDistribution"


def test_another_objective_is_refused(tmp_path) -> None:
    Tuner(build, "val_loss", directory=tmp_path)
    with pytest.raises(
        ValueError, match=r"^objective must be \['val_loss'\], as in the trials before, got \['val_mae'\]"
    ):
        Tuner(build, "val_mae", directory=tmp_path)
    Tuner(build, "val_mae", directory=tmp_path, overwrite=True)


def test_failures_of_a_run_before_say_how_to_begin_anew(tmp_path) -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError, match="(?s)^all 2 trials failed.*overwrite=True begins the search anew.$"):
            search(tmp_path, 2, [], ValueError)
    assert search(tmp_path, 2, [1, 2], overwrite=True).remaining_trials == 0


def build(hp: Any) -> keras.Model:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(hp.Choice("units", [8, 1])), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    return model


def test_metrics_of_some_epochs_only(tmp_path) -> None:
    tuner = Tuner(build, "val_loss", max_trials=1, directory=tmp_path)
    tuner.search(**DATA, epochs=5, validation_freq=2)
    best = tuner.oracle.get_best_trials()[0]
    assert best.best_step in (1, 3) and best.score == tuner.study.best_value
    assert set(tuner.study.best_trial.intermediate_values) == {2, 4}
    assert min(tuner.study.best_trial.intermediate_values.values()) == pytest.approx(best.score)


def test_a_model_that_is_too_large_by_default_ends_no_search(tmp_path) -> None:
    tuner = Tuner(build, "val_loss", max_trials=4, max_model_size=20, sampler="grid", directory=tmp_path)
    tuner.search(**DATA)
    assert sorted(trial.state.name for trial in tuner.study.trials) == ["COMPLETE", "FAIL"]


def test_outputs_in_a_list_are_dealt_as_in_a_tuple(tmp_path) -> None:
    steps: list[int] = []

    class Steps(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            steps.append(self.params["steps"])

    def two(hp):
        inputs = keras.Input((3,))
        model = keras.Model(inputs, [keras.layers.Dense(1)(inputs), keras.layers.Dense(1)(inputs)])
        model.compile(keras.optimizers.SGD(hp.Float("rate", 0.1, 0.2)), ["mse", "mse"], run_eagerly=True)
        return model

    scores = []
    for number, y in enumerate(([Y, 2 * Y], (Y, 2 * Y))):
        tuner = Tuner(two, "val_loss", max_trials=1, folds=2, directory=tmp_path, project_name=str(number))
        tuner.search(X, y, batch_size=4, verbose=0, callbacks=[Steps()])
        scores.append(tuner.study.best_value)
    assert steps == [5] * 4 and scores[0] == scores[1]
