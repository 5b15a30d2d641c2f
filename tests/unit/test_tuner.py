"""Tuner: KerasTuner's interface, pruning, folds, checkpoints, objectives, starts, budgets and memory."""

import contextlib
import gc
import pathlib
from typing import Any

import keras
import keras_tuner
import numpy as np
import optuna
import pytest
from examples import RECIPE

from kopt import fields
from kopt.augment import Jitter
from kopt.tuning import Choice, HyperModel, Range, Tuner, tuner as tuner_module

X = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
Y = (X[:, :1] > 0).astype("int32")
DATA: dict[str, Any] = {"x": X, "y": Y, "validation_data": (X, Y), "verbose": 0}


def build(hp: Any) -> keras.Model:
    units = hp.Choice("units", [2, 8, 32])
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(units, "relu"), keras.layers.Dense(1, "sigmoid")])
    rate = hp.Float("rate", 1e-3, 1.0, sampling="log")
    model.compile(keras.optimizers.SGD(rate), "binary_crossentropy", metrics=["accuracy"], run_eagerly=True)
    return model


def checkpoints(folder: pathlib.Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.h5"))


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


def test_keras_tuners_interface(tmp_path, capsys) -> None:
    tuner = Tuner(build, "val_accuracy", max_trials=4, directory=tmp_path, project_name="a")
    assert isinstance(tuner, keras_tuner.Tuner) and tuner.remaining_trials == 4
    tuner.search(**DATA | {"verbose": 1}, epochs=2)
    assert tuner.remaining_trials == 0
    best = tuner.oracle.get_best_trials(4)
    assert [trial.score for trial in best] == sorted((trial.value for trial in tuner.study.trials), reverse=True)
    for trial, model in zip(best[:3], tuner.get_best_models(3)):
        assert model.evaluate(X, Y, verbose=0, return_dict=True)["accuracy"] == pytest.approx(trial.score)
    hp = tuner.get_best_hyperparameters()[0]
    assert tuner.hypermodel.build(hp).layers[0].units == hp.get("units") == best[0].hyperparameters["units"]
    capsys.readouterr()
    tuner.results_summary()
    tuner.search_space_summary()
    out = capsys.readouterr().out
    assert f"Score: {best[0].score}" in out and "rate (Float)" in out


def test_a_finished_search_goes_on_with_more_trials_as_if_it_had_not_ended(tmp_path) -> None:
    for sampler in ("tpe", "random"):
        line(tmp_path / f"{sampler}a", 12, sampler=sampler)
        parts = line(tmp_path / f"{sampler}a", 16, sampler=sampler)
        whole = line(tmp_path / f"{sampler}b", 16, sampler=sampler)
        assert told(parts) == told(whole)
        assert len({trial["x"] for trial in told(whole)}) == 16
        assert told(line(tmp_path / f"{sampler}c", 16, sampler=sampler, seed=1)) != told(whole)


def test_a_search_can_be_repeated_model_by_model(tmp_path) -> None:
    scores = []
    for name in "ab":
        tuner = Tuner(build, "val_loss", max_trials=2, directory=tmp_path, project_name=name)
        tuner.search(**DATA, epochs=2)
        scores.append([trial.value for trial in tuner.study.trials])
    assert scores[0] == scores[1]


class StopAt(optuna.pruners.BasePruner):
    """Stops every trial but the first at a step."""

    def __init__(self, step: int):
        self.step = step

    def prune(self, study, trial):
        return trial.number > 0 and trial.last_step >= self.step


def test_the_pruner_sees_every_epoch_and_a_pruned_trial_keeps_its_best_checkpoint(tmp_path) -> None:
    tuner = Tuner(build, "val_loss", max_trials=3, pruner=StopAt(2), keep=5, directory=tmp_path, project_name="a")
    tuner.search(**DATA, epochs=4)
    trials = tuner.study.trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "PRUNED", "PRUNED"]
    assert [sorted(trial.intermediate_values) for trial in trials] == [[1, 2, 3, 4], [1, 2], [1, 2]]
    assert trials[0].value == pytest.approx(min(trials[0].intermediate_values.values()))
    assert [trial.trial_id for trial in tuner.oracle.get_best_trials(3)][0] == "0"
    assert checkpoints(tmp_path / "a") == [f"trial_{number}/checkpoint.weights.h5" for number in range(3)]
    pruned = tuner.oracle.get_best_trials(3)[1]
    score = tuner.load_model(pruned).evaluate(X, Y, verbose=0, return_dict=True)["loss"]
    assert (
        score
        == pytest.approx(pruned.score)
        == pytest.approx(min(trials[int(pruned.trial_id)].intermediate_values.values()))
    )


