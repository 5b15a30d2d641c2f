"""Run trainings in forks of one process that has imported TensorFlow, and kill them.

    python tests/faults/driver.py '[{"training": "everything", "every": ["7 steps"], "kills": 20, "seed": 0}]'
    python tests/faults/driver.py --kills 200 --seed 1

The first prints a JSON list with a result a job. The second shares the kills out among all trainings, half of them to
the first one, and prints the names of all that differed; the folder of checkpoints of a run that ended otherwise, and
what both runs ended with, stay in a folder that is printed. No TensorFlow operation may run before a fork.
"""

import argparse
import json
import os
import pathlib
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[2]), str(pathlib.Path(__file__).parent)]

from killed_trainings import TRAININGS, Fits, train  # noqa: E402
from killing import Death, deadly, drawn  # noqa: E402

BESIDE = 2  # how many jobs run at a time
MOST = 40  # starts of a training without an end


def forked(function: Callable[[], Any], found: pathlib.Path) -> int:
    """Call a function in a fork, and write what it returns to a file as JSON; return the process's number."""
    number = os.fork()
    if number:
        return number
    code = 1
    try:
        text = json.dumps(function())
        aside = found.with_suffix(".aside")
        aside.write_text(text)
        aside.rename(found)
        code = 0
    except BaseException:
        found.with_suffix(".error").write_text(traceback.format_exc())
    finally:
        os._exit(code)


def waited(number: int) -> int:
    """Return a child's exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def in_fork(function: Callable[[], Any], found: pathlib.Path) -> Any:
    """Return what a function returns in a fork; None where it was killed."""
    for old in (found, found.with_suffix(".error")):
        old.unlink(missing_ok=True)
    code = waited(forked(function, found))
    error = found.with_suffix(".error")
    if error.exists():
        raise RuntimeError(error.read_text())
    return json.loads(found.read_text()) if code == 0 else None


def dying(name: str, fits: Fits, death: Death | None) -> dict[str, str]:
    """Run a training that may be killed."""
    with deadly(death):
        return train(name, fits)


def killed(job: dict[str, Any], room: pathlib.Path) -> dict[str, Any]:
    """Run a training to its end without kills, then with so many; return what differed."""
    name, found, seed = job["training"], room / "found.json", job.get("seed", 0)
    started = time.perf_counter()
    wanted = in_fork(lambda: train(name, Fits()), found)
    seconds = time.perf_counter() - started
    random = np.random.default_rng([seed, *name.encode()])
    deaths: list[Death] = []
    wrong: list[str] = []
    runs = 0
    while len(deaths) < job["kills"]:
        fits, runs = Fits(room / str(runs), job["every"][runs % len(job["every"])]), runs + 1
        for _ in range(MOST):
            death = drawn(random, seconds) if len(deaths) < job["kills"] else None
            got = in_fork(lambda: dying(name, fits, death), found)
            if got is not None:
                break
            deaths.append(death)
        if got is None or got != wanted:
            where = (
                f"run {runs}, every {fits.every}, after the kills {[f'{one.place} {one.count:.4g}' for one in deaths]}"
            )
            wrong.append(f"{where}: {unequal(wanted, got or {})}; kept in {kept(job, fits.folder, wanted, got)}")
            print(f"{name}: {wrong[-1]}", file=sys.stderr, flush=True)  # at once, whatever becomes of the rest
        shutil.rmtree(fits.folder, ignore_errors=True)
    places = sorted({death.place for death in deaths})
    return {"kills": len(deaths), "runs": runs, "wrong": wrong, "places": places}


def kept(job: dict[str, Any], folder: pathlib.Path, wanted: dict[str, str], got: dict[str, str] | None) -> pathlib.Path:
    """Move what a run that ended otherwise has left to where it stays; return that folder."""
    place = pathlib.Path(tempfile.mkdtemp(prefix=f"killed-{job['training'].replace(' ', '-')}-"))
    (place / "ends.json").write_text(json.dumps({"job": job, "wanted": wanted, "got": got}, indent=1))
    if folder.exists():
        shutil.move(folder, place / "checkpoints")
    return place


def unequal(wanted: dict[str, str], got: dict[str, str]) -> str:
    """Return what differs between two ends of a training: all names."""
    names = [name for name in {**wanted, **got} if wanted.get(name) != got.get(name)]
    text = ", ".join(names)
    seen = next((name for name in names if "History" in name or "callbacks" in name), None)
    return text if seen is None else f"{text}; {seen}: {wanted.get(seen)} became {got.get(seen)}"


def run(jobs: list[Any], do: Callable[[Any, pathlib.Path], Any]) -> list[Any]:
    """Do each job in a fork and a folder of its own; return the results, {"failed": a traceback} among them."""
    results: list[Any] = [None] * len(jobs)
    with tempfile.TemporaryDirectory() as folder:
        rooms = [pathlib.Path(folder) / str(place) for place in range(len(jobs))]
        running: dict[int, int] = {}

        def reap() -> None:
            place = running.pop(os.wait()[0])
            error = rooms[place] / "result.error"
            whole = (rooms[place] / "result").exists()
            if whole:
                results[place] = json.loads((rooms[place] / "result").read_text())
                return
            text = error.read_text() if error.exists() else "killed"
            stays = shutil.move(rooms[place], tempfile.mkdtemp(prefix="failed-"))
            results[place] = {"failed": f"{text}kept in {stays}"}

        for place, job in enumerate(jobs):
            if len(running) == BESIDE:
                reap()
            rooms[place].mkdir()
            running[forked(lambda: do(job, rooms[place]), rooms[place] / "result")] = place
        while running:
            reap()
    return results


EVERY = ("1 steps", "7 steps", "0.05s", "1 epoch")


def many(kills: int, seed: int) -> list[dict[str, Any]]:
    """Return jobs with so many kills in all."""
    first, *rest = TRAININGS
    each = max(1, kills // 2 // len(rest))
    jobs = [{"training": name, "every": EVERY, "kills": each, "seed": seed} for name in rest]
    return [{"training": first, "every": EVERY, "kills": kills - each * len(rest), "seed": seed}, *jobs]


def main(arguments: Sequence[str]) -> int:
    """Run jobs, or many kills; return the exit code."""
    if not arguments[0].startswith("-"):
        json.dump(run(json.loads(arguments[0]), killed), sys.stdout)
        return 0
    parser = argparse.ArgumentParser(description="Kill trainings at random moments, and compare what they end with.")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    results = run(many(options.kills, options.seed), killed)
    wrong = [
        f"{name}: {text}" for name, one in zip(TRAININGS, results) for text in one.get("wrong", [one.get("failed")])
    ]
    kills, runs = (sum(one.get(name, 0) for one in results) for name in ("kills", "runs"))
    print(
        f"{kills} kills in {runs} runs of {len(results)} trainings, {len(wrong)} runs that ended otherwise",
        *wrong,
        sep="\n",
    )
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
