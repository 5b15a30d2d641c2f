"""Tuner(population=): trials that are trained together have the records that they have one after the other."""

import dataclasses
import logging
import os
import pathlib
import signal
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import optuna
import pytest

import kopt
from kopt import augment, data, models, schedules
from kopt.callbacks import EMA
from kopt.distribute import launched
from kopt.tuning import Choice, HyperModel, Range, Tuner
from kopt.tuning.population.population import Population
from kopt.tuning.population.search import objection_to
from kopt.tuning.trial import checkpoints

RECIPE = kopt.Recipe(
    "searched",
    data.Digits(examples=100),
    augment=augment.Shift(0.06, 0.06),
    model=models.MLP((8, 8, 1), 10, units=(8,), dropout=0.2, scale=1 / 16),
    schedule=schedules.Cosine(0.02),
    average=EMA(0.9),
    training=kopt.Training(epochs=3, batch_size=32, patience=2),
)
RANGES = {"schedule.rate": Range(1e-3, 1e-1, log=True), "rule.beta_1": Range(0.5, 0.95)}
TRIALS = 4


def tuner_of(folder: pathlib.Path, name: str, recipe: Any = RECIPE, ranges: Any = RANGES, **how: Any) -> Tuner:
    how = {"max_trials": TRIALS, "sampler": "random", "keep": 2} | how
    hypermodel = HyperModel(recipe, ranges, jit=False)
    return how.pop("kind", Tuner)(hypermodel, "val_loss", directory=folder, project_name=name, **how)


def searched(folder: pathlib.Path, name: str, *given: Any, **how: Any) -> Tuner:
    tuner = tuner_of(folder, name, *given, **how)
    tuner.search(verbose=0)
    return tuner


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Tuner:
    return searched(tmp_path_factory.mktemp("alone"), "alone")


def finished(tuner: Tuner) -> list[Any]:
    """Return the trials that have ended with a score, in the order of their draws."""
    found = [one for one in tuner.study.trials if one.state.name in ("COMPLETE", "PRUNED")]
    return sorted(found, key=lambda one: tuner.oracle.retries.order(one.number))


def require_same(one: Tuner, other: Tuner) -> None:
    """Fail unless two searches have the same trials: draws, states, values of all epochs, metrics, best epochs."""
    for a, b in zip(finished(one), finished(other), strict=True):
        assert (a.params, a.state) == (b.params, b.state)
        assert b.intermediate_values == pytest.approx(a.intermediate_values, abs=1e-5)
        kept = [trial.user_attrs["keras_tuner"] for trial in (a, b)]
        metrics = [{n: m["observations"][0] for n, m in state["metrics"]["metrics"].items()} for state in kept]
        assert metrics[0].keys() == metrics[1].keys() and kept[0]["best_step"] == kept[1]["best_step"]
        for name in metrics[0].keys() - {"seconds"}:
            assert metrics[1][name]["value"] == pytest.approx(metrics[0][name]["value"], abs=1e-5), name
        stopped = [trial.user_attrs.get("stopped") for trial in (a, b)]
        assert stopped[0] == stopped[1]


def epochs_run(monkeypatch: pytest.MonkeyPatch, then: Any = lambda population: None) -> list[int]:
    """Return a list that gets the number of members of each epoch that a population runs."""
    found: list[int] = []
    run_epoch = Population.run_epoch

    def counted(self: Population) -> None:
        found.append(len(self.alive))
        then(self)
        run_epoch(self)

    monkeypatch.setattr(Population, "run_epoch", counted)
    return found


