"""The record of a trial and of a study: one file knows the keys, which are those of the searches on users' disks."""

import pathlib
import re

import numpy as np
import optuna
import pytest

import kopt
from kopt.tuning.search.records import StudyRecord, TrialRecord, place_of, tried_again, without_attributes

pytestmark = pytest.mark.fast

KEPT = {  # as kopt 0.1 has written it
    "where": "a1b2",
    "start": {"x": 0.25},
    "tries": [3, 5],
    "error": "",
    "stopped": "pruned",
    "surplus": True,
    "keras_tuner": {"trial_id": "7", "score": 0.5},
    "parameters": 1024,
}
RECORD = TrialRecord("a1b2", {"x": 0.25}, [3, 5], "", "pruned", True, {"trial_id": "7", "score": 0.5}, 1024)
STUDY = {
    "objectives": ["loss"],
    "meaning": {"folds": 1},
    "since": {"x": 0},
    "exhausted": True,
    "hyperparameter x": "FloatDistribution",
    "hyperparameter units of a": [16, 32],
}
HYPERPARAMETERS = {"x": "FloatDistribution", "units of a": [16, 32]}
STUDY_RECORD = StudyRecord(["loss"], {"folds": 1}, {"x": 0}, True, HYPERPARAMETERS)
NAMED = re.compile(r"(user|system)_attr")


def test_no_other_file_of_kopt_names_optunas_attributes() -> None:
    package = pathlib.Path(kopt.__file__).parent
    found = {file.relative_to(package).as_posix() for file in package.rglob("*.py") if NAMED.search(file.read_text())}
    assert found == {"tuning/search/records.py"}


def test_each_key_stands_once() -> None:
    package = pathlib.Path(kopt.__file__).parent / "tuning"
    text = (package / "search" / "records.py").read_text()
    for key in (*KEPT, *list(STUDY)[:4]):
        assert text.count(f'"{key}"') == 1, key


def test_a_trials_record_is_read_and_written_by_the_keys_on_users_disks() -> None:
    study = optuna.create_study()
    old = study.ask()
    for key, value in KEPT.items():
        old.set_user_attr(key, value)
    assert TrialRecord.of(old) == TrialRecord.of(study.trials[0]) == RECORD
    new = study.ask()
    RECORD.write(new)
    assert new.user_attrs == KEPT
    assert without_attributes(study.trials[1]).user_attrs == {} != study.trials[1].user_attrs


def test_what_has_no_value_is_not_written() -> None:
    study = optuna.create_study()
    trial = study.ask()
    TrialRecord().write(trial)
    StudyRecord().write(study)
    assert trial.user_attrs == {} == study.user_attrs
    assert TrialRecord.of(trial) == TrialRecord() and StudyRecord.of(study) == StudyRecord()


def test_a_record_that_is_added_leaves_the_rest() -> None:
    trial = optuna.create_study().ask()
    TrialRecord(folder="a").write(trial)
    TrialRecord(state={"score": np.float32(0.5), "steps": (1, 2)}).write(trial)
    assert TrialRecord.of(trial) == TrialRecord(folder="a", state={"score": 0.5, "steps": [1, 2]})


def test_a_studys_record_is_read_and_written_by_the_keys_on_users_disks() -> None:
    old, new = optuna.create_study(), optuna.create_study()
    for key, value in STUDY.items():
        old.set_user_attr(key, value)
    old.set_user_attr("a user's own", 1)
    assert StudyRecord.of(old) == STUDY_RECORD
    STUDY_RECORD.write(new)
    assert new.user_attrs == STUDY


def test_queued_trials_keep_their_record() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    TrialRecord(start={"x": 0.5}).enqueue(study)
    first = study.ask()
    value = first.suggest_float("x", 0, 1)
    first.report(0.25, 1)
    TrialRecord(tries=[0]).enqueue_values_of(study, study.trials[0], reports=True)
    TrialRecord(tries=[0, 1]).enqueue_values_of(study, study.trials[0], reports=False)
    _, again, last = study.trials
    assert first.user_attrs == {"start": {"x": 0.5}} and again.user_attrs == {"tries": [0]}
    assert again.params == last.params == {"x": value}
    assert (again.intermediate_values, last.intermediate_values) == ({1: 0.25}, {})
    assert tried_again(study.trials) == {0, 1} and [place_of(one, study.trials) for one in study.trials] == [0, 0, 0]
