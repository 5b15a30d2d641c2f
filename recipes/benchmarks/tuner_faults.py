"""Processes that share a search, one killed (kill -9) every few seconds: no trial is lost, and none counted twice.

Command   python recipes/benchmarks/tuner_faults.py --processes 4 --trials 40
Shows     how many trials ended, how often they were begun again, and from which epoch they went on

Measured with --every 5 --pause 0.3 on 2 busy cores: 40 kills, of which 11 hit a trial (the others a process that was
starting, or between trials): 40 trials complete, 11 begun again, all 11 from a checkpoint, none given up, 296 s.
"""

import collections
import dataclasses
import pathlib
import random
import subprocess
import sys
import tempfile
import time
from typing import Any

import keras
import keras_tuner
import numpy as np
import tyro

import kopt

EPOCHS = 4


@dataclasses.dataclass
class Options:
    """The options of the command line."""

    processes: int = 4  # processes that search at the same time
    trials: int = 40  # trials of the search
    every: float = 6.0  # seconds between kills
    pause: float = 0.4  # least seconds of an epoch
    folder: str | None = None  # the search's folder, for its processes


class Diary(keras.callbacks.Callback):
    """Records each epoch that begins, and makes it last a given time."""

    def __init__(self, file: pathlib.Path, value: float, pause: float):
        super().__init__()
        self.file, self.value, self.pause = file, value, pause

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        with open(self.file, "a") as file:
            file.write(f"{self.value!r} {epoch}\n")
        time.sleep(self.pause)


class Line(keras_tuner.HyperModel):
    """A line through one point."""

    def __init__(self, diary: pathlib.Path, pause: float):
        super().__init__()
        self.diary, self.pause = diary, pause

    def build(self, hp: Any) -> keras.Model:
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(hp.Float("rate", 1e-3, 0.5, sampling="log")), "mse")
        return model

    def fit(self, hp: Any, model: keras.Model, *args: Any, callbacks: Any = (), **kwargs: Any) -> Any:
        diary = Diary(self.diary, hp.get("rate"), self.pause)
        return model.fit(*args, callbacks=[*callbacks, diary], **kwargs)


def tuner(options: Options) -> kopt.tuning.Tuner:
    folder = pathlib.Path(str(options.folder))
    how: dict[str, Any] = {"directory": folder, "project_name": "line", "max_trials": options.trials}
    return kopt.tuning.Tuner(Line(folder / "diary", options.pause), "loss", sampler="random", **how)


def search(options: Options) -> None:
    """Search; every process runs this."""
    one = np.ones((4, 1), "float32")
    tuner(options).search(one, one, epochs=EPOCHS, verbose=0)


def start(options: Options) -> subprocess.Popen[bytes]:
    given = [f"--{name}={value}" for name, value in dataclasses.asdict(options).items()]
    return subprocess.Popen([sys.executable, __file__, *given])


def disturb(options: Options, seed: int = 0) -> int:
    """Start the processes; kill one from time to time and start another, until all have ended on their own."""
    chance, kills = random.Random(seed), 0
    running = [start(options) for _ in range(options.processes)]
    diary, seen = pathlib.Path(str(options.folder)) / "diary", 0
    while not diary.exists():  # the first kill comes after the search has begun
        time.sleep(0.1)
    while any(process.poll() is None for process in running):
        time.sleep(options.every)
        ended = [process for process in running if process.poll() is not None]
        if ended:  # the search has ended; the other processes end too
            for process in running:
                process.wait(300)
            break
        if (lines := len(diary.read_text().splitlines())) > seen:
            victim = chance.randrange(len(running))
            running[victim].kill()
            running[victim].wait()
            running[victim], kills, seen = start(options), kills + 1, lines
    assert all(process.returncode == 0 for process in running), [process.returncode for process in running]
    return kills


def account(options: Options) -> dict[str, Any]:
    """Return the outcome of the trials; raise when one is lost or counted twice."""
    trials = tuner(options).study.trials
    states = collections.Counter(trial.state.name for trial in trials)
    again = {number for trial in trials for number in trial.user_attrs.get("tries", ())}
    counted = [trial for trial in trials if trial.number not in again]
    assert set(states) <= {"COMPLETE", "FAIL"} and len(counted) == options.trials, states
    diary = (pathlib.Path(str(options.folder)) / "diary").read_text().splitlines()
    begun = collections.Counter(tuple(line.split()) for line in diary)
    for trial in counted:  # no completed epoch runs again, except at most one for each requeue of the trial
        tries = len(trial.user_attrs.get("tries", ()))
        epochs = [begun[(repr(trial.params["rate"]), str(epoch))] for epoch in range(EPOCHS)]
        assert sum(epochs) <= EPOCHS + tries and min(epochs) >= 1 or trial.state.name == "FAIL", (trial, epochs)
    went_on = [trial for trial in trials if trial.user_attrs.get("tries") and trial.intermediate_values]
    return {
        "trials": len(counted),
        "complete": states["COMPLETE"],
        "begun again": len(again),
        "of those from a checkpoint": len(went_on),
        "given up": sum(trial.state.name == "FAIL" for trial in counted),
    }


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    if options.folder is not None:
        search(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        options = dataclasses.replace(options, folder=folder)
        started = time.perf_counter()
        print("kills:", disturb(options))
        for name, count in account(options).items():
            print(f"{name}: {count}")
        print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
