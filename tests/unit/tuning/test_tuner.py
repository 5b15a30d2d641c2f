"""Tuner: KerasTuner's interface, samplers, starts, objectives, budgets, recipes and the report."""

from typing import Any

import keras
import keras_tuner
import optuna
import pytest
import tensorflow as tf
from examples import RECIPE
from searches import DATA, StopAt, X, Y, build, line, told
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from kopt.augment import Jitter
from kopt.training import sharpness
from kopt.tuning import Choice, HyperModel, Range, Tuner
from kopt.values import read, replace


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
            assert read(best, "augment.second.turn") == params["augment.second.turn"]
            assert tuner.study.best_trial.last_step == best.training.epochs == params["training.epochs"]
        else:
            assert repr(best.augment) == params["augment"] and best.augment in kinds.options


def test_sharpness_is_searched_by_its_radius_and_by_its_kind(tmp_path) -> None:
    """A trial trains with the radius that it drew: another one gives another loss, and a radius near 0 that of none."""
    recipe = replace(RECIPE, {"sharpness": sharpness.SAM(0.05), "training.epochs": 2})
    losses = {}
    for rho in (1e-7, 0.5):
        hypermodel = HyperModel(recipe, {"sharpness.rho": Range(1e-8, 1.0, log=True)}, jit=False)
        tuner = Tuner(hypermodel, "val_loss", max_trials=1, directory=tmp_path, project_name=f"{rho}")
        tuner.enqueue(**{"sharpness.rho": rho})
        tuner.search(verbose=0)
        (trial,) = tuner.study.trials
        assert trial.params == {"sharpness.rho": pytest.approx(rho)}
        losses[rho] = trial.value
    hypermodel = HyperModel(recipe, {"sharpness": Choice((sharpness.ASAM(0.5), None))}, jit=False)
    tuner = Tuner(hypermodel, "val_loss", max_trials=1, directory=tmp_path, project_name="kinds")
    tuner.enqueue(sharpness="None")
    tuner.search(verbose=0)
    assert tuner.study.trials[0].value == pytest.approx(losses[1e-7], rel=1e-4) != pytest.approx(losses[0.5], rel=1e-3)


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
        # The second asks for a point in vain.
        ran = [one for one in tuner.study.trials if "surplus" not in one.user_attrs]
        assert [one.state.name for one in ran] == ["COMPLETE"] * 3 * (1 + 4)
        assert len({tuple(one.params.items()) for one in ran}) == 15


@pytest.mark.parametrize("kind", ["RandomSearch", "Hyperband", "BayesianOptimization", "GridSearch"])
def test_keras_tuners_own_tuners_search_recipes(kind: str, tmp_path) -> None:
    ranges = {"schedule.rate": Range(1e-3, 1e-1, log=True), "model.units": Choice(((4,), (8,)))}
    how: dict[str, Any] = {"max_epochs": 2} if kind == "Hyperband" else {"max_trials": 2}
    tuner = getattr(keras_tuner, kind)(HyperModel(RECIPE, ranges), "val_accuracy", directory=tmp_path, **how)
    tuner.search(verbose=0, callbacks=[keras.callbacks.TensorBoard(tmp_path / "logs")] if kind == "GridSearch" else [])
    assert tuner.get_best_hyperparameters()[0].get("schedule.rate") > 0
    assert all(trial.status == "COMPLETED" for trial in tuner.oracle.trials.values())


def test_tensorboard_has_a_folder_and_the_hyperparameters_of_each_trial(tmp_path) -> None:
    tuner = Tuner(build, "val_loss", max_trials=2, directory=tmp_path)
    tuner.search(**DATA, callbacks=[keras.callbacks.TensorBoard(tmp_path / "logs")])
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == ["0", "1"]
    for trial in tuner.oracle.trials.values():
        files = (tmp_path / "logs" / trial.trial_id).rglob("*tfevents*")
        events = [event for file in files for event in tf.compat.v1.train.summary_iterator(str(file))]
        plugins = [value.metadata.plugin_data for event in events for value in event.summary.value]
        kept = [HParamsPluginData.FromString(one.content) for one in plugins if one.plugin_name == "hparams"]
        begun = next(one.session_start_info.hparams for one in kept if one.HasField("session_start_info"))
        assert {name: value.number_value for name, value in begun.items()} == trial.hyperparameters.values
        assert any(one.HasField("session_end_info") for one in kept)


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
    for part in ("Learning curves", "Importances", "Parallel coordinates", "contours", "alone", "Scores in", "pruned"):
        assert part in page
    assert "http" not in page and "<script" not in page
    assert sum(more.importances().values()) == pytest.approx(1)
    several = Tuner(build, ["val_loss", "parameters"], max_trials=3, directory=tmp_path, project_name="several")
    several.search(**DATA)
    assert "Pareto" in several.report().read_text()
