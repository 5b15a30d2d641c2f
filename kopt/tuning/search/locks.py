"""Locks: who runs which trial of a search, by files' locks and by a database's heartbeats."""

import abc
import contextlib
import datetime
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from kopt.tuning.search.folder import SearchFolder
from kopt.tuning.search.records import TrialRecord
from kopt.tuning.search.storage import GRACE, HEARTBEAT
from kopt.values.checks import require
from kopt.values.moved_names import moved_names

__all__ = ["RESTORE", "FileLocks", "Heartbeat", "HeartbeatLocks", "Locks", "locks_of", "one_thread"]
__getattr__ = moved_names(__name__, {"Place": "kopt.tuning.search.folder.SearchFolder"})

RESTORE = 2.0  # seconds between two checks that the lock files are still there
PATIENCE = 5 * RESTORE  # seconds that a trial's process has to restore its lock when all lock files were removed


SEARCHING = threading.RLock()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Refuse a search while another thread of the process searches: seeds, names and Keras' session are the process'.

    Raises:
        ValueError: When another thread searches.

    Example:
        >>> with one_thread(), one_thread():
        ...     print("searching")
        searching
    """
    rule = "must be called by one thread of a process at a time: run the script in several processes"
    require(SEARCHING.acquire(blocking=False), "search()", rule, threading.current_thread().name)
    try:
        yield
    finally:
        SEARCHING.release()


class Locks(abc.ABC):
    """One way to know which trials still have a process that runs them.

    A search may use several kinds of locks: it holds a trial by all of them, and a trial is lost when one kind says so.

    Example:
        >>> class Never(Locks):
        ...     def hold(self, number): pass
        ...     def release(self, number): pass
        ...     def drop(self, number): pass
        ...     def watches(self, trial): return False
        ...     def lost(self, running): return []
        >>> Never().lost([])
        []
    """

    @abc.abstractmethod
    def hold(self, number: int) -> None:
        """Begin to hold a trial, which this process runs from now on."""

    @abc.abstractmethod
    def release(self, number: int) -> None:
        """Hold a trial no longer, for it has ended; any process may release a lost one."""

    @abc.abstractmethod
    def drop(self, number: int) -> None:
        """Hold a trial no longer, as if this process had ended in its middle."""

    @abc.abstractmethod
    def watches(self, trial: FrozenTrial) -> bool:
        """Return whether these locks will show when the process of a running trial ends."""

    @abc.abstractmethod
    def lost(self, running: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Return those of the running trials whose process has ended; ask while alone in the search's folder."""


