"""A search's storage: databases, and storages that are broken or out of reach; locks and heartbeats of trials."""

import contextlib
import gc
import glob
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator

import optuna
import pytest
import sqlalchemy
from searches import Interruptible, interruptible

import kopt
from kopt.tuning.search import locks, storage
from kopt.tuning.search.folder import SearchFolder
from kopt.tuning.search.study import open_search


@contextlib.contextmanager
def server() -> Iterator[str]:
    """A PostgreSQL server of its own on loopback, which ends with the block."""
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
    found = shutil.which("initdb") or next(iter(glob.glob("/usr/lib/postgresql/*/bin/initdb")), None)
    if found is None:
        pytest.skip("PostgreSQL is not installed")
    owner = "postgres" if os.getuid() == 0 else None  # it refuses to be run by root
    folder, program = tempfile.mkdtemp(), pathlib.Path(found)
    if owner is not None:
        shutil.chown(folder, owner)
    how = {"cwd": folder, "user": owner, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([program, "-D", f"{folder}/data", "-A", "trust", "-U", "kopt", "--no-sync"], check=True, **how)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    only_here = ["-h", "127.0.0.1", "-c", "unix_socket_directories=", "-F"]
    process = subprocess.Popen(
        [program.with_name("postgres"), "-D", f"{folder}/data", "-p", str(port), *only_here], **how
    )
    try:
        url = f"postgresql://kopt@127.0.0.1:{port}/postgres"
        for _ in range(100):
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(url).close()
                break
            time.sleep(0.1)
        yield url
    finally:
        process.send_signal(signal.SIGINT)  # at once, not when the last client has left
        process.wait()
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path) -> Iterator[str]:
    """A database without anything in it."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/search.db"
        return
    with server() as found:
        yield found
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # Optuna leaves its connections to the collector
            gc.collect()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "postgresql://user:secret@127.0.0.1:1/none",
            "storage must be one that can be reached, got 'postgresql://user:",
        ),
        (
            "sqlite:////nowhere/at/all.db",
            "storage must be one that can be reached, got 'sqlite:////nowhere/at/all.db' (",
        ),
        ("/nowhere/at/all.log", "storage must be one that can be reached, got '/nowhere/at/all.log' (No such file"),
        ("nothing://host/a", "storage must be one that can be reached, got 'nothing://host/a' ("),
        ("://", "storage must be a journal's path or a database's URL, got another text."),
    ],
)
def test_a_storage_out_of_reach_is_one_sentence(given: str, message: str, tmp_path) -> None:
    with pytest.raises((ValueError, ImportError)) as caught:
        interruptible(tmp_path, 4, storage=given)
    if isinstance(caught.value, ImportError):
        pytest.skip("the database's driver is not installed")
    assert str(caught.value).startswith(message) and "secret" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("damage", ["cut", "zeros", "noise"])
def test_a_damaged_database_is_refused_before_anything_is_trained(damage: str, tmp_path) -> None:
    url, file, chance = f"sqlite:///{tmp_path}/search.db", tmp_path / "search.db", random.Random(0)
    interruptible(tmp_path, 3, storage=url).search()
    whole = file.read_bytes()
    for _ in range(4):
        place = chance.randrange(4096, len(whole) - 4096)
        page = {"cut": b"", "zeros": bytes(4096), "noise": chance.randbytes(4096)}[damage]
        place -= place % 4096 if damage == "zeros" else 0
        file.write_bytes(whole[:place] + page + (whole[place + 4096 :] if page else b""))
        with pytest.raises(ValueError, match="^storage must be a whole database, .*search.db is damaged ") as caught:
            interruptible(tmp_path, 4, storage=url)
        assert "\n" not in str(caught.value)
    file.write_bytes(whole)
    assert len(interruptible(tmp_path, 4, storage=url).study.trials) == 3  # the counter-test


def test_hosts_that_make_a_database_at_once_wait_for_each_other(tmp_path, monkeypatch) -> None:
    url, real, made = f"sqlite:///{tmp_path}/search.db", storage.RDBStorage, []

    def slower(*args, **how):
        """Finds the tables of a host that was faster."""
        made.append(1)
        if len(made) == 1:
            cause = "(sqlite3.OperationalError) table studies already exists"
            raise sqlalchemy.exc.OperationalError("CREATE TABLE", {}, Exception(cause))
        if len(made) == 2:
            raise sqlalchemy.exc.IntegrityError("CREATE TABLE", {}, Exception("duplicate key value"))
        return real(*args, **how)

    monkeypatch.setattr(storage, "RDBStorage", slower)
    interruptible(tmp_path, 1, storage=url).search()
    monkeypatch.setattr(storage, "RDBStorage", real)
    barrier, errors = threading.Barrier(4), []

    def host(number: int) -> None:
        barrier.wait()
        try:
            open_search(tmp_path / str(number), f"sqlite:///{tmp_path}/other.db", "a", None, None, None)
        except Exception as error:  # whatever it is, the test shows it
            errors.append(error)

    threads = [threading.Thread(target=host, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_database_of_which_trials_were_deleted_serves(tmp_path) -> None:
    url = f"sqlite:///{tmp_path}/search.db"
    interruptible(tmp_path, 3, storage=url).search()
    with contextlib.closing(sqlite3.connect(tmp_path / "search.db")) as database:
        database.execute("delete from trials where number = 1")
        database.commit()
    tuner = interruptible(tmp_path, 4, storage=url, max_retries_per_trial=1)
    tuner.search()
    assert [trial.number for trial in tuner.study.trials] == [0, 2, 3, 4]
    assert len(tuner.oracle.get_best_trials(9)) == 4 and tuner.oracle.remaining_trials() == 0


def test_a_database_serves_as_well(url, tmp_path) -> None:
    for trials in (3, 5):
        tuner = interruptible(tmp_path, trials, storage=url)
        tuner.search()
    assert [trial.state.name for trial in tuner.study.trials] == ["COMPLETE"] * 5
    assert len({trial.params["x"] for trial in tuner.study.trials}) == 5


def test_a_trial_without_a_heartbeat_is_queued_again_from_another_host(url, tmp_path, monkeypatch) -> None:
    """Two folders on one database are two hosts; the trial of the first dies with no lock to tell."""
    monkeypatch.setattr(storage, "HEARTBEAT", 1)
    monkeypatch.setattr(storage, "GRACE", 1)
    monkeypatch.setattr(locks, "HEARTBEAT", 1000)  # it lives no sign but the first
    dead = interruptible(tmp_path / "one", 1, storage=url)
    trial = dead.oracle.create_trial("tuner0")
    value = trial.hyperparameters.Float("x", 0, 1)
    other = interruptible(tmp_path / "two", 1, storage=url)
    other.search()  # waits for the trial, for it may be lost, until it is
    found = other.study.trials
    assert [one.state.name for one in found] == ["FAIL", "COMPLETE"]
    assert found[1].params["x"] == value and found[1].user_attrs["tries"] == [0]
    dead.oracle.record(trial, 0.5)
    trial.status = "COMPLETED"
    dead.oracle.end_trial(trial)  # it was not dead after all: its result comes too late, and is not counted
    assert [one.state.name for one in other.study.trials] == ["FAIL", "COMPLETE"]


def test_a_living_heartbeat_keeps_a_trial(url, tmp_path, monkeypatch) -> None:
    """The counter-test: with signs of life, the other host leaves the trial alone."""
    monkeypatch.setattr(storage, "HEARTBEAT", 1)
    monkeypatch.setattr(storage, "GRACE", 2)
    monkeypatch.setattr(locks, "HEARTBEAT", 0.2)
    alive = interruptible(tmp_path / "one", 2, storage=url)
    trial = alive.oracle.create_trial("tuner0")
    other = interruptible(tmp_path / "two", 2, storage=url)
    begun = other.oracle.create_trial("tuner0")
    time.sleep(3)
    with other.oracle.folder.alone():
        assert other.oracle.retries.requeue() == 2
    for tuner, one in ((alive, trial), (other, begun)):
        one.status = "FAILED"
        tuner.oracle.end_trial(one)


def test_an_interrupted_trial_is_run_again_with_the_same_values(tmp_path) -> None:
    tuner = interruptible(tmp_path, 3)
    with pytest.raises(KeyboardInterrupt):
        tuner.search(stop_in="1")
    tuner.search()  # in the same process, as in a notebook
    states = [trial.state.name for trial in tuner.study.trials]
    assert states.count("COMPLETE") == 3 and states.count("FAIL") == 1


def test_a_running_trial_makes_its_lock_anew_when_somebody_removes_them_all(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(locks, "RESTORE", 1000)
    monkeypatch.setattr(locks, "PATIENCE", 1000)
    alive = interruptible(tmp_path, 2)
    trial = alive.oracle.create_trial("tuner0")
    trial.hyperparameters.Float("x", 0, 1)
    shutil.rmtree(alive.oracle.folder.locks)
    other = interruptible(tmp_path, 2)
    with other.oracle.folder.alone():
        assert other.oracle.folder.is_free(0) and other.oracle.retries.requeue() == 1  # it may still be made anew
    alive.oracle.folder.restore()
    monkeypatch.setattr(locks, "PATIENCE", 0)
    with other.oracle.folder.alone():
        assert not other.oracle.folder.is_free(0) and other.oracle.retries.requeue() == 1
    shutil.rmtree(alive.oracle.folder.locks)
    alive.oracle.finish(trial, 0.5)  # at once, before anything is made anew
    alive.search()
    assert [one.state.name for one in other.study.trials] == ["COMPLETE"] * 2
    assert not [lock for lock in alive.oracle.folder.locks.iterdir() if lock.name.isdigit()]


def test_a_running_trial_looks_after_its_lock(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(locks, "RESTORE", 0.02)
    tuner = interruptible(tmp_path, 2)
    trial = tuner.oracle.create_trial("tuner0")
    lock = tuner.oracle.folder.locks / "0"
    shutil.rmtree(lock.parent)
    for _ in range(500):
        if lock.exists() and not tuner.oracle.folder.is_free(0):
            break
        time.sleep(0.02)
    assert not tuner.oracle.folder.is_free(0) and lock.exists()
    tuner.oracle.finish(trial, 0.5)
    assert not lock.exists()


@pytest.mark.parametrize("removed", ["before", "after", "never"])
def test_a_dead_trial_is_found_though_somebody_removes_all_locks(removed: str, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.4)
    dead = interruptible(tmp_path, 2)
    trial = dead.oracle.create_trial("tuner0")
    value = trial.hyperparameters.Float("x", 0, 1)
    files = dead.oracle.folder.locks
    if removed == "before":
        shutil.rmtree(files)
    dead.oracle.retries.drop(0)  # as the kernel does when a process ends
    if removed == "after":
        shutil.rmtree(files)
    other = interruptible(tmp_path, 2)
    other.search()
    assert [one.state.name for one in other.study.trials] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert [one.params["x"] for one in other.study.trials if one.user_attrs.get("tries") == [0]] == [value]


def test_a_clock_that_is_set_does_not_end_a_search(tmp_path, monkeypatch) -> None:
    class Wound(Interruptible):
        def run_trial(self, trial):
            monkeypatch.setattr(time, "time", lambda now=time.time(): now + 7200)
            return super().run_trial(trial)

    tuner = Wound(max_trials=3, timeout="1h", directory=tmp_path, project_name="line", sampler="random")
    tuner.oracle.verbose = 0
    tuner.search()
    assert len(tuner.study.trials) == 3
    monkeypatch.undo()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 4000 * len(tuner.study.trials))
    late = Wound(max_trials=9, timeout="2h", directory=tmp_path, project_name="line", sampler="random")
    late.oracle.verbose = 0
    late.search()  # the counter-test: the clock that counts
    assert len(tuner.study.trials) == 5


def test_no_duration_is_measured_by_a_clock_that_can_be_set() -> None:
    wall = re.compile(r"\btime\.time\(|\bdatetime\.(now|utcnow)\(")
    package = pathlib.Path(kopt.__file__).parent
    found = {str(file.relative_to(package)) for file in package.rglob("*.py") if wall.search(file.read_text())}
    # What other hosts and the file system have written down, the name of a run's folder, when a run was resumed or a
    # page written, and how long a trial of another process has been at work.
    named = {"report/run_folder.py", "experiment/resuming.py", "tuning/report.py", "tuning/page/trials.py"}
    assert found == {"tuning/search/locks.py", "training/execute/program_files.py"} | named


def test_overwriting_begins_anew_but_not_under_another_process(tmp_path) -> None:
    tuner = interruptible(tmp_path, 2)
    tuner.search()
    running = interruptible(tmp_path, 3)
    trial = running.oracle.create_trial("tuner0")
    with pytest.raises(
        ValueError, match=r"^overwrite must be False while another process searches here, .* got \['2'\]"
    ):
        interruptible(tmp_path, 2, overwrite=True)
    running.oracle.finish(trial, 1.0)
    assert interruptible(tmp_path, 2, overwrite=True).study.trials == []
    url = f"sqlite:///{tmp_path}/search.db"
    interruptible(tmp_path, 2, storage=url).search()
    assert interruptible(tmp_path, 2, storage=url, overwrite=True).study.trials == []


def test_of_one_launch_only_the_first_process_overwrites(tmp_path, monkeypatch) -> None:
    interruptible(tmp_path, 2).search()
    monkeypatch.setenv("KOPT_TUNER_LAUNCH", "this")
    first = interruptible(tmp_path, 2, overwrite=True)
    assert first.study.trials == []
    first.search()
    assert len(interruptible(tmp_path, 2, overwrite=True).study.trials) == 2


def test_a_study_that_goes_another_way_is_refused(tmp_path) -> None:
    interruptible(tmp_path, 2)
    with pytest.raises(ValueError, match="^objective must minimize as the study 'line' in the storage does, got"):
        interruptible(tmp_path, 2, objective="accuracy")


def test_a_lock_is_free_when_its_process_has_ended(tmp_path) -> None:
    folder = SearchFolder(tmp_path)
    code = (
        f"import fcntl, time; f = open({str(folder.locks / '3')!r}, 'w'); fcntl.flock(f, 2); print(1); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-uc", code], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() and not folder.is_free(3)
        process.kill()
        process.wait()
    assert folder.is_free(3)


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="^directory must be one that can be written to, got"):
        interruptible(tmp_path / "file", 2)


def test_a_tilde_is_ones_home(tmp_path, monkeypatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    for given in (None, "~/a.log"):
        interruptible("~/runs", 1, storage=given).search()
    assert (tmp_path / "runs" / "line" / "journal.log").exists() and (tmp_path / "a.log").exists()
    assert not list((tmp_path / "here").iterdir())
    with pytest.raises(ValueError, match="^directory must be a text or a path, not empty and without NUL, got 'a.x00'"):
        interruptible("a\0", 1)
    with pytest.raises(ValueError, match="^project_name must stay in its folder, without"):
        Interruptible(max_trials=1, project_name="a\0")


def test_any_optuna_storage_serves(tmp_path) -> None:
    tuner = interruptible(tmp_path, 3, storage=optuna.storages.InMemoryStorage())
    tuner.search()
    assert len(tuner.study.trials) == 3
