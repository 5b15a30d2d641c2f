"""Replicas, and processes that train together, give what one gives on any kind of data; files are written once."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))
import cluster  # noqa: E402

REPLICAS = HERE.parents[1] / "recipes" / "benchmarks" / "replicas.py"


def on_two_workers(*command) -> int:
    """The exit code of a launch; workers that wait for one another for ever are stopped."""
    process = subprocess.Popen([sys.executable, "-m", "kopt", "launch", "--workers", "2", *map(str, command)])
    try:
        return process.wait(300)
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("workers")
    for name in ("files", "steps"):
        (place / name).mkdir()
    jobs = json.dumps([[str(place), how] for how in ("alone", "mirrored")])
    command = [sys.executable, HERE / "forks.py", HERE / "cluster.py", jobs]
    assert subprocess.run(command, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, timeout=300).returncode == 0
    assert on_two_workers(HERE / "cluster.py", place, "multi-worker") == 0
    return place


@pytest.mark.parametrize("kind", cluster.DATA)
@pytest.mark.parametrize("worker", ["mirrored", "worker0", "worker1"])
def test_replicas_and_workers_equal_one(kind: str, worker: str, folder) -> None:
    with np.load(folder / "alone" / f"{kind}.npz") as one, np.load(folder / worker / f"{kind}.npz") as several:
        # What TensorFlow shards over workers are other batches of the same examples.
        sharded = kind == "sharded" and worker != "mirrored"
        for name in one.files:
            np.testing.assert_allclose(several[name], one[name], atol=0.05 if sharded else 1e-6)
    one, several = (json.loads((folder / name / f"{kind}.json").read_text()) for name in ("alone", worker))
    assert one.keys() == several.keys()
    for name in one:
        relative, absolute = (0.2, 0.05) if sharded else (1e-5, 1e-6)
        np.testing.assert_allclose(several[name], one[name], rtol=relative, atol=absolute)


def test_a_worker_that_stops_stops_all(folder) -> None:
    for worker in ("alone", "worker0", "worker1"):
        assert len(json.loads((folder / worker / "stop.json").read_text())["loss"]) == 3


def test_files_are_written_by_the_chief_alone(folder) -> None:
    history = json.loads((folder / "worker0" / "arrays.json").read_text())
    rows = (folder / "files" / "log.csv").read_text().splitlines()
    assert len(rows) == len(history["loss"]) + 1 and rows[0] == "epoch,learning_rate,loss,mae,val_loss,val_mae"
    assert len(list((folder / "files" / "logs" / "train").glob("events*"))) == 1
    assert keras.saving.load_model(folder / "files" / "best.keras").built


def test_what_workers_agree_on(folder) -> None:
    found = [json.loads((folder / f"worker{number}" / "agreed.json").read_text()) for number in (0, 1)]
    assert [one[:3] for one in found] == [[True, 2, "written by 0"], [False, 2, "written by 0"]]
    assert found[0][3] != found[1][3]


def test_the_step_on_two_workers_equals_one(folder) -> None:
    sys.path.insert(0, str(REPLICAS.parent))
    import replicas

    for cell in replicas.WORKERS:
        one, several = (replicas.results(cell, count, str(folder / "steps")) for count in (1, 2))
        assert replicas.distance(one, several) <= cell.tolerance, cell.name


def test_slurm_needs_no_launcher(tmp_path) -> None:
    """The variables that srun sets for two tasks of one node."""
    script = tmp_path / "script.py"
    script.write_text(
        "from kopt import distribute\n"
        "chosen = distribute.choose('multi-worker')\n"
        "print(chosen.reason, distribute.over_workers(chosen.strategy, [1.0]))\n"
    )
    common = {
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_TASKS_PER_NODE": "2",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_NUM_NODES": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    tasks = [
        subprocess.Popen(
            [sys.executable, script], env={**os.environ, **common, "SLURM_PROCID": str(number)}, stdout=-1, text=True
        )
        for number in range(2)
    ]
    said = [task.communicate(timeout=120)[0] for task in tasks]
    for number, text in enumerate(said):
        assert text == f"multi-worker (SLURM: worker {number}, 2 replicas in all) [2.]\n"