class FileLocks(Locks):
    """Locks on files of the search's folder, which the kernel frees when a process ends.

    Args:
        folder: The search's folder.
        whole: Whether all trials of the study run in this folder; in a database they may run on other hosts too.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     locks = FileLocks(SearchFolder(root), whole=True)
        ...     study = optuna.create_study()
        ...     locks.hold(study.ask().number)
        ...     held = locks.lost(study.trials)
        ...     locks.drop(0)
        ...     held, [one.number for one in locks.lost(study.trials)]
        ([], [0])
    """

    def __init__(self, folder: SearchFolder, *, whole: bool):
        self.folder, self.whole = folder, whole
        self.restorers: dict[int, Heartbeat] = {}

    def hold(self, number: int) -> None:
        """Lock the trial's file, and restore the file when it is removed."""
        self.folder.hold(number)
        self.restorers[number] = started(Heartbeat(self.folder.restore, RESTORE))

    def release(self, number: int) -> None:
        """Remove the trial's file."""
        stop(self.restorers, number)
        self.folder.release(number)

    def drop(self, number: int) -> None:
        """Unlock the trial's file."""
        stop(self.restorers, number)
        self.folder.drop(number)

    def watches(self, trial: FrozenTrial) -> bool:
        """Return whether the trial runs in this folder."""
        return TrialRecord.of(trial).folder == self.folder.name

    def lost(self, running: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Return the trials of this folder whose file is not locked, and those that were lost at their very beginning.

        A trial that no folder has recorded for GRACE seconds lost its process before it could record one.
        """
        return [one for one in running if self.is_lost(one)]

    def is_lost(self, trial: FrozenTrial) -> bool:
        """Return whether a running trial's process has ended, as far as this folder can say."""
        where = TrialRecord.of(trial).folder
        if where == self.folder.name or (where is None and self.whole):
            return self.folder.is_free(trial.number) and not self.may_be_restored(trial)
        return where is None and (datetime.datetime.now() - begun(trial)).total_seconds() > GRACE

    def may_be_restored(self, trial: FrozenTrial) -> bool:
        """Return whether a trial's lock is missing because all locks were removed, so that its process may be alive."""
        made = (self.folder.locks / "name").stat().st_mtime
        missing = not (self.folder.locks / str(trial.number)).exists()
        return begun(trial).timestamp() < made and missing and time.time() - made < PATIENCE


@runtime_checkable
class HeartbeatStorage(Protocol):
    """An Optuna storage that can keep heartbeats."""

    def get_heartbeat_interval(self) -> int | None: ...

    def record_heartbeat(self, trial_id: int) -> None: ...

    def get_study_id_from_name(self, study_name: str) -> int: ...

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int: ...


class HeartbeatLocks(Locks):
    """Heartbeats in a database, by which processes on other hosts know that a trial still runs.

    Args:
        study: The search's.
        storage: The study's storage, which keeps heartbeats.

    Example:
        >>> storage = optuna.storages.RDBStorage("sqlite://")
        >>> study = optuna.create_study(storage=storage)
        >>> HeartbeatLocks(study, storage).watches(study.ask().study.trials[0])
        True
    """

    def __init__(self, study: optuna.Study, storage: HeartbeatStorage):
        self.study, self.storage = study, storage
        self.hearts: dict[int, Heartbeat] = {}

    def hold(self, number: int) -> None:
        """Record a heartbeat now, and every HEARTBEAT seconds."""
        study_id = self.storage.get_study_id_from_name(self.study.study_name)
        trial_id = self.storage.get_trial_id_from_study_id_trial_number(study_id, number)
        self.storage.record_heartbeat(trial_id)
        self.hearts[number] = started(Heartbeat(lambda: self.storage.record_heartbeat(trial_id), HEARTBEAT))

    def release(self, number: int) -> None:
        """Record no more heartbeats."""
        stop(self.hearts, number)

    def drop(self, number: int) -> None:
        """Record no more heartbeats."""
        stop(self.hearts, number)

    def watches(self, trial: FrozenTrial) -> bool:
        """Return True: every process of the study records heartbeats."""
        return True

    def lost(self, running: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Return nothing: Optuna itself fails the trials without a heartbeat, and requeues them by its callback."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.storages.fail_stale_trials(self.study)
        return []


def locks_of(study: optuna.Study, storage: BaseStorage, folder: SearchFolder, *, whole: bool) -> list[Locks]:
    """Return the kinds of locks that a search uses: heartbeats where the storage keeps them, and files' locks.

    Args:
        study: The search's.
        storage: The study's storage.
        folder: The search's folder.
        whole: Whether all trials of the study run in this folder.

    Returns:
        The locks, in the order in which they are asked for lost trials.

    Example:
        >>> import tempfile
        >>> storage = optuna.storages.InMemoryStorage()
        >>> with tempfile.TemporaryDirectory() as root:
        ...     study = optuna.create_study(storage=storage)
        ...     [type(one).__name__ for one in locks_of(study, storage, SearchFolder(root), whole=True)]
        ['FileLocks']
    """
    files = FileLocks(folder, whole=whole)
    if isinstance(storage, HeartbeatStorage) and storage.get_heartbeat_interval() is not None:
        return [HeartbeatLocks(study, storage), files]
    return [files]


class Heartbeat(threading.Thread):
    """A thread that repeats a sign of life while a trial runs.

    Args:
        beat: Called for each sign of life.
        every: Seconds between two calls, > 0.

    Example:
        >>> beaten = threading.Event()
        >>> heart = Heartbeat(beaten.set, every=0.01)
        >>> heart.start()
        >>> beaten.wait(60)
        True
        >>> heart.stop()
    """

    def __init__(self, beat: Callable[[], None], every: float):
        super().__init__(daemon=True)
        self.beat, self.every, self.ended = beat, every, threading.Event()

    def run(self) -> None:
        """Call `beat` at even distances until `stop`."""
        while not self.ended.wait(self.every):
            self.beat()

    def stop(self) -> None:
        """End the thread."""
        self.ended.set()
        self.join()


def started(heart: Heartbeat) -> Heartbeat:
    heart.start()
    return heart


def stop(hearts: dict[int, Heartbeat], number: int) -> None:
    if number in hearts:
        hearts.pop(number).stop()


def begun(trial: FrozenTrial) -> datetime.datetime:
    """Return when a running trial was begun."""
    assert trial.datetime_start is not None
    return trial.datetime_start