def test_a_stop_at_the_last_epoch_is_none(tmp_path) -> None:
    tuner = Tuner(build, "val_loss", max_trials=2, pruner=StopAt(2), directory=tmp_path)
    tuner.search(**DATA, epochs=2)
    assert [trial.state.name for trial in tuner.study.trials] == ["COMPLETE"] * 2


@pytest.mark.parametrize("pruner", ["asha", "hyperband", "median"])
def test_pruners_by_name(pruner: str, tmp_path) -> None:
    class Curves(Tuner):
        def run_trial(self, trial):
            slope = trial.hyperparameters.Float("slope", 0, 1)
            for step in range(1, 10):
                if self.oracle.report(trial, slope * step, step) and step < 9:
                    raise optuna.TrialPruned
            return slope * 9

    tuner = Curves(None, keras_tuner.Objective("height", "max"), max_trials=30, pruner=pruner, directory=tmp_path)
    tuner.oracle.verbose = 0
    tuner.search()
    states = [trial.state.name for trial in tuner.study.trials]
    assert states.count("PRUNED") >= 8
    slopes = [trial.params["slope"] for trial in tuner.study.trials]
    assert tuner.study.best_params["slope"] == max(slopes)  # the best straight line is never stopped


def test_folds_and_executions_are_averaged_and_stopped_between(tmp_path) -> None:
    seen: list[tuple[int, int]] = []

    class Fits(keras_tuner.HyperModel):
        def build(self, hp):
            return build(hp)

        def fit(self, hp, model, x, y, validation_data, **kwargs):
            seen.append((len(x), len(validation_data[0])))
            return {"val_loss": float(len(seen)), "rows": float(x[:, 0].sum())}

    how = {"max_trials": 2, "folds": 4, "executions_per_trial": 2, "directory": tmp_path}
    tuner = Tuner(Fits(), "val_loss", pruner=StopAt(3), **how)
    tuner.search(X, Y, verbose=0)
    trials = tuner.study.trials
    assert seen == [(30, 10)] * (8 + 3)
    assert trials[0].value == 4.5 and trials[0].intermediate_values == {n: float(n) for n in range(1, 8)}
    assert trials[1].state.name == "PRUNED" and trials[1].intermediate_values == {1: 9.0, 2: 10.0, 3: 11.0}
    assert tuner.oracle.get_best_trials(2)[1].score == 10.0


def test_wilcoxon_stops_what_is_worse_than_the_best_on_the_same_folds(tmp_path) -> None:
    folds = [0.0, 5.0, 1.0, 7.0, 3.0, 9.0]  # some are harder than others by more than the trials differ
    seen: list[float] = []

    class Fits(keras_tuner.HyperModel):
        def build(self, hp):
            hp.Float("worse", -1, 1)
            return build(hp)

        def fit(self, hp, model, x, y, validation_data, **kwargs):
            seen.append(hp.get("worse"))
            return {"val_loss": folds[(seen.count(hp.get("worse")) - 1) % len(folds)] + hp.get("worse")}

    tuner = Tuner(Fits(), "val_loss", max_trials=3, folds=len(folds), pruner="wilcoxon", directory=tmp_path)
    for worse in (0.0, 0.5, -0.5):
        tuner.enqueue(worse=worse)
    tuner.search(X, Y, verbose=0)
    # Of four folds all worse, the one-sided p is 1 / 16, the first below the pruner's 0.1.
    assert [(one.state.name, one.last_step) for one in tuner.study.trials] == [
        ("COMPLETE", 5),
        ("PRUNED", 4),
        ("COMPLETE", 5),
    ]
    assert tuner.study.best_params["worse"] == -0.5


