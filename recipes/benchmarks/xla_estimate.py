"""The constants of the estimate whether XLA pays, measured and fitted.

Command   python recipes/benchmarks/xla_estimate.py
Data      random numbers; the networks of works.py without convolutions, and deeper ones with BatchNorm and recurrence
Target    the estimated number of steps after which XLA pays, within a factor of 3.2 of the measured one on each work
Time      about 1 minute on 2 cores
Result    estimated over measured number of steps, medians of three runs, Adam's kernel in the plain program: 10-5-1 0.8
          and 0.8, digits MLP 1.7, MLP 784 1.8, with dropout 3.3, transformer 1.3, factorization 0.5, GRU 0.6, text
          bag 0.9, 8 layers 3.6, 4 layers 0.6, BatchNorm 1.5 and 1.5, LSTM 0.8, GRU of 128 steps 2.1. Missed: MLP 784
          with dropout and 8 layers by a little, and SGD, where XLA saves 3 to 13 us a step and is taken after 4,500
          steps in place of 40,000, which loses 0.3 s. A transformer with dropout, a text bag and 4 layers were in one
          of three runs slower with XLA, by noise of the machine

Each work is trained by Loop(jit="auto"), where XLA is made never to pay, and by Loop(jit=True): the time of the first
epoch beyond that of a later one is what starting costs, the difference of the later ones what XLA saves. Least squares
of the logarithms give seconds an operation to compile, and seconds an operation and a byte that a step saves. What a
program takes to start one that XLA has compiled is the difference of `engine="stream"` with and without XLA on a small
network.
"""

import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

os.environ["KOPT_CACHE"] = "off"  # read by the import of kopt

import keras
import numpy as np
import tyro
from keras import layers
from works import WORKS, Work, classes

from kopt import Loop
from kopt.training.execute import xla
from kopt.training.execute.estimate import Estimate, Plan, work_of
from kopt.training.execute.estimate import Work as Counted

REPETITIONS = 5


def deep(depth: int, width: int, *, normalized: bool = False) -> Callable[[], tuple[Any, Any]]:
    """Return a network of many layers."""

    def build() -> tuple[Any, Any]:
        x = inputs = keras.Input((64,))
        for _ in range(depth):
            x = layers.Dense(width)(x)
            x = layers.ReLU()(layers.BatchNormalization()(x) if normalized else x)
        return inputs, layers.Dense(10)(x)

    return build


def recurrent(layer: Any, steps: int, features: int) -> Callable[[], tuple[Any, Any]]:
    """Return a recurrent network."""

    def build() -> tuple[Any, Any]:
        x = keras.Input((steps, features))
        return x, layers.Dense(10)(layer(x))

    return build


MORE = {
    "8 layers of 64": Work(32, "adam", 1e-3, "classes", classes(1792, 64), deep(8, 64)),
    "4 layers of 512": Work(128, "adam", 1e-3, "classes", classes(2560, 64), deep(4, 512)),
    "BatchNorm, 4 layers of 128": Work(64, "adam", 1e-3, "classes", classes(2560, 64), deep(4, 128, normalized=True)),
    "BatchNorm, 2 layers of 512": Work(256, "adam", 1e-3, "classes", classes(5120, 64), deep(2, 512, normalized=True)),
    "2 layers of 32, SGD": Work(512, "sgd", 1e-3, "classes", classes(25600, 64), deep(2, 32)),
    "LSTM": Work(32, "adam", 1e-3, "classes", classes(640, 32, 16), lambda: recurrent(layers.LSTM(64), 32, 16)()),
    "GRU of 128 steps": Work(
        32, "adam", 1e-3, "classes", classes(640, 128, 4), lambda: recurrent(layers.GRU(16), 128, 4)()
    ),
}

WARMING = Work(16, "sgd", 1e-3, "classes", classes(64, 64), deep(1, 8))


class Found(NamedTuple):
    """What was measured of a work.

    Attributes:
        counted: The work of a step.
        compiling: Seconds that starting takes longer with XLA.
        saved: Seconds that a step then takes less.
    """

    counted: Counted
    compiling: float
    saved: float


def measure(work: Work) -> Found:
    """Train a work with and without XLA."""
    x, y = work.arrays()
    starts, steps, counts = [], [], -(-len(y) // work.batch)
    for jit in ("auto", True):
        model = work.model()
        loop = Loop(model, jit=jit, seed=0)
        seconds = []
        for _ in range(REPETITIONS + 1):
            started = time.perf_counter()
            loop.fit(x, y, batch_size=work.batch, verbose=0)
            seconds.append(time.perf_counter() - started)
        starts.append(seconds[0] - min(seconds[1:]))
        steps.append(min(seconds[1:]) / counts)
        if jit == "auto":
            (trace,) = model.train_function.traced.traces.values()
    bodies = 1 if len(y) % work.batch == 0 else 2
    return Found(work_of(Plan(None, lambda: trace, work.batch, bodies)), starts[1] - starts[0], steps[0] - steps[1])


def fitted(found: Sequence[Found]) -> tuple[float, float, float]:
    """Return seconds an operation to compile, and those that an operation and a byte save."""
    compiling = float(np.exp(np.mean([np.log(one.compiling / one.counted.compiled) for one in found])))
    saving = [one for one in found if one.saved > 0]
    operations, bytes_ = (np.geomspace(least, 100 * least, 200) for least in (1e-7, 1e-11))
    grid = operations[:, None, None] * [one.counted.started for one in saving]
    grid = grid + bytes_[:, None] * [one.counted.moved for one in saving]
    errors = (np.log(grid / [one.saved for one in saving]) ** 2).sum(-1)
    best = np.unravel_index(errors.argmin(), errors.shape)
    return compiling, float(operations[best[0]]), float(bytes_[best[1]])


def main(args: Sequence[str] | None = None) -> None:
    """Measure all works, fit the constants, and print both kinds of numbers side by side."""

    def options(works: tuple[str, ...] = ()) -> tuple[str, ...]:
        return works

    every = {name: work for name, work in WORKS.items() if not name.startswith("CNN")} | MORE
    chosen = tyro.cli(options, args=args, description=__doc__) or tuple(every)
    xla.estimate = lambda plan: Estimate(math.inf, 0.0)  # so that "auto" takes the plain program
    measure(WARMING)  # the first use of XLA in a process takes longer
    found = {name: measure(every[name]) for name in chosen}
    constants = fitted(list(found.values()))
    print("seconds: {:.2g} an operation to compile; {:.2g} an operation, {:.2g} a byte saved".format(*constants))
    print(f"{'work':40} compile, s: measured  estimated   saved, us: measured  estimated   pays after: both")
    for name, one in found.items():
        compiling = constants[0] * one.counted.compiled
        saved = constants[1] * one.counted.started + constants[2] * one.counted.moved
        steps = [f"{one.compiling / one.saved:.0f}" if one.saved > 0 else "never", f"{compiling / saved:.0f}"]
        cells = f"{one.compiling:20.2f} {compiling:10.2f} {one.saved * 1e6:20.0f} {saved * 1e6:10.0f}"
        print(f"{name:40}{cells} {steps[0]:>12} {steps[1]:>8}  {tuple(one.counted)}", flush=True)


if __name__ == "__main__":
    main()
