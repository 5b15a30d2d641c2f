"""Trials: stopped by pruners, dealt into folds, kept as checkpoints, gone on with from their last epoch."""

import pathlib

import keras
import keras_tuner
import numpy as np
import optuna
import pytest
from searches import DATA, StopAt, X, Y, build

from kopt.tuning import Tuner


def checkpoints(folder: pathlib.Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.h5"))


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
        "last",
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