def test_each_fold_is_trained_on_its_rows(tmp_path) -> None:
    tuner = Tuner(build, "val_accuracy", max_trials=1, folds=2, directory=tmp_path)
    tuner.search(X, Y, sample_weight=np.ones(40), epochs=1, verbose=0)
    tuner = Tuner(build, "val_accuracy", max_trials=1, folds=2, directory=tmp_path, project_name="groups")
    tuner.search(x=X, y=Y, groups=np.arange(40) // 10, epochs=1, verbose=0)
    assert tuner.study.trials[0].state.name == "COMPLETE"


def test_only_the_best_checkpoints_stay_on_the_disk(tmp_path) -> None:
    tuner = Tuner(build, "val_loss", max_trials=5, keep=2, directory=tmp_path, project_name="a")
    tuner.search(**DATA, epochs=2)
    best = sorted(trial.trial_id for trial in tuner.oracle.get_best_trials(2))
    assert checkpoints(tmp_path / "a") == [f"trial_{number}/checkpoint.weights.h5" for number in best]
    assert not list((tmp_path / "a").rglob("progress*")) and len(tuner.get_best_models(2)) == 2
    with pytest.raises(ValueError, match=r"^trial must be one of the keep = 2 best, whose checkpoints are kept"):
        tuner.get_best_models(3)
    (tmp_path / "a" / "trial_9").mkdir()


def test_what_a_user_writes_into_a_trials_folder_stays(tmp_path) -> None:
    class Notes(Tuner):
        def run_trial(self, trial, *args, **kwargs):
            results = super().run_trial(trial, *args, **kwargs)
            pathlib.Path(self.get_trial_dir(trial.trial_id), "note.txt").write_text("mine")
            return results

    Notes(build, "val_loss", max_trials=2, keep=0, directory=tmp_path).search(**DATA)
    assert len(list(tmp_path.rglob("note.txt"))) == 2 and checkpoints(tmp_path) == []


def test_a_lost_trial_goes_on_from_its_last_epoch(tmp_path) -> None:
    """An epoch that ended is not run again, and the result is that of all epochs, before the loss and after."""
    begun: list[int] = []

    class Diary(keras.callbacks.Callback):
        def __init__(self, fail: bool):
            super().__init__()
            self.fail = fail

        def on_epoch_begin(self, epoch, logs=None):
            begun.append(epoch)
            if self.fail and epoch == 2:
                raise KeyboardInterrupt  # leaves the checkpoints as a killed process would

    tuner = Tuner(build, "val_loss", max_trials=1, directory=tmp_path, project_name="a")
    with pytest.raises(KeyboardInterrupt):
        tuner.search(**DATA, epochs=4, callbacks=[Diary(True)])
    assert sorted(path.name for path in (tmp_path / "a" / "trial_0").iterdir()) == [
        "checkpoint.weights.h5",
        "last-2.weights.h5",
        "progress.json",
    ]
    again = Tuner(build, "val_loss", max_trials=1, directory=tmp_path, project_name="a")
    again.search(**DATA, epochs=4, callbacks=[Diary(False)])
    assert begun == [0, 1, 2, 2, 3]
    lost, found = again.study.trials
    assert (lost.state.name, found.state.name) == ("FAIL", "COMPLETE") and lost.params == found.params
    assert sorted(found.intermediate_values) == [1, 2, 3, 4]
    assert {step: found.intermediate_values[step] for step in (1, 2)} == lost.intermediate_values
    assert found.value == pytest.approx(min(found.intermediate_values.values()))
    uninterrupted = Tuner(build, "val_loss", max_trials=1, directory=tmp_path, project_name="b")
    uninterrupted.search(**DATA, epochs=4)
    assert lost.intermediate_values == {
        step: uninterrupted.study.trials[0].intermediate_values[step] for step in (1, 2)
    }
    assert checkpoints(tmp_path / "a") == ["trial_1/checkpoint.weights.h5"]


def test_a_pareto_front_and_parameters_as_an_objective(tmp_path) -> None:
    tuner = Tuner(build, ["val_loss", "parameters"], max_trials=6, sampler="random", directory=tmp_path)
    tuner.search(**DATA, epochs=2)
    front = {str(trial.number) for trial in tuner.study.best_trials}
    best = [trial.trial_id for trial in tuner.oracle.get_best_trials(6)]
    assert set(best[: len(front)]) == front
    for trial in tuner.study.trials:
        units = tuner.oracle.get_trial(str(trial.number)).hyperparameters["units"]
        assert trial.values[1] == 3 * units + units + units + 1
    assert tuner.importances() and len(tuner.get_best_models()) == 1


def test_models_with_too_many_parameters_are_not_trained(tmp_path) -> None:
    tuner = Tuner(build, "val_loss", max_trials=6, sampler="random", max_parameters=50, directory=tmp_path)
    tuner.search(**DATA)
    for trial in tuner.study.trials:
        large = trial.params["units"] == 2
        assert trial.state.name == ("PRUNED" if large else "COMPLETE")
        assert trial.user_attrs.get("error") == ("The model must have <= 50 parameters, got 161." if large else None)
    assert {trial.state.name for trial in tuner.study.trials} == {"PRUNED", "COMPLETE"}
    tuner = Tuner(build, "val_loss", max_trials=2, max_parameters=1, directory=tmp_path, project_name="none")
    with pytest.raises(RuntimeError, match="(?s)^all 2 trials failed.*The model must have <= 1 parameters"):
        tuner.search(**DATA)


def test_a_time_budget_begins_no_trial_after_its_end_and_stops_the_one_under_way(tmp_path) -> None:
    class Late(Tuner):
        def on_epoch_end(self, trial, model, epoch, logs=None):
            if epoch == 1:
                self.oracle.deadline = 0.0  # the time is up
            super().on_epoch_end(trial, model, epoch, logs)

    tuner = Late(build, "val_loss", max_trials=None, timeout="2h", directory=tmp_path)
    tuner.search(**DATA, epochs=5)
    (trial,) = tuner.study.trials
    assert (trial.state.name, trial.user_attrs["stopped"], trial.last_step) == ("PRUNED", "timeout", 1)
    assert len(tuner.get_best_models()) == 1


def test_starts_are_run_first_and_once(tmp_path) -> None:
    for _ in range(2):  # as two processes that run the same script
        tuner = Tuner(build, "val_loss", max_trials=3, directory=tmp_path)
        tuner.enqueue(units=8)
        tuner.enqueue(units=32, rate=0.25)
    tuner.search(**DATA)
    values = [tuner.oracle.get_trial(number).hyperparameters.values for number in "012"]
    assert values[0]["units"] == 8 and values[1] == {"units": 32, "rate": 0.25}
    assert len(tuner.study.trials) == 3 and values[0]["rate"] != values[2]["rate"]


def test_starts_reach_twins_by_their_names(tmp_path) -> None:
    def twins(hp):
        kind = hp.Choice("kind", ["a", "b"])
        for one, rates in (("a", (0.1, 0.2)), ("b", (0.5, 0.6))):
            with hp.conditional_scope("kind", [one]):
                if kind == one:
                    rate = hp.Float("rate", *rates)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(rate), "mse", run_eagerly=True)
        return model

    tuner = Tuner(twins, "val_loss", max_trials=2, directory=tmp_path)
    tuner.enqueue(kind="b", rate=0.55)
    tuner.enqueue(kind="a", rate=0.15)
    tuner.search(**DATA)
    assert told(tuner) == [{"kind": "b", "rate [kind=b]": 0.55}, {"kind": "a", "rate [kind=a]": 0.15}]


