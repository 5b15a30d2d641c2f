"""open_search: a search's folder, storage and study, for a new search or one to go on with."""

import os
import pathlib
from typing import Any

import optuna

from kopt.distribute import launched
from kopt.tuning.search.locks import Place
from kopt.tuning.search.retries import Lost, queue_again
from kopt.tuning.search.storage import open_storage, open_study

__all__ = ["open_search"]


def open_search(
    folder: str | os.PathLike[str],
    storage: Any,
    name: str,
    objectives: Any,
    sampler: Any,
    pruner: Any,
    *,
    overwrite: bool = False,
) -> Lost:
    """Open a search, or begin it; the processes of one search do so one after the other.

    Args:
        folder: The search's.
        storage: As for `storage.open_storage`.
        name: The study's.
        objectives: What `objectives.objectives_of` gives.
        sampler: What draws.
        pruner: What stops trials.
        overwrite: Whether to begin anew. Of the processes of one launch, the first does.

    Returns:
        The study, its storage and its folder, in what finds lost trials.

    Raises:
        ValueError: When the folder or the storage cannot be used, or another process is searching in what is to be
            overwritten.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = open_search(folder, None, "digits", None, None, None)
        ...     found.study.study_name, found.own
        ('digits', True)
    """
    place = Place(folder)
    listed = objectives if isinstance(objectives, list) else [objectives]
    ways = [getattr(one, "direction", "min") for one in listed]
    with place.alone():
        if overwrite and not cleared_by_this_launch(place):
            place.clear()
            clear_study(open_storage(storage, place.folder), name)
            (place.locks / "launch").write_text(launched.launch_name() or "")
        found = open_storage(storage, place.folder, queue_again)
        study = open_study(found, name, ways, sampler, pruner)
    return Lost(study, found, place, own=storage is None)


def clear_study(storage: Any, name: str) -> None:
    if name in {one.study_name for one in optuna.get_all_study_summaries(storage=storage)}:
        optuna.delete_study(study_name=name, storage=storage)


def cleared_by_this_launch(place: Place) -> bool:
    file: pathlib.Path = place.locks / "launch"
    return launched.launch_name() is not None and file.exists() and file.read_text() == launched.launch_name()
