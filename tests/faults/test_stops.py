"""SIGTERM, Ctrl-C and other signals: a checkpoint within half a second, the exit code, and the same bits afterwards."""

import json
import pathlib
import signal
import subprocess
import sys
from typing import Any

import pytest

SCRIPT = pathlib.Path(__file__).with_name("stopped.py")
CASES: dict[str, dict[str, Any]] = {
    "SIGTERM before training": {"place": ("on_train_begin", 1), "signals": ["SIGTERM"], "code": 143},
    "SIGTERM in an epoch": {"place": ("on_train_batch_end", 9), "signals": ["SIGTERM"], "code": 143},
    "SIGINT in an epoch": {"place": ("on_train_batch_end", 9), "signals": ["SIGINT"], "code": -signal.SIGINT},
    "SIGTERM in a validation": {"place": ("on_test_batch_end", 2), "signals": ["SIGTERM"], "code": 143},
    "SIGINT in a validation": {"place": ("on_test_batch_begin", 2), "signals": ["SIGINT"], "code": -signal.SIGINT},
    "SIGTERM at an epoch's end": {"place": ("on_epoch_end", 2), "signals": ["SIGTERM"], "code": 143},
    "SIGUSR1": {
        "place": ("on_train_batch_end", 9),
        "signals": ["SIGUSR1"],
        "options": {"signals": ["SIGUSR1"]},
        "code": 128 + signal.SIGUSR1,
    },
    "a pipeline in an epoch": {
        "place": ("on_train_batch_end", 9),
        "signals": ["SIGTERM"],
        "code": 143,
        "training": "a pipeline",
    },
}
TWICE = {"place": ("on_train_batch_end", 9), "signals": ["SIGINT", "SIGINT"], "training": "everything"}
LAST = {"place": ("on_epoch_end", 4), "signals": ["SIGTERM"], "training": "everything"}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """How each process ended, how the one after it in the same folder did, and what undisturbed ones end with."""
    root = tmp_path_factory.mktemp("stopped")
    jobs: dict[str, dict[str, Any]] = {}
    for name, case in CASES.items():
        job = {"training": "everything", "folder": str(root / name)} | case
        jobs[name] = job
        jobs[f"{name}, again"] = {key: job[key] for key in ("training", "folder", "options") if key in job}
    jobs |= {name: {"training": name, "folder": str(root / name)} for name in ("everything", "a pipeline")}
    jobs["twice"] = TWICE | {"folder": str(root / "twice")}
    jobs["last"] = LAST | {"folder": str(root / "last")}
    command = [sys.executable, str(SCRIPT), json.dumps(list(jobs.values())), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    found = dict(zip(jobs, json.loads(done.stdout), strict=True))
    left = sorted(path.name for path in (root / "twice").rglob("*"))
    return found | {"twice left": left, "errors": done.stderr}


@pytest.mark.parametrize("name", CASES)
def test_a_signal_ends_training_with_a_checkpoint(results: dict[str, Any], name: str) -> None:
    stopped, again = results[name], results[f"{name}, again"]
    assert stopped["code"] == CASES[name]["code"], results["errors"]
    assert stopped["seconds"] < 0.5, "seconds of CPU between the signal and the end"
    assert again["code"] == 0 and again["found"] == results[CASES[name].get("training", "everything")]["found"]


def test_a_second_ctrl_c_ends_at_once(results: dict[str, Any]) -> None:
    assert results["twice"]["code"] == -signal.SIGINT
    assert results["twice left"] == []  # no checkpoint was waited for


def test_a_signal_in_the_last_moment_is_not_lost(results: dict[str, Any]) -> None:
    assert results["last"]["code"] == 143