def test_a_population_has_the_scores_and_the_models_of_the_sequential_search(alone, tmp_path, monkeypatch) -> None:
    epochs = epochs_run(monkeypatch)
    together = searched(tmp_path, "together", population=TRIALS)
    assert epochs == [TRIALS] * 3
    require_same(alone, together)
    assert sorted(path.parent.name for path in tmp_path.rglob("*.h5")) == sorted(
        f"trial_{trial.trial_id}" for trial in together.oracle.get_best_trials(2)
    )
    validation = together.hypermodel.splits_of(RECIPE).validation
    found = [[one.evaluate(*validation, verbose=0)[0] for one in t.get_best_models(2)] for t in (alone, together)]
    assert found[1] == pytest.approx(found[0], abs=1e-5)
    assert found[1] == pytest.approx([trial.score for trial in together.oracle.get_best_trials(2)], abs=1e-5)


def test_batches_structures_a_trial_of_its_own_and_quasi_random_draws(tmp_path, monkeypatch, caplog) -> None:
    caplog.set_level(logging.INFO, "kopt")
    recipe = dataclasses.replace(RECIPE, augment=None, training=kopt.Training(epochs=2, batch_size=32))
    ranges = {"schedule.rate": Range(1e-3, 1e-1, log=True), "model.units": [(4,), (8,)]}
    how: dict[str, Any] = {"sampler": "qmc", "max_trials": 4}
    one = searched(tmp_path, "one", recipe, ranges, **how)
    epochs = epochs_run(monkeypatch)
    other = searched(tmp_path, "other", recipe, ranges, population=3, **how)
    require_same(one, other)
    assert sum(epochs) + 2 * caplog.text.count("a structure of their own") == 2 * 4 and max(epochs) > 1


def test_batches_are_one_program_though_each_has_one_number_throughout(tmp_path, traces) -> None:
    recipe = dataclasses.replace(RECIPE, augment=None, training=kopt.Training(epochs=2, batch_size=32))

    def of(name: str, **how: Any) -> Tuner:
        tuner = tuner_of(tmp_path, name, recipe, {"rule.beta_1": [0.5, 0.9, 0.7]}, max_trials=5, duplicates=True, **how)
        for beta in (0.5, 0.5, 0.9, 0.9, 0.7):
            tuner.enqueue(**{"rule.beta_1": beta})
        tuner.search(verbose=0)
        return tuner

    together = of("together", population=2)
    assert sorted(traces) == ["test", "train"]  # the fifth trial, which has a structure of its own, is trained alone
    require_same(of("alone"), together)


class StopTwo(optuna.pruners.BasePruner):
    """Stops the first trial at the second of three epochs, and the third trial at the last, where it is at its end."""

    def prune(self, study: Any, trial: Any) -> bool:
        return trial.last_step >= {0: 2, 1: 9, 2: 3}[trial.number]


def test_pruned_trials_leave_between_epochs_and_keep_their_best_models(tmp_path, monkeypatch) -> None:
    found = []
    recipe = dataclasses.replace(RECIPE, average=None, augment=None)
    for name, population in (("alone", None), ("together", 3)):
        epochs = epochs_run(monkeypatch) if population else []
        how: dict[str, Any] = {"max_trials": 3, "pruner": StopTwo(), "keep": 3}
        found.append(searched(tmp_path, name, recipe, population=population, **how))
    require_same(*found)
    assert [one.state.name for one in found[1].study.trials] == ["PRUNED", "COMPLETE", "COMPLETE"]
    assert epochs == [3, 3, 2]
    best = found[1].oracle.get_best_trials(3)
    assert best[0].best_step == 2  # that of the epoch after the first trial had left
    validation = found[1].hypermodel.splits_of(recipe).validation
    losses = [found[1].load_model(one).evaluate(*validation, verbose=0)[0] for one in best]
    assert losses == pytest.approx([one.score for one in best], abs=1e-5)


