"""Open a search from its folder alone, to look at it: without its script, its data or its model."""

import os

import keras_tuner
import optuna
from optuna.study import StudyDirection

from kopt.tuning.search.folder import SearchFolder
from kopt.tuning.search.locks import locks_of
from kopt.tuning.search.oracle import StudyOracle
from kopt.tuning.search.records import StudyRecord
from kopt.tuning.search.retries import Retries
from kopt.tuning.search.storage import open_storage
from kopt.tuning.space.samplers import sampler_of
from kopt.tuning.trial.objectives import objectives_of
from kopt.values.checks import require
from kopt.values.places import as_path

__all__ = ["reopened_search"]


def reopened_search(folder: str | os.PathLike[str], storage: str | None = None) -> StudyOracle:
    """Open a search that was begun by a `Tuner`, whether processes are at work in it or not.

    Args:
        folder: The folder of the search, <directory>/<project_name>.
        storage: As the `storage` of its `Tuner`; None for the journal in the folder.

    Returns:
        Its oracle, which begins no trials and requeues none.

    Raises:
        ValueError: When there is no such search.

    Example:
        >>> reopened_search("nowhere")
        Traceback (most recent call last):
        ValueError: folder must be that of a search, with a journal.log, got 'nowhere'.
    """
    place = as_path(folder)
    rule = "must be that of a search" + (", with a journal.log" if storage is None else "")
    there = os.path.isdir(place) and (storage is not None or os.path.isfile(place / "journal.log"))
    require(there, "folder", rule, str(folder))
    found, name = open_storage(storage, place), place.resolve().name
    known = sorted(one.study_name for one in optuna.get_all_study_summaries(storage=found))
    require(name in known, "folder", f"must be of a study in the storage, which has {', '.join(known) or 'none'}", name)
    study = optuna.load_study(study_name=name, storage=found, sampler=sampler_of("random", 0))
    names = StudyRecord.of(study).objectives
    require(names is not None, "folder", "must be of a search that was begun by a Tuner", str(folder))
    ways = ["max" if one == StudyDirection.MAXIMIZE else "min" for one in study.directions]
    objective = objectives_of([keras_tuner.Objective(one, way) for one, way in zip(names or (), ways)])
    opened = SearchFolder(place)
    retries = Retries(study, found, opened, locks_of(study, found, opened, whole=storage is None))
    oracle = StudyOracle(objective, None, retries=retries)
    oracle.reload()
    return oracle