def test_batch_size_and_epochs_of_a_fit_of_ones_own(tmp_path, caplog) -> None:
    class Own(keras_tuner.HyperModel):
        def build(self, hp):
            return build(hp)

        def fit(self, hp, model, *args, **kwargs):
            kwargs["epochs"] = hp.Int("epochs", 1, 3)
            return model.fit(*args, batch_size=hp.Choice("batch_size", [20, 40]), **kwargs)

    tuner = Tuner(Own(), "val_loss", max_trials=3, sampler="random", directory=tmp_path)
    tuner.enqueue(batch_size=40, epochs=2)
    tuner.enqueue(bach_size=40)
    tuner.search(**DATA)
    trials = tuner.study.trials
    assert all(trial.last_step == trial.params["epochs"] for trial in trials)
    assert trials[0].params["batch_size"] == 1 and trials[0].last_step == 2
    assert "trial 1 was given values that its model never asked for: bach_size" in caplog.text


def test_a_run_trial_of_ones_own_that_calls_the_tuners(tmp_path) -> None:
    class Own(Tuner):
        epochs: list[int] = []

        def run_trial(self, trial, *args, **kwargs):
            kwargs["batch_size"] = trial.hyperparameters.Int("batch_size", 20, 40, step=10)
            return super().run_trial(trial, *args, **kwargs)

        def on_batch_end(self, trial, model, batch, logs=None):
            self.epochs.append(batch)

    tuner = Own(build, "val_loss", max_trials=2, directory=tmp_path)
    tuner.search(X, Y, validation_data=(X, Y), verbose=0)
    assert all(set(trial.params) == {"units", "rate", "batch_size"} for trial in tuner.study.trials)
    assert len(Own.epochs) == sum(-(-40 // trial.params["batch_size"]) for trial in tuner.study.trials)


def test_a_recipe_is_searched_with_folds_and_a_pruner(tmp_path) -> None:
    ranges = {"schedule.rate": Range(1e-3, 1e-1, log=True), "training.batch_size": Choice((16, "full"))}
    tuner = Tuner(HyperModel(RECIPE, ranges), "val_accuracy", max_trials=2, folds=2, directory=tmp_path)
    tuner.search(verbose=0)
    assert [trial.state.name for trial in tuner.study.trials] == ["COMPLETE"] * 2
    tuner = Tuner(HyperModel(RECIPE, ranges), "val_acc", max_trials=2, directory=tmp_path, project_name="b")
    with pytest.raises(ValueError, match=r"^objective must be one of accuracy, loss, .* got 'val_acc'"):
        tuner.search(verbose=0)
    assert tuner.study.trials == []


def test_augmentation_is_searched_by_its_numbers_and_by_its_kind(tmp_path) -> None:
    kinds = Choice((RECIPE.augment, Jitter(0.1)))
    ranges = {"augment.height": Range(0, 0.2), "augment.second.turn": Range(0, 0.1), "training.epochs": Range(2, 3)}
    for name, given in (("numbers", ranges), ("kinds", {"augment": kinds})):
        hypermodel = HyperModel(RECIPE, given)
        tuner = Tuner(hypermodel, "val_loss", max_trials=2, directory=tmp_path, project_name=name)
        tuner.search(verbose=0)
        assert all(set(trial.params) == set(given) for trial in tuner.study.trials)
        best = hypermodel.space.fill(tuner.get_best_hyperparameters()[0])
        params = tuner.study.best_params
        if name == "numbers":
            assert fields.read(best, "augment.second.turn") == params["augment.second.turn"]
            assert tuner.study.best_trial.last_step == best.training.epochs == params["training.epochs"]
        else:
            assert repr(best.augment) == params["augment"] and best.augment in kinds.options


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "cma", optuna.samplers.RandomSampler(0)])
def test_samplers(sampler: Any, tmp_path) -> None:
    tuner = line(tmp_path, 14, sampler=sampler)
    assert len({params["x"] for params in told(tuner)}) >= 13


