"""What a search keeps in memory: resident megabytes after every tenth of 100 trials of small models.

Command   python recipes/benchmarks/tuner_memory.py
          python recipes/benchmarks/tuner_memory.py --recipe [--jit auto]
Target    after 100 trials at most 1.10 times what it is after 10
Time      2 to 4 minutes on 2 cores

Measured: 815.4 MB after 10 trials, 829.5 after 100: 1.02. Without what kopt does (a trial's traced programs are taken
out of TensorFlow's registry of gradients, where every Keras optimizer leaves its graph) 848 and 1,190 MB: 1.40, as a
loop of plain Keras that clears its session between models; neither collecting garbage, TensorFlow's kernel cache nor
malloc_trim changed that.
A recipe on digits, whose rate is searched, after 10, 20 and 30 trials, and the CPU time of the process:

    --jit off    897    898    898 MB    49 s
    --jit auto   899    899           as off: 33 s for 20 trials, 37 s with off in the same minute
    --jit on    1189   1283   1277 MB   125 s

Trials of three epochs do not pay for XLA, and "auto" takes none. With it memory grew by 17 MB a trial before equal
models shared a program; now it stays. So searches train by "auto", as all else does.
"""

import dataclasses
import pathlib
import tempfile
from typing import Any, Literal

import keras
import numpy as np
import tyro

import kopt
from kopt.tuning import HyperModel, Range

RECIPE = kopt.Recipe(
    "digits",
    kopt.data.Digits(examples=300),
    model=kopt.models.MLP((8, 8, 1), 10, units=(64,), scale=1 / 16),
    schedule=kopt.schedules.Cosine(0.01),
    training=kopt.Training(epochs=3, batch_size=64),
)
JIT: dict[str, Any] = {"off": False, "auto": "auto", "on": True}


@dataclasses.dataclass
class Options:
    """The options of the command line."""

    recipe: bool = False
    jit: Literal["off", "auto", "on"] = "off"  # whether XLA compiles the recipe's step
    trials: int = 100


def build(hp: Any) -> keras.Model:
    hidden = keras.layers.Dense(hp.Int("units", 200, 1000), activation="relu")
    model = keras.Sequential([keras.Input((10,)), hidden, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(hp.Float("rate", 1e-4, 1e-1, sampling="log")), "mse")
    return model


class Measured(kopt.tuning.Tuner):
    """Prints the resident memory after every tenth trial."""

    def on_trial_end(self, trial: Any) -> None:
        super().on_trial_end(trial)
        if (ended := len(self.oracle.end_order)) % 10 == 0:
            pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
            print(f"{ended:4} trials {pages * 4096 / 2**20:8.1f} MB", flush=True)


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    x = np.random.default_rng(0).normal(size=(64, 10)).astype("float32")
    searched = HyperModel(RECIPE, {"schedule.rate": Range(1e-4, 0.1, log=True)}, jit=JIT[options.jit])
    with tempfile.TemporaryDirectory() as folder:
        how: dict[str, Any] = {"max_trials": options.trials, "sampler": "random", "directory": folder}
        tuner = Measured(searched if options.recipe else build, "loss", **how)
        tuner.search(*(() if options.recipe else (x, x[:, :1])), verbose=0)


if __name__ == "__main__":
    main()
