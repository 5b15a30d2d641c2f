"""A training that is killed at random moments ends with the bits of one that is not: every variable, and History.

The kills are drawn by a seed; only those of the timer come at another moment each time. More of them:

    python tests/faults/driver.py --kills 200
"""

import json
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