def test_a_trial_that_is_not_finite_fails_as_alone(tmp_path) -> None:
    found = []
    for name, population in (("alone", None), ("together", 2)):
        recipe = dataclasses.replace(RECIPE, average=None, augment=None)
        ranges = {"schedule.rate": Choice((1e-2, 1e36))}
        found.append(searched(tmp_path, name, recipe, ranges, sampler="grid", max_trials=2, population=population))
    states = [{one.params["schedule.rate"]: one.state.name for one in tuner.study.trials} for tuner in found]
    assert states[0] == states[1] == {1e-2: "COMPLETE", 1e36: "FAIL"}
    errors = [[one.user_attrs.get("error") for one in tuner.study.trials] for tuner in found]
    assert errors[0] == errors[1]


def test_time_that_is_up_stops_all_and_a_process_leaves_when_all_are_told(tmp_path, monkeypatch) -> None:
    tuner = tuner_of(tmp_path, "late", max_trials=5, population=2, timeout="1h")
    epochs = epochs_run(monkeypatch, lambda population: setattr(tuner.oracle, "deadline", 0.0))
    monkeypatch.setenv(launched.TRIALS, "1")
    with pytest.raises(SystemExit):
        tuner.search(verbose=0)
    assert epochs == [2]
    for one in tuner.study.trials:
        assert one.state.name == "PRUNED" and one.user_attrs["stopped"] == "timeout"
        assert one.user_attrs["keras_tuner"]["score"] > 0  # that of its one epoch


def test_ctrl_c_hands_all_back_and_what_raises_together_is_trained_alone(alone, tmp_path, monkeypatch, caplog) -> None:
    def interrupt(population: Population) -> None:
        if population.epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        epochs_run(patch, interrupt)
        with pytest.raises(KeyboardInterrupt):
            searched(tmp_path, "stopped", population=TRIALS)
    assert "stopped by Ctrl-C in trial 0 in trial 1 in trial 2 in trial 3;" in caplog.text

    def fault(population: Population) -> None:
        if population.epoch == 1:
            raise MemoryError("too much")

    caplog.set_level(logging.INFO, "kopt")
    epochs_run(monkeypatch, fault)
    again = searched(tmp_path, "stopped", population=TRIALS)
    assert [one.state.name for one in again.study.trials[:TRIALS]] == ["FAIL"] * TRIALS
    require_same(alone, again)
    assert "for they have a MemoryError together: too much" in caplog.text


