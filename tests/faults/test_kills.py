"""A training that is killed at random moments ends with the bits of one that is not: every variable, and History.

The kills are drawn by a seed; only those of the timer come at another moment each time. More of them:

    python tests/faults/driver.py --kills 200
"""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

DRIVER = pathlib.Path(__file__).with_name("driver.py")
TRAININGS = re.findall(r"^@training\ndef (\w+)", DRIVER.with_name("killed_trainings.py").read_text(), re.MULTILINE)
EVERY = ("1 steps", "7 steps", "0.05s", "1 epoch")
JOBS = {"everything": {"training": "everything", "every": EVERY, "kills": 20, "seed": 1}} | {
    name: {"training": name.replace("_", " "), "every": [EVERY[place % 3]], "kills": 1, "seed": 2}
    for place, name in enumerate(TRAININGS)
    if name != "everything"
}


@pytest.fixture(scope="module")
def results() -> dict[str, dict]:
    """The results of all jobs, in forks of one process."""
    command = [sys.executable, str(DRIVER), json.dumps(list(JOBS.values()))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return dict(zip(JOBS, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("name", JOBS)
def test_a_killed_training_ends_with_the_same_bits(results: dict[str, dict], name: str) -> None:
    found = results[name]
    assert "failed" not in found, found["failed"]
    assert found["wrong"] == [] and found["kills"] == JOBS[name]["kills"]


def test_kills_come_at_many_moments(results: dict[str, dict]) -> None:
    places = {place for found in results.values() for place in found.get("places", ())}
    assert len(places) > 9, places


# Trainings that end otherwise after a kill, of which one raises: nothing is trained.
OTHERWISE = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
import driver

def dying(name, fits, death):
    fits.folder.mkdir(exist_ok=True)
    (fits.folder / "step").touch()
    if name == "xla":
        raise ZeroDivisionError
    return os.kill(os.getpid(), 9) if death else {"History": "1", "kernel": "1", "bias": "2"}

def train(name, fits):
    time.sleep(0.1)  # a moment of a timer is drawn within it
    return {"History": "2", "kernel": "1", "bias": "1"}

driver.train = train
driver.dying = dying
sys.exit(driver.main(["--kills", "1"]))
"""


def test_what_ends_otherwise_is_named_and_kept(tmp_path: pathlib.Path) -> None:
    command = [sys.executable, "-c", OTHERWISE, str(DRIVER.parent)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert done.returncode == 1, done.stderr
    first, *said = done.stdout.splitlines()
    count = len(TRAININGS) - 2  # the first has no kill
    assert (
        first == f"{count} kills in {count} runs of {len(TRAININGS)} trainings, {count + 1} runs that ended otherwise"
    )
    wrong = [re.fullmatch(r".*: History, bias; History: 2 became 1; kept in (.*)", line) for line in said]
    places = [pathlib.Path(match[1]) for match in wrong if match]
    assert len(places) == count
    for place in places:
        assert json.loads((place / "ends.json").read_text())["got"]["bias"] == "2"
        assert (place / "checkpoints" / "step").exists()
    (failed,) = (line for line in said if line.startswith("ZeroDivisionError"))
    (kept,) = (line for line in said if line.startswith("kept in "))
    assert (pathlib.Path(kept.removeprefix("kept in ")) / "0" / "step").exists(), failed
