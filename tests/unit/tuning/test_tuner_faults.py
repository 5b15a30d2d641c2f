"""Models that raise, give NaN or take the process down; and what is refused before anything is trained."""

import io
import pathlib
import sys
import threading
from typing import Any

import keras
import keras_tuner
import numpy as np
import optuna
import pytest

from kopt.distribute.launch import launch_tuners
from kopt.tuning import Tuner

ROOT = pathlib.Path(__file__).resolve().parents[3]
X = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
DATA = {"x": X, "y": X[:, :1], "validation_data": (X, X[:, :1]), "verbose": 0}


def build(hp: Any) -> keras.Model:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(hp.Float("rate", 1e-3, 0.1)), "mse", metrics=["mae"], run_eagerly=True)
    return model


class Faulty(Tuner):
    """Its trials do what `deeds` say, one after the other; a number is a result."""

    deeds: tuple[Any, ...] = ()

    def run_trial(self, trial, **_):
        trial.hyperparameters.Float("x", 0, 1)
        deed = self.deeds[int(trial.trial_id) % len(self.deeds)]
        if isinstance(deed, BaseException):
            raise deed
        return deed


def faulty(folder, *deeds: Any, trials: int = 0, **how: Any) -> Faulty:
    tuner = Faulty(max_trials=trials or len(deeds), sampler="random", directory=folder, **how)
    tuner.deeds, tuner.oracle.verbose = deeds, 0
    return tuner


@pytest.mark.parametrize("typed", [False, True])
def test_ctrl_c_ends_a_search_with_one_sentence(tmp_path, caplog, monkeypatch, typed: bool) -> None:
    if typed:
        monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    tuner = faulty(tmp_path, 0.5, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt) as caught:  # which a user's own `except` catches too
        tuner.search()
    said = f"search: stopped by Ctrl-C in trial 1; search() goes on with what is in {tmp_path / 'untitled_project'}"
    assert [record.getMessage() for record in caplog.records if "Ctrl-C" in record.getMessage()] == [said]
    # A script leaves without a traceback, with the code of a shell; a prompt stays.
    assert isinstance(caught.value, SystemExit) is not typed
    assert typed or caught.value.code == 130


def test_a_failure_is_recorded_and_the_search_goes_on(tmp_path, caplog) -> None:
    failures = (KeyError("a"), float("nan"), keras_tuner.errors.FailedTrialError("too slow"), float("inf"))
    tuner = faulty(tmp_path, *failures, 0.5, MemoryError("b"), optuna.TrialPruned(), 0.25)
    tuner.search()
    trials = tuner.study.trials
    assert [one.state.name for one in trials] == ["FAIL"] * 4 + ["COMPLETE", "FAIL", "PRUNED", "COMPLETE"]
    errors = [one.user_attrs.get("error", "").strip().splitlines()[-1:] for one in trials]
    nan = ["what was returned was finite at no epoch."]
    assert errors == [["KeyError: 'a'"], nan, ["too slow"], nan, [], ["MemoryError: b"], [], []]
    assert "trial 0 failed: KeyError: 'a'" in caplog.text
    assert [one.score for one in tuner.oracle.get_best_trials(8)] == [0.25, 0.5]
    assert all(one.hyperparameters.values for one in tuner.oracle.trials.values())


def test_when_all_fail_the_first_error_is_shown(tmp_path) -> None:
    tuner = faulty(tmp_path, KeyError("first"), KeyError("second"))
    with pytest.raises(
        RuntimeError, match=r"(?s)^all 2 trials failed; trial 0, the first, by:.*KeyError: 'first'\nWhen"
    ):
        tuner.search()
    assert tuner.oracle.get_best_trials() == [] and tuner.get_best_hyperparameters() == []
    with pytest.raises(RuntimeError, match="^all 2 trials failed"):
        tuner.search()  # the same to a process that comes later


def test_a_hopeless_search_ends_early_and_one_with_a_result_does_not(tmp_path) -> None:
    tuner = faulty(tmp_path / "a", KeyError("a"), trials=100)
    with pytest.raises(RuntimeError, match="^all 10 trials failed"):
        tuner.search()
    tuner = faulty(tmp_path / "b", *[1.0] + [KeyError("a")] * 14)
    tuner.search()
    assert len(tuner.study.trials) == 15
    tuner = faulty(tmp_path / "c", *[1.0] + [KeyError("a")] * 14, max_consecutive_failed_trials=3)
    with pytest.raises(RuntimeError, match="^3 trials in a row failed; trial 1, the first"):
        tuner.search()


