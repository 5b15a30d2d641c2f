"""Trainings beside what goes wrong around them: a full disk, a folder that is read-only, errors, and clocks."""

import errno
import logging
import os
import time
from pathlib import Path
from typing import Any

import keras
import pytest
from killed_trainings import EPOCHS, Fits, train
from killing import Stopped, counted, stop

from kopt.training.checkpoint import files, lock
from kopt.training.checkpoint.folder import CheckpointFolder
from kopt.training.checkpoint.writer import NotWritten

NAME = "slices with a seeded shuffle"
FULL = 2**15 * 3  # bytes that the disk takes


@pytest.fixture(scope="module")
def wanted() -> dict[str, str]:
    """What the training ends with, without checkpoints."""
    return train(NAME, Fits())


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """A disk that takes some bytes, and then writes less than it is given, and then nothing."""
    left: dict[str, float] = {"bytes": FULL}
    write = os.write

    def limited(file: int, data: memoryview) -> int:
        if not left["bytes"]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        size = int(min(len(data), left["bytes"]))
        left["bytes"] -= size
        return write(file, data[:size])

    monkeypatch.setattr(files.os, "write", limited)
    return left


def test_a_full_disk_ends_training_and_the_older_checkpoint_goes_on(tmp_path, wanted, disk) -> None:
    with pytest.raises(
        NotWritten, match=r"No space left on device\. The older one, step-\d+\.safetensors, is whole"
    ) as one:
        train(NAME, Fits(tmp_path, every="1 steps"))
    assert "\n" not in str(one.value)
    assert not list((tmp_path / "1").glob(".*"))
    disk["bytes"] = float("inf")
    assert train(NAME, Fits(tmp_path, every="1 steps")) == wanted


def test_a_full_disk_is_one_warning_where_that_is_asked_for(tmp_path, wanted, disk, caplog) -> None:
    with caplog.at_level(logging.WARNING, "kopt"):
        assert train(NAME, Fits(tmp_path, every="1 steps", options={"on_error": "warn"})) == wanted
    assert len([one for one in caplog.records if "was not written" in one.message]) == 1
    content = CheckpointFolder(tmp_path / "1").read()
    assert content is not None and content.values["steps"] < 6 * EPOCHS
    disk["bytes"] = float("inf")
    assert train(NAME, Fits(tmp_path)) == wanted  # goes on from the older one


def test_a_read_only_folder_is_refused_before_training(tmp_path, monkeypatch) -> None:
    def read_only(path: Path) -> Any:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(lock, "new_file", read_only)
    began: list[int] = []
    refused = pytest.raises(ValueError, match="must be a folder that can be written to.*Read-only file system")
    with refused, counted(keras.callbacks.CallbackList, "on_train_begin", 1, lambda *_, **__: began.append(1)):
        train(NAME, Fits(tmp_path))
    assert not began


@pytest.mark.parametrize("place", ["on_epoch_begin", "on_train_batch_end", "on_test_end", "on_epoch_end"])
def test_after_a_callback_that_raises_the_next_start_goes_on(tmp_path, wanted, place) -> None:
    with pytest.raises(Stopped), counted(keras.callbacks.CallbackList, place, 3, stop):
        train(NAME, Fits(tmp_path, every="2 steps"))
    with CheckpointFolder(tmp_path / "1").locked():
        pass
    assert train(NAME, Fits(tmp_path, every="2 steps")) == wanted


def test_a_clock_that_is_set_back_changes_nothing(tmp_path, wanted, monkeypatch) -> None:
    now = [time.time()]

    def back() -> float:
        now[0] -= 3600
        return now[0]

    monkeypatch.setattr(time, "time", back)
    with pytest.raises(Stopped), counted(keras.callbacks.CallbackList, "on_train_batch_end", 15, stop):
        train(NAME, Fits(tmp_path, every="0.001s"))
    assert CheckpointFolder(tmp_path / "1").steps()
    assert train(NAME, Fits(tmp_path, every="0.001s")) == wanted


def test_a_torn_checkpoint_is_said_and_the_older_one_goes_on(tmp_path, wanted, caplog) -> None:
    with pytest.raises(Stopped), counted(keras.callbacks.CallbackList, "on_train_batch_end", 15, stop):
        train(NAME, Fits(tmp_path, every="1 steps"))
    newest = sorted((tmp_path / "1").glob("step-*"))[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    with caplog.at_level(logging.WARNING, "kopt"):
        assert train(NAME, Fits(tmp_path)) == wanted
    assert any(newest.name in one.message for one in caplog.records)
