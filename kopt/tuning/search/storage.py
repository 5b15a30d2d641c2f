"""Where a search is kept: a journal file that survives being cut, or a database."""

import contextlib
import json
import os
import pathlib
import sqlite3
import time
import warnings
from collections.abc import Callable, Sequence
from typing import TypeAlias

import optuna
import sqlalchemy
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from kopt.tuning.search.journal import Journal
from kopt.values.checks import require
from kopt.values.places import as_path
from kopt.values.texts import clipped

__all__ = ["GRACE", "HEARTBEAT", "Journal", "open_storage", "open_study"]

HEARTBEAT = 20  # seconds between the heartbeats of a trial in a database
TRIES = 10  # attempts to open a database that other processes make at the same time
GRACE = 3 * HEARTBEAT  # seconds without a heartbeat after which a trial's process counts as dead
# Errors that an entry with other fields, or with fields of another kind, raises in Optuna.
REPLAY: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RecursionError,
    RuntimeError,
    TypeError,
)
REPLAY += (json.JSONDecodeError, optuna.exceptions.OptunaError)
Stale: TypeAlias = Callable[[optuna.Study, FrozenTrial], None]  # called with a trial whose process counts as dead


def open_storage(
    storage: str | os.PathLike[str] | BaseStorage | None, folder: pathlib.Path, stale: Stale | None = None
) -> BaseStorage:
    """Open the storage of a search.

    Args:
        storage: None for a journal in the folder, a journal's path, a database's URL (not one in memory alone), or any
            Optuna storage.
        folder: The search's folder.
        stale: Called with the study and a trial of a database that has had no heartbeat for GRACE seconds.

    Returns:
        The storage.

    Raises:
        ValueError: When the storage cannot be reached, or is broken.
        ImportError: When the database's driver is not installed.

    Example:
        >>> import tempfile, pathlib
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     open_storage(None, pathlib.Path(folder))
        <optuna.storages.journal._storage.JournalStorage object at ...>
    """
    if isinstance(storage, BaseStorage):
        return optuna.storages.get_storage(storage)
    named = storage is None or isinstance(storage, (str, os.PathLike))
    require(named, "storage", "must be a path, a database's URL or an Optuna storage", storage)
    text = str(folder / "journal.log" if storage is None else storage)
    if "://" not in text:
        try:
            return replayed(Journal(str(as_path(text, "storage"))))
        except OSError as error:
            raise unreachable(text, error.strerror) from error
    in_memory = text in ("sqlite://", "sqlite:///:memory:")
    require(not in_memory, "storage", "must be kept in a file, sqlite:///search.db", text)
    try:
        require_whole(text)
        return database(text, stale)
    except (sqlalchemy.exc.DatabaseError, sqlalchemy.exc.NoSuchModuleError) as error:
        shown = sqlalchemy.engine.make_url(text).render_as_string(hide_password=True)
        raise unreachable(shown, str(error).splitlines()[0]) from error
    except sqlalchemy.exc.ArgumentError as error:
        raise ValueError("storage must be a journal's path or a database's URL, got another text.") from error


def replayed(journal: Journal) -> BaseStorage:
    """Open a journal, whose entries Optuna takes one after the other; an entry may lack anything."""
    try:
        return JournalStorage(journal)
    except REPLAY as error:
        why = clipped(f"{type(error).__name__}: {error}")
        raise ValueError(f"storage must be a whole journal, {journal.path} cannot be replayed ({why}).") from error


def database(url: str, stale: Stale | None) -> BaseStorage:
    """Open a database; make its tables where it is new, which another host may be doing at this moment."""
    for left in reversed(range(TRIES)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return optuna.storages.get_storage(
                    RDBStorage(
                        url,
                        heartbeat_interval=HEARTBEAT,
                        grace_period=GRACE,
                        heartbeat_stale_trial_callback=stale,
                    )
                )
        except sqlalchemy.exc.DatabaseError as error:
            just_made = isinstance(error, sqlalchemy.exc.IntegrityError) or "already exists" in str(error)
            if not left or not just_made:
                raise
            time.sleep(0.2)
    raise AssertionError


def require_whole(url: str) -> None:
    """Refuse a damaged SQLite file, which would otherwise break the search in its middle."""
    parts = sqlalchemy.engine.make_url(url)
    path = parts.database or ""
    if parts.get_backend_name() != "sqlite" or not os.path.exists(path):
        return
    with contextlib.closing(sqlite3.connect(path)) as database:
        try:
            ((found, *_),) = database.execute("PRAGMA integrity_check(1)").fetchall()[:1]
        except sqlite3.DatabaseError as error:
            found = str(error)
    rule = f"must be a whole database, {parts.database} is damaged (`sqlite3 FILE .recover` reads what is left)"
    require(found == "ok", "storage", rule, found.splitlines()[-1])


def unreachable(shown: str, reason: str | None) -> ValueError:
    return ValueError(f"storage must be one that can be reached, got {shown!r} ({reason}).")


def open_study(
    storage: BaseStorage,
    name: str,
    directions: Sequence[str],
    sampler: BaseSampler | None,
    pruner: BasePruner | None,
) -> optuna.Study:
    """Open the study of a search, or begin it.

    Args:
        storage: The study's storage.
        name: The study's name.
        directions: "min" or "max" for each objective.
        sampler: What draws.
        pruner: What stops trials.

    Returns:
        The `optuna.Study`.

    Raises:
        ValueError: When the storage has a study of that name with other directions.

    Example:
        >>> import optuna
        >>> study = open_study(optuna.storages.InMemoryStorage(), "a", ["max"], None, None)
        >>> study.direction
        <StudyDirection.MAXIMIZE: 2>
    """
    asked = [StudyDirection.MAXIMIZE if one == "max" else StudyDirection.MINIMIZE for one in directions]
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(
            directions=asked, sampler=sampler, pruner=pruner, storage=storage, study_name=name, load_if_exists=True
        )
    finally:
        optuna.logging.set_verbosity(level)
    before, now = ([one.name.lower() for one in some] for some in (study.directions, asked))
    require(before == now, "objective", f"must {' and '.join(before)} as the study {name!r} in the storage does", now)
    return study