def test_a_trial_that_raises_is_tried_again_only_as_often_as_asked(tmp_path) -> None:
    tuner = faulty(tmp_path, 1.0, KeyError("a"), KeyError("a"), KeyError("a"), 2.0, max_retries_per_trial=2, trials=3)
    tuner.search()
    trials = tuner.study.trials
    assert [one.state.name for one in trials] == ["COMPLETE", "FAIL", "FAIL", "FAIL", "COMPLETE"]
    assert len({trials[number].params["x"] for number in (1, 2, 3)}) == 1
    assert len({one.params["x"] for one in trials}) == 3


class Twins:
    """The same trials for KerasTuner's tuner and kopt's: `deeds` says which are good, all tries of a trial alike."""

    deeds: list[bool]

    def run_trial(self, trial, **_):
        value = trial.hyperparameters.Float("x", 0, 1)
        self.runs.append(value)
        return self.result(self.deeds[list(dict.fromkeys(self.runs)).index(value)])

    def result(self, good: bool) -> float:
        if not good:
            raise KeyError("a")
        return 1.0

    def outcome(self, deeds: list[bool]) -> tuple[int, int, bool]:
        """How many runs and trials there were, and whether it ended by an error."""
        self.deeds, self.runs, self.oracle.verbose = deeds, [], 0
        try:
            self.search()
        except RuntimeError:
            return len(self.runs), len(set(self.runs)), True
        return len(self.runs), len(set(self.runs)), False


class KoptTwin(Twins, Tuner):
    pass


class KerasTwin(Twins, keras_tuner.Tuner):
    pass


class KoptNaN(KoptTwin):
    def result(self, good):
        return 1.0 if good else float("nan")


@pytest.mark.parametrize(("retries", "in_a_row"), [(0, 3), (2, 3), (3, 2), (1, None)])
@pytest.mark.parametrize("deeds", ["gbgggg", "gbbbgg", "ggbgbbgbbb", "bbggbb", "bgbbbg"])
def test_trials_that_fail_are_counted_as_keras_tuner_does(deeds, retries, in_a_row, tmp_path) -> None:
    good = [deed == "g" for deed in deeds]
    how = {"max_retries_per_trial": retries, "max_consecutive_failed_trials": in_a_row or 100}
    oracle = keras_tuner.oracles.RandomSearchOracle(max_trials=len(deeds), seed=1, **how)
    expected = KerasTwin(oracle, directory=tmp_path, project_name="stock").outcome(good)
    for kind in (KoptTwin, KoptNaN) if deeds == "gbbbgg" else (KoptTwin,):
        folder = tmp_path / kind.__name__
        assert kind(max_trials=len(deeds), sampler="random", directory=folder, **how).outcome(good) == expected


def test_tries_after_a_kill_and_tries_after_an_error_are_counted_apart(tmp_path) -> None:
    tuner = faulty(tmp_path, KeyError("a"), KeyError("a"), KeyError("a"), 1.0, trials=2, max_retries_per_trial=1)
    killed = tuner.oracle.create_trial("tuner0")
    killed.hyperparameters.Float("x", 0, 1)
    tuner.search()  # finds it handed back, and begins it again: 1 fails, 2 is its retry, 3 is another trial
    assert [one.state.name for one in tuner.study.trials] == ["FAIL", "FAIL", "FAIL", "COMPLETE"]
    assert [one.user_attrs.get("tries", []) for one in tuner.study.trials] == [[], [0], [0, 1], []]


def test_a_run_trial_that_returns_nothing_ends_the_search(tmp_path) -> None:
    tuner = faulty(tmp_path, None, trials=3)
    with pytest.raises(TypeError, match="^run_trial and HyperModel.fit must return a History, a number"):
        tuner.search()
    assert [one.state.name for one in tuner.study.trials] == ["FAIL"]


def test_divergence_after_a_good_epoch_keeps_that_epoch(tmp_path) -> None:
    tuner = faulty(tmp_path, {"val_loss": float("nan"), "loss": 1.0}, {"val_loss": 0.5}, objective="val_loss")
    tuner.search()
    assert [one.value for one in tuner.study.trials] == [None, 0.5]
    history = keras.callbacks.History()
    history.history = {"val_loss": [float("nan"), 3.0, 2.0, float("inf")], "loss": [1.0, 2.0, 3.0, 4.0]}
    tuner = faulty(tmp_path / "b", history, objective="val_loss")
    tuner.search()
    best = tuner.oracle.get_best_trials()[0]
    assert (best.score, best.best_step, best.metrics.get_best_value("loss")) == (2.0, 2, 3.0)


