"""Locks: a search takes any kinds of them; another kind is one class."""

import concurrent.futures

import optuna
import pytest

from kopt.tuning.search.folder import SearchFolder
from kopt.tuning.search.locks import FileLocks, HeartbeatLocks, Locks, locks_of, one_thread
from kopt.tuning.search.retries import Retries
from kopt.tuning.search.storage import open_storage, open_study


class Remembered(Locks):
    """Locks in memory, as a scheduler would have them that starts the processes itself."""

    def __init__(self) -> None:
        self.held, self.dead = set(), set()

    def hold(self, number: int) -> None:
        self.held.add(number)

    def release(self, number: int) -> None:
        self.held.discard(number)

    def drop(self, number: int) -> None:
        self.dead.add(number)

    def watches(self, trial) -> bool:
        return trial.number in self.held

    def lost(self, running) -> list:
        return [one for one in running if one.number in self.dead]


def search(path, locks=None) -> Retries:
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage)
    folder = SearchFolder(path)
    return Retries(study, storage, folder, locks or locks_of(study, storage, folder, whole=True))


def test_another_kind_of_locks_is_one_class(tmp_path) -> None:
    locks = Remembered()
    retries = search(tmp_path, [locks])
    for _number in range(3):
        retries.hold(retries.ask().number)
    retries.drop(1)
    assert locks.held == {0, 1, 2} and retries.requeue() == 2
    assert locks.held == {0, 2}
    assert [one.state.name for one in retries.study.trials] == ["RUNNING", "FAIL", "RUNNING", "WAITING"]
    assert retries.requeue() == 2 and len(retries.study.trials) == 4


def test_a_trial_is_lost_when_one_kind_of_locks_says_so(tmp_path) -> None:
    retries = search(tmp_path)
    locks = Remembered()
    retries.locks = [*retries.locks, locks]
    retries.hold(retries.ask().number)
    assert retries.requeue() == 1
    locks.drop(0)  # the file is locked still
    assert not retries.folder.is_free(0) and retries.requeue() == 0
    assert retries.folder.is_free(0) and locks.held == set()
    assert [one.state.name for one in retries.study.trials] == ["FAIL", "WAITING"]


def test_heartbeats_are_used_where_the_storage_keeps_them(tmp_path) -> None:
    folder, url = SearchFolder(tmp_path), f"sqlite:///{tmp_path}/search.db"
    for where, kinds in ((None, [FileLocks]), (url, [HeartbeatLocks, FileLocks])):
        storage = open_storage(where, tmp_path)
        study = open_study(storage, "a", ["min"], None, None)
        locks = locks_of(study, storage, folder, whole=False)
        assert [type(one) for one in locks] == kinds
    retries = Retries(study, storage, folder, locks)
    number = retries.ask().number
    retries.hold(number)
    assert [one for kind in locks for one in kind.lost(study.trials)] == []
    retries.release(number)
    assert not folder.held and not locks[0].hearts and not locks[1].restorers


def test_one_thread_of_a_process_searches_at_a_time() -> None:
    """A search sets seeds and Keras' session, which are the process'; within a search its thread may begin another."""

    def search() -> None:
        with one_thread(), one_thread():
            pass

    with concurrent.futures.ThreadPoolExecutor(1) as other:
        with one_thread(), pytest.raises(ValueError, match=r"search\(\) must be called by one thread of a process"):
            other.submit(search).result()
        other.submit(search).result()
