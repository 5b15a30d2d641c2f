"""A writer's thread: one checkpoint at a time, errors of the disk in one sentence or one warning, none left behind."""

import errno
import logging
import os
import re
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from kopt.training.checkpoint import folder as folder_module
from kopt.training.checkpoint.content import Content
from kopt.training.checkpoint.folder import CheckpointFolder
from kopt.training.checkpoint.writer import NotWritten, Writer


def of(step: int, size: int = 3) -> Content:
    return Content({"w": np.full(size, step, "float32")}, {"step": step})


BIG = 2**19  # numbers of 4 bytes: more than fits on a disk of 2 MB


@pytest.fixture(autouse=True)
def no_threads_left() -> Iterator[None]:
    yield
    assert not [one for one in threading.enumerate() if one.name == "kopt-checkpoint"]


class Gate:
    """Holds writes back until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.opened, self.entered = threading.Event(), threading.Event()
        write = folder_module.write_file

        def waiting(path: object, content: Content) -> None:
            self.entered.set()
            assert self.opened.wait(30)
            write(path, content)

        monkeypatch.setattr(folder_module, "write_file", waiting)


def full(*arguments: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_one_is_in_flight_and_none_is_queued(monkeypatch, tmp_path) -> None:
    gate = Gate(monkeypatch)
    folder = CheckpointFolder(tmp_path)
    writer = Writer(folder)
    assert writer.submit(1, of(1), best=True)
    assert gate.entered.wait(30)
    assert not writer.submit(2, of(2)) and folder.steps() == []
    gate.opened.set()
    writer.close()
    assert folder.steps() == [1] and folder.read_best().values == {"step": 1}
    assert writer.submit(3, of(3))
    writer.close()
    writer.close()
    assert folder.steps() == [1, 3]


def test_write_waits_for_what_is_in_flight(monkeypatch, tmp_path) -> None:
    gate = Gate(monkeypatch)
    folder = CheckpointFolder(tmp_path)
    writer = Writer(folder)
    writer.submit(1, of(1))
    threading.Timer(0.1, gate.opened.set).start()
    writer.write(2, of(2), best=True)
    assert folder.steps() == [1, 2] and folder.read_best().values == {"step": 2} and writer.thread is None


def test_training_goes_on_while_a_checkpoint_is_written(monkeypatch, tmp_path) -> None:
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (time.sleep(0.3), fsync(file)))
    writer = Writer(CheckpointFolder(tmp_path))
    begin = time.perf_counter()
    writer.submit(1, of(1))
    assert time.perf_counter() - begin < 0.3
    writer.close()
    assert time.perf_counter() - begin >= 0.6


@pytest.mark.parametrize("call", ["submit", "write", "close"])
@pytest.mark.parametrize("name", ["write", "fsync"])
def test_an_error_is_raised_once_by_the_next_call_in_one_sentence(name, call, monkeypatch, tmp_path) -> None:
    folder = CheckpointFolder(tmp_path)
    writer = Writer(folder)
    writer.write(1, of(1))
    monkeypatch.setattr(os, name, full)
    assert writer.submit(2, of(2))
    writer.thread.join()
    monkeypatch.undo()
    arguments = () if call == "close" else (3, of(3))
    with pytest.raises(NotWritten) as caught:
        getattr(writer, call)(*arguments)
    assert str(caught.value) == (
        f"The checkpoint of step 2 was not written into {tmp_path}: No space left on device. "
        "The older one, step-000000000001.safetensors, is whole."
    )
    assert isinstance(caught.value.__cause__, OSError) and folder.steps() == [1] == [folder.read().values["step"]]
    writer.write(3, of(3))
    writer.close()
    assert folder.steps() == [1, 3]


def test_write_raises_its_own_error_at_once(monkeypatch, tmp_path) -> None:
    writer = Writer(CheckpointFolder(tmp_path))
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(NotWritten, match="No space left on device. There is no older one."):
        writer.write(1, of(1))
    writer.close()


def test_a_warning_a_kind_where_it_is_asked_for(monkeypatch, tmp_path, caplog) -> None:
    folder = CheckpointFolder(tmp_path)
    writer = Writer(folder, on_error="warn")
    writer.write(1, of(1))
    monkeypatch.setattr(os, "write", full)
    with caplog.at_level(logging.WARNING, "kopt"):
        for step in (2, 3):
            writer.write(step, of(step))
        monkeypatch.undo()
        monkeypatch.setattr(os, "fsync", lambda file: os.close(-1))
        writer.write(4, of(4))
    first, second = (record.getMessage() for record in caplog.records)
    assert "step 2 was not written" in first and "is whole. Training goes on; this is not logged again." in first
    assert "Bad file descriptor" in second
    monkeypatch.undo()
    writer.write(5, of(5))
    assert folder.steps() == [1, 5]


@pytest.mark.parametrize("on_error", ["raise", "warn"])
def test_what_cannot_be_kept_is_always_raised(on_error, tmp_path) -> None:
    writer = Writer(CheckpointFolder(tmp_path), on_error=on_error)
    writer.submit(1, Content({"a": np.array(["x"])}, {}))
    with pytest.raises(ValueError, match="array 'a' must be numeric"):
        writer.close()
    writer.close()


def test_a_disk_that_is_full_leaves_the_older_one(small_disk) -> None:
    folder = CheckpointFolder(small_disk / "mine")
    with folder.locked():
        writer = Writer(folder)
        writer.write(1, of(1, 2**17))
        names = sorted(os.listdir(folder.folder))
        writer.submit(2, of(2, BIG))
        with pytest.raises(NotWritten, match=re.escape(f"into {folder.folder}: No space left on device. The older")):
            writer.close()
        assert sorted(os.listdir(folder.folder)) == names and folder.read().values == {"step": 1}
        writer.write(3, of(3, 2**17))
    assert folder.read().values == {"step": 3}


def test_a_disk_that_is_full_is_a_warning_where_it_is_asked_for(small_disk, caplog) -> None:
    folder = CheckpointFolder(small_disk / "mine")
    writer = Writer(folder, on_error="warn")
    with folder.locked(), caplog.at_level(logging.WARNING, "kopt"):
        writer.write(1, of(1))
        for step in (2, 3, 4):
            writer.write(step, of(step, BIG))
        assert len(caplog.records) == 1 and folder.read().values == {"step": 1}


def test_a_folder_that_was_removed_is_one_sentence(tmp_path) -> None:
    writer = Writer(CheckpointFolder(tmp_path / "gone"))
    with pytest.raises(NotWritten, match="No such file or directory. There is no older one."):
        writer.write(1, of(1))


def test_no_thread_is_left_when_training_raises_and_the_checkpoint_is_whole(child, tmp_path) -> None:
    """Nobody closes the writer: Python waits for its thread."""
    code = """
folder = CheckpointFolder(sys.argv[1])
with folder.locked():
    writer = Writer(folder)
    writer.submit(1, Content({"w": np.zeros(2_000_000)}, {"step": 1}))
    raise RuntimeError("training")
"""
    process = child(code, tmp_path)
    assert "RuntimeError: training" in process.communicate(timeout=60)[1] and process.returncode == 1
    assert CheckpointFolder(tmp_path).read().values == {"step": 1}


def test_on_error_is_one_of_two(tmp_path) -> None:
    with pytest.raises(ValueError, match="on_error must be 'raise' or 'warn', got 'ignore'"):
        Writer(CheckpointFolder(tmp_path), on_error="ignore")