KILLER = """
import ctypes, os, sys
import kopt, kopt.tuning.lost

kopt.tuning.lost.RETRIES = 1

class Search(kopt.tuning.Tuner):
    def run_trial(self, trial):
        x = trial.hyperparameters.Int("x", 0, 4)
        if x == 1:
            died = os.path.join(sys.argv[1], "died")
            if os.path.exists(died):
                ctypes.string_at(0)
            open(died, "w").close()
            os._exit(9)
        return x

tuner = Search(max_trials=5, sampler="grid", directory=sys.argv[1], project_name="killer")
tuner.oracle.verbose = 0
tuner.search()
print("best", tuner.study.best_value)
"""


def test_a_model_that_takes_the_process_down_is_given_up_and_the_search_goes_on(tmp_path) -> None:
    """os._exit, then a segmentation fault; the launcher starts a new process, which finds what the dead one ran."""
    script, out = tmp_path / "killer.py", io.StringIO()
    script.write_text(KILLER)
    assert launch_tuners([str(script), str(tmp_path)], tuners=1, out=out) == 0
    assert "[0] best 0.0" in out.getvalue() and "[0] ended with 9, is started again" in out.getvalue()
    assert "[0] was killed by SIGSEGV, is started again" in out.getvalue()

    class Reader(Tuner):
        def run_trial(self, trial):
            raise NotImplementedError

    trials = Reader(max_trials=5, directory=tmp_path, project_name="killer").study.trials
    assert sorted(one.params["x"] for one in trials if one.state.name == "COMPLETE") == [0, 2, 3, 4]
    given_up = [one for one in trials if "error" in one.user_attrs]
    assert {one.params["x"] for one in given_up} == {1}
    assert {one.user_attrs["error"] for one in given_up} == {"The process ended during the trial, 2 times."}
    assert len(trials) == 4 + 2


def test_killed_processes_lose_no_trial_and_count_none_twice(tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "recipes" / "benchmarks"))
    import tuner_faults

    options = tuner_faults.Options(processes=2, trials=4, every=3.0, pause=0.5, folder=str(tmp_path))
    assert tuner_faults.disturb(options) >= 1
    found = tuner_faults.account(options)
    assert found["trials"] == 4 and found["begun again"] >= found["of those from a checkpoint"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_trials": 0}, "max_trials must be a whole number >= 1, got 0."),
        ({"max_trials": 2.5}, "max_trials must be a whole number >= 1, got 2.5."),
        ({"max_trials": None}, "max_trials must be set without a timeout, got None."),
        ({"timeout": "soon"}, "timeout must be seconds > 0 or a duration such as '30m' or '1h30m', got 'soon'."),
        ({"folds": 0}, "folds must be a whole number >= 1, got 0."),
        ({"executions_per_trial": 0}, "executions_per_trial must be a whole number >= 1, got 0."),
        ({"keep": -1}, "keep must be a whole number >= 0, got -1."),
        ({"max_parameters": 0}, "max_parameters must be a whole number >= 1, got 0."),
        ({"seed": -1}, "seed must be in [0, 2 ** 32) or None, got -1."),
        ({"sampler": "tpf"}, "sampler must be one of cma, gp, grid, qmc, random, tpe, got 'tpf'"),
        (
            {"pruner": "ash"},
            "pruner must be one of asha, hyperband, median, wilcoxon, got 'ash' (did you mean 'asha'?).",
        ),
        ({"pruner": "wilcoxon"}, "pruner must have folds or executions_per_trial > 1 to compare, got 'wilcoxon'."),
        (
            {"objective": "val_niceness"},
            "objective must be a keras_tuner.Objective(name, 'min' or 'max') where the name does not tell which is",
        ),
        ({"objective": 3}, "objective must be a metric's name or a keras_tuner.Objective, got 3."),
        ({"objective": []}, "objective must name a metric, got []."),
        ({"objective": ["loss", "loss"]}, "objective must name each metric once, got ['loss', 'loss']."),
        (
            {"objective": ["loss", "val_loss"], "pruner": "asha"},
            "pruner must be None with several objectives, got 'asha'.",
        ),
        (
            {"objective": ["loss", "val_loss"], "sampler": "cma"},
            "sampler must be one for several objectives, got 'cma'.",
        ),
    ],
)
def test_bad_arguments_are_refused(given: dict[str, Any], message: str, tmp_path) -> None:
    with pytest.raises(ValueError) as caught:
        Tuner(build, **({"objective": "val_loss", "directory": tmp_path} | given))
    assert str(caught.value).startswith(message)
    assert not list(tmp_path.iterdir())  # refused before anything was done


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (lambda hp: hp.Int("units", 5, 1), "min_value 5 is greater than the max_value 1"),
        (lambda hp: hp.Choice("units", []), "`values` must be provided"),
        (lambda hp: hp.Float("rate", 0, 1, sampling="log"), "does not support negative values, found min_value: 0.0"),
        (lambda hp: hp.Int("units", 1, 5) if hp.Boolean("a") or True else 0, None),
    ],
)
def test_an_empty_range_is_refused_before_any_training(space, message: str | None, tmp_path) -> None:
    def empty(hp):
        space(hp)
        return build(hp)

    if message is None:  # the counter-test: a space that is not empty
        Tuner(empty, "val_loss", directory=tmp_path)
        return
    with pytest.raises(ValueError, match=message):
        Tuner(empty, "val_loss", directory=tmp_path)