def test_gp_where_torch_is_installed(tmp_path) -> None:
    pytest.importorskip("torch")
    assert line(tmp_path, 16, sampler="gp").study.best_value < 0.1


def test_a_grid_ends_when_every_combination_was_tried(tmp_path) -> None:
    class Grid(Tuner):
        def run_trial(self, trial):
            hp = trial.hyperparameters
            return float(hp.Choice("a", [1, 4, 5]) * (hp.Int("b", 1, 4) if hp.Boolean("more") else 1))

    for _ in range(2):  # the second knows that nothing is left
        tuner = Grid(max_trials=100, sampler="grid", directory=tmp_path)
        tuner.oracle.verbose = 0
        tuner.search()
        assert len(tuner.study.trials) == 3 * (1 + 4)
        assert len({tuple(params.items()) for params in told(tuner)}) == 15


@pytest.mark.parametrize("kind", ["RandomSearch", "Hyperband", "BayesianOptimization", "GridSearch"])
def test_keras_tuners_own_tuners_search_recipes(kind: str, tmp_path) -> None:
    ranges = {"schedule.rate": Range(1e-3, 1e-1, log=True), "model.units": Choice(((4,), (8,)))}
    how: dict[str, Any] = {"max_epochs": 2} if kind == "Hyperband" else {"max_trials": 2}
    tuner = getattr(keras_tuner, kind)(HyperModel(RECIPE, ranges), "val_accuracy", directory=tmp_path, **how)
    tuner.search(verbose=0, callbacks=[keras.callbacks.TensorBoard(tmp_path / "logs")] if kind == "GridSearch" else [])
    assert tuner.get_best_hyperparameters()[0].get("schedule.rate") > 0
    assert all(trial.status == "COMPLETED" for trial in tuner.oracle.trials.values())


