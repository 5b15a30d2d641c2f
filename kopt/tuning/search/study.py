"""open_search: a search's folder, storage and study, for a new search or one to go on with."""

import os
import pathlib

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from kopt.distribute import launched
from kopt.tuning.search.folder import SearchFolder
from kopt.tuning.search.locks import locks_of
from kopt.tuning.search.retries import Retries, queue_again
from kopt.tuning.search.storage import open_storage, open_study
from kopt.values.types import Objective

__all__ = ["open_search"]


def open_search(
    folder: str | os.PathLike[str],
    storage: str | os.PathLike[str] | BaseStorage | None,
    name: str,
    objectives: Objective | list[Objective] | None,
    sampler: BaseSampler | None,
    pruner: BasePruner | None,
    *,
    overwrite: bool = False,
) -> Retries:
    """Open a search, or begin it; the processes of one search do so one after the other.

    Args:
        folder: The search's folder.
        storage: As for `storage.open_storage`.
        name: The study's name.
        objectives: What `objectives.objectives_of` returns.
        sampler: What draws.
        pruner: What stops trials.
        overwrite: Whether to begin anew. Of the processes of one launch, the first does.

    Returns:
        The object that begins and requeues trials, with the study, its storage and its folder.

    Raises:
        ValueError: When the folder or the storage cannot be used, or another process is searching in what is to be
            overwritten.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = open_search(folder, None, "digits", None, None, None)
        ...     found.study.study_name, len(found.locks)
        ('digits', 1)
    """
    opened = SearchFolder(folder)
    listed = objectives if isinstance(objectives, list) else [objectives]
    directions = ["min" if one is None else one.direction for one in listed]
    with opened.alone():
        if overwrite and not cleared_by_this_launch(opened):
            opened.clear()
            clear_study(open_storage(storage, opened.path), name)
            (opened.locks / "launch").write_text(launched.launch_name() or "")
        found = open_storage(storage, opened.path, requeue)
        study = open_study(found, name, directions, sampler, pruner)
    return Retries(study, found, opened, locks_of(study, found, opened, whole=storage is None))


def requeue(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue a trial again whose heartbeat has stopped; Optuna calls this."""
    queue_again(study, trial)


def clear_study(storage: BaseStorage, name: str) -> None:
    if name in {one.study_name for one in optuna.get_all_study_summaries(storage=storage)}:
        optuna.delete_study(study_name=name, storage=storage)


def cleared_by_this_launch(folder: SearchFolder) -> bool:
    file: pathlib.Path = folder.locks / "launch"
    return launched.launch_name() is not None and file.exists() and file.read_text() == launched.launch_name()