def test_a_grid_without_a_step_is_refused_before_any_training(tmp_path) -> None:
    tuner = Tuner(build, "val_loss", sampler="grid", directory=tmp_path)
    with pytest.raises(ValueError, match="^sampler 'grid' must have a step or options for every"):
        tuner.search(**DATA)
    assert tuner.study.trials == []


class Counts(keras.callbacks.Callback):
    epochs = 0

    def on_epoch_end(self, epoch, logs=None):
        Counts.epochs += 1
        logs["val_counted"] = 1.0


@pytest.mark.parametrize(
    ("objective", "given", "message"),
    [
        ("val_accuracy", {}, "objective must be one of loss, mae, val_loss, val_mae, got 'val_accuracy'"),
        ("val_loss", {"validation_data": None}, "objective must be one of loss, mae, got 'val_loss'"),
    ],
)
def test_an_objective_that_is_not_reported_is_refused_before_any_training(objective, given, message, tmp_path) -> None:
    tuner = Tuner(build, objective, directory=tmp_path)
    with pytest.raises(ValueError) as caught:
        tuner.search(**DATA | given)
    assert str(caught.value).startswith(message) and tuner.study.trials == []


def test_an_objective_that_a_callback_reports_is_taken_and_one_that_none_does_ends_the_search(tmp_path) -> None:
    objective = keras_tuner.Objective("val_counted", "max")
    Tuner(build, objective, max_trials=1, directory=tmp_path / "a").search(**DATA, callbacks=[Counts()])
    tuner = Tuner(build, "val_accuracy", max_trials=5, directory=tmp_path / "b")
    with pytest.raises(ValueError, match="^objective must be one of loss, mae, val_counted, val_loss, val_mae, got"):
        tuner.search(**DATA, callbacks=[Counts()])
    assert [one.state.name for one in tuner.study.trials] == ["FAIL"]


def test_a_callback_that_cannot_be_copied_is_refused_before_any_training(tmp_path) -> None:
    callback = keras.callbacks.Callback()
    callback.lock = threading.Lock()
    tuner = Tuner(build, "val_loss", directory=tmp_path)
    with pytest.raises(ValueError, match="^callbacks must be ones that can be copied, for each trial has its own, got"):
        tuner.search(**DATA, callbacks=[callback])
    assert tuner.study.trials == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "enqueue() must be given values, got {}."),
        ({"ratte": 0.1}, "enqueue() must be one of rate, got 'ratte' (did you mean 'rate'?)."),
        ({"rate": 3.0}, "rate must be in [0.001, 0.1], got 3.0."),
    ],
)
def test_a_bad_start_is_refused(values: dict[str, Any], message: str, tmp_path) -> None:
    with pytest.raises(ValueError) as caught:
        Tuner(build, "val_loss", directory=tmp_path).enqueue(**values)
    assert str(caught.value) == message


def test_packages_that_are_missing_are_named_with_how_to_install_them(monkeypatch) -> None:
    from kopt.tuning.space.samplers import sampler_of

    for name, module, how in (
        ("gp", "torch", "--index-url https://download.pytorch.org/whl/cpu"),
        ("cma", "cmaes", r'python -m pip install -e "\.\[tune\]"'),
    ):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ImportError, match=f"^{module} must be installed for .*{how}"):
            sampler_of(name, 0)


def test_data_that_cannot_be_dealt_into_folds_are_refused(tmp_path) -> None:
    tuner = Tuner(build, "val_loss", folds=2, directory=tmp_path)
    with pytest.raises(
        ValueError, match="^folds must be 1 with validation data of one's own, for folds are validated on, got"
    ):
        tuner.search(**DATA)
    with pytest.raises(
        ValueError, match="^x and y must be arrays to be dealt into folds, got 'generator' and 'NoneType'"
    ):
        tuner.search(pair for pair in [(X, X)])
    assert tuner.study.trials == []