def test_tensorboard_has_a_folder_for_each_trial(tmp_path) -> None:
    tuner = Tuner(build, "val_loss", max_trials=2, directory=tmp_path)
    tuner.search(**DATA, callbacks=[keras.callbacks.TensorBoard(tmp_path / "logs")])
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == ["0", "1"]


def test_the_report_is_one_page_with_the_values_that_ran(tmp_path) -> None:
    tuner = Tuner(build, "val_loss", max_trials=5, sampler="random", pruner=StopAt(1), directory=tmp_path)
    with pytest.raises(ValueError, match=r"^report\(\) must have a complete trial, got 0"):
        tuner.report()
    with pytest.raises(ValueError, match=r"^importances\(\) must have two complete trials or more, got 0"):
        tuner.importances()
    tuner.search(**DATA, epochs=2)
    more = Tuner(build, "val_loss", max_trials=9, sampler="random", directory=tmp_path)
    more.search(**DATA, epochs=2)
    page = more.report().read_text()
    for part in ("Learning curves", "Importances", "Parallel Coordinate", "Slice Plot", "Contour", "History", "pruned"):
        assert part in page
    assert "src=" not in page.replace('src=\\"', "") or "<script src" not in page
    assert "http" not in page.split("<body>")[1].split("<script")[0]
    assert sum(more.importances().values()) == pytest.approx(1)
    several = Tuner(build, ["val_loss", "parameters"], max_trials=3, directory=tmp_path, project_name="several")
    several.search(**DATA)
    assert "Pareto" in several.report().read_text()


def resident() -> float:
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def search_and_count(folder: pathlib.Path, trials: int) -> list[tuple[int, float]]:
    """Objects that are alive and resident megabytes after each trial of models with a traced program."""

    def traced(hp):
        model = keras.Sequential(
            [keras.Input((3,)), keras.layers.Dense(hp.Int("units", 50, 500)), keras.layers.Dense(1)]
        )
        model.compile("sgd", "mse", jit_compile=False)
        return model

    found: list[tuple[int, float]] = []

    class Counting(Tuner):
        def pre_create_trial(self):
            keras.backend.clear_session()
            gc.collect()
            found.append((len(gc.get_objects()), resident()))

    Counting(traced, "loss", max_trials=trials, sampler="random", directory=folder).search(X, Y, verbose=0)
    return found


def test_memory_is_free_after_each_trial(tmp_path) -> None:
    """Nothing of a trial stays but its record; 100 trials are measured by recipes/benchmarks/tuner_memory.py."""
    found = search_and_count(tmp_path, 25)
    assert found[25][1] < 1.1 * found[10][1]
    assert found[25][0] - found[10][0] < 15 * 100


@pytest.mark.parametrize(("jit", "trials"), [(False, 12), (True, 6)])
def test_memory_is_free_after_each_trial_of_a_recipe(jit: bool, trials: int, tmp_path) -> None:
    """Without XLA, of which TensorFlow frees no program: the second is the counter-test."""
    found: list[float] = []

    class Counting(Tuner):
        def on_trial_end(self, trial):
            super().on_trial_end(trial)
            keras.backend.clear_session()
            gc.collect()
            found.append(resident())

    hypermodel = HyperModel(fields.replace(RECIPE, {"augment": None}), {"schedule.rate": Range(1e-3, 0.1)}, jit=jit)
    Counting(hypermodel, "loss", max_trials=trials, sampler="random", directory=tmp_path).search(verbose=0)
    growth = (found[-1] - found[1]) / (trials - 2)
    assert growth > 8 if jit else growth < 5


def test_memory_is_not_free_with_tensorflow_alone(tmp_path, monkeypatch) -> None:
    """The counter-test: each traced optimizer leaves its graph in TensorFlow's registry of gradients."""
    monkeypatch.setattr(tuner_module, "forgetting_gradients", contextlib.nullcontext)
    found = search_and_count(tmp_path, 6)
    assert found[6][0] - found[3][0] > 3 * 500