def test_processes_share_a_search_and_a_killed_ones_trials_end_as_alone(alone, tmp_path, monkeypatch) -> None:
    """Another process begins two trials and waits; this one trains the others; the other one is killed."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    path = os.pathsep.join([str(pathlib.Path(kopt.__file__).parent.parent), *(one for one in sys.path if one)])
    other = subprocess.Popen(
        [sys.executable, __file__, str(tmp_path)], env=os.environ | {"PYTHONPATH": path}, text=True, **pipes
    )
    assert other.stdin is not None and other.stdout is not None
    assert other.stdout.readline() == "begun\n"

    class Killing(Tuner):
        def on_trial_end(self, trial: Any) -> None:
            super().on_trial_end(trial)
            if trial.trial_id == "3":
                other.stdin.write("go on\n")
                other.stdin.flush()

    epochs = epochs_run(monkeypatch)
    tuner = searched(tmp_path, "shared", population=2, kind=Killing)
    assert other.wait() == -signal.SIGKILL
    other.stdin.close()
    other.stdout.close()
    assert epochs == [2] * 6
    assert [(one.number, one.user_attrs.get("tries")) for one in finished(tuner)] == [
        (4, [0]),
        (5, [1]),
        (2, None),
        (3, None),
    ]
    require_same(alone, tuner)


def be_killed(folder: str) -> None:
    """Begin a search; in its second epoch, wait for a line and be killed."""
    run_epoch = Population.run_epoch

    def killed(self: Population) -> None:
        if self.epoch == 1:
            print("begun", flush=True)
            sys.stdin.readline()
            os.kill(os.getpid(), signal.SIGKILL)
        run_epoch(self)

    Population.run_epoch = killed  # type: ignore[method-assign]
    searched(pathlib.Path(folder), "shared", population=2)


class OwnFit(HyperModel):
    def fit(self, *args: Any, **named: Any) -> Any:
        return super().fit(*args, **named)


class OwnHook(Tuner):
    def on_epoch_end(self, *args: Any, **named: Any) -> None:
        super().on_epoch_end(*args, **named)


def test_what_needs_one_model_a_trial_is_named(tmp_path, caplog) -> None:
    caplog.set_level(logging.INFO, "kopt")
    tuner = tuner_of(tmp_path, "reasons", population=2)
    assert objection_to(tuner, [], {"verbose": 0, "callbacks": []}) == ""
    given = {"callbacks": [keras.callbacks.TerminateOnNaN()], "epochs": 2}
    assert objection_to(tuner, [], given) == "callbacks, fit's arguments epochs"
    folds = tuner_of(tmp_path, "folds", population=2, folds=2, kind=OwnHook)
    assert objection_to(folds, [], {}) == "folds or executions_per_trial > 1, a tuner with its own on_epoch_end"
    tuner.hypermodel = OwnFit(RECIPE, RANGES)
    assert "no kopt.tuning.HyperModel over a recipe" in objection_to(tuner, [], {})

    def build(hp: Any) -> Any:
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(hp.Float("rate", 1e-3, 1.0)), "mse", run_eagerly=True)
        return model

    by_function = Tuner(build, "loss", max_trials=2, population=2, directory=tmp_path, project_name="function")
    by_function.search(np.eye(2), np.ones((2, 1)), verbose=0)
    assert [one.state.name for one in by_function.study.trials] == ["COMPLETE"] * 2
    assert "all trials are trained alone, for the search has a hypermodel that is no kopt" in caplog.text


def test_recipes_that_are_no_members_are_trained_alone(tmp_path, monkeypatch, caplog) -> None:
    caplog.set_level(logging.INFO, "kopt")
    epochs = epochs_run(monkeypatch)
    recipe = dataclasses.replace(RECIPE, training=kopt.Training(1, batch_size=32, micro_batches=2))
    tuner = searched(tmp_path, "micro", recipe, max_trials=2, population=2)
    assert [one.state.name for one in tuner.study.trials] == ["COMPLETE"] * 2 and epochs == []
    assert "trials 0, 1 are trained one after the other, for they have training.micro_batches > 1" in caplog.text


class Interrupted(Tuner):
    """Is interrupted, as by Ctrl-C, before the second epoch."""

    def on_epoch_begin(self, trial: Any, model: Any, epoch: int, logs: Any = None) -> None:
        if epoch == 1:
            raise KeyboardInterrupt


def test_a_trial_with_a_checkpoint_goes_on_alone_and_the_others_train_together(
    alone, tmp_path, monkeypatch, caplog
) -> None:
    monkeypatch.setattr(checkpoints, "EVERY", "1 epoch")
    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path, "begun", kind=Interrupted)
    caplog.set_level(logging.INFO, "kopt")
    epochs = epochs_run(monkeypatch)
    again = searched(tmp_path, "begun", population=TRIALS)
    assert "trials 1 are trained one after the other, for they have a checkpoint to go on from" in caplog.text
    assert epochs == [TRIALS - 1] * 3 and "anew" not in caplog.text
    require_same(alone, again)


def test_too_large_models_are_pruned_as_alone(tmp_path) -> None:
    tuner = tuner_of(tmp_path, "large", max_trials=2, population=2, max_parameters=10)
    with pytest.raises(RuntimeError, match="all 2 trials failed"):
        tuner.search(verbose=0)
    assert [one.user_attrs["stopped"] for one in tuner.study.trials] == ["oversized"] * 2


@pytest.mark.parametrize("population", [1, 0, 2.5, "8"])
def test_a_population_is_two_trials_or_more(population: Any, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"population must be a whole number >= 2, got"):
        tuner_of(tmp_path, "refused", population=population)


if __name__ == "__main__":
    be_killed(sys.argv[1])
