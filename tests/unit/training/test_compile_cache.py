"""Compiled programs on disk: what one process compiles others load, and no disk can break training."""

import concurrent.futures
import logging
import pathlib

import pytest
import tensorflow as tf

from kopt.training.execute.compile_cache import Copies
from kopt.training.execute.program_files import ProgramFiles
from kopt.training.execute.xla_flags import MEMORY

NAME = f"kopt_{'0' * 32}"

FIT = """
import hashlib, logging, sys
import numpy as np
import kopt, keras

logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
logging.getLogger("kopt").setLevel(logging.DEBUG)
for beta in 0.9, 0.9, 0.8:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(beta_1=beta), "mse")
    x = np.arange(64, dtype="float32").reshape(16, 4) / 64
    kopt.Loop(model, jit=True).fit(x, x[:, :1], epochs=2, batch_size=8, verbose=0)
    print("weights", hashlib.sha256(model.get_weights()[0].tobytes()).hexdigest())
"""


def fitted(done: str) -> tuple[list[str], list[str]]:
    """Return the weights that a process printed, and what it said about compiled programs."""
    lines = done.splitlines()
    said = [line.removeprefix("compiled programs: ") for line in lines if line.startswith("compiled programs")]
    return [line for line in lines if line.startswith("weights")], said


def test_processes_share_what_they_compile(python, tmp_path) -> None:
    run = lambda _: fitted(python("-c", FIT, KOPT_CACHE=str(tmp_path)).stdout)
    with concurrent.futures.ThreadPoolExecutor(3) as threads:
        at_once = list(threads.map(run, range(3)))
    # Two programs, for another constant is another one; layers of other names share one, within a process too.
    paths = sorted(tmp_path.glob("xla/*/*"))
    weights = at_once[0][0]
    assert all(found == weights and len(said) == 2 for found, said in at_once) and len(paths) == 2
    assert weights[0] == weights[1] != weights[2]

    # One that is damaged is compiled again; what is loaded and what is compiled compute the same bits.
    paths[0].write_bytes(paths[0].read_bytes()[:-100] + b"0" * 100)
    found, said = run(None)
    assert found == weights
    assert sorted(said)[0].startswith("0 from disk, 1 new") and sorted(said)[1].startswith("1 from disk, 0 new")
    assert sorted(tmp_path.glob("xla/*/*")) == paths


def in_memory() -> list[str]:
    return tf.io.gfile.listdir(MEMORY)


def compiled(name: str, content: bytes) -> None:
    """Do what TensorFlow does once it has compiled a program."""
    with tf.io.gfile.GFile(f"{MEMORY}/{name}", "wb") as file:
        file.write(content)


def test_copies_go_both_ways_and_leave_no_memory(tmp_path) -> None:
    files = ProgramFiles(tmp_path)
    copies = Copies(files)
    copies.lend(NAME)
    compiled("a.pb", NAME.encode())
    compiled("b.pb", b"a program that kopt did not name")
    compiled("c.pb.tmp", b"what another thread is writing")
    copies.collect()
    assert files.read(NAME) == {"a.pb": NAME.encode()} and files.size()[0] == 1 and in_memory() == ["c.pb.tmp"]
    tf.io.gfile.remove(f"{MEMORY}/c.pb.tmp")
    copies.lend(NAME)
    assert in_memory() == []  # TensorFlow has it
    other = Copies(files)
    other.lend(NAME)
    assert in_memory() == ["a.pb"]
    other.collect()
    assert in_memory() == []


def test_what_tensorflow_refuses_is_removed(tmp_path) -> None:
    files = ProgramFiles(tmp_path)
    files.write(NAME, "a.pb", NAME.encode())
    copies = Copies(files)
    copies.lend(NAME)
    copies.forget()
    copies.collect()
    assert files.size() == (0, 0) and in_memory() == []


@pytest.mark.parametrize("method", ["read", "write", "prune"])
def test_a_disk_that_fails_is_left_alone_and_said_once(method, tmp_path, monkeypatch, caplog) -> None:
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ProgramFiles, method, fail)
    copies = Copies(ProgramFiles(tmp_path))
    with caplog.at_level(logging.DEBUG, "kopt"):
        for number in range(2):
            copies.lend(f"kopt_{number:032}")
            tf.io.gfile.makedirs(MEMORY)
            compiled(f"{number}.pb", f"kopt_{number:032}".encode())
            copies.collect()
    said = [record.message for record in caplog.records if "No space" in record.message]
    assert said == ["compiled programs are not kept on disk: [Errno 28] No space left on device"]


def test_a_home_that_cannot_be_written_is_none(tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"")
    copies = Copies(ProgramFiles(pathlib.Path(tmp_path / "file" / "kopt")))
    copies.lend(NAME)
    compiled("a.pb", NAME.encode())
    copies.collect()
    assert copies.files is None and in_memory() == []
