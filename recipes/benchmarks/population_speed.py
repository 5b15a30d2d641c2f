"""Configurations a second: a population as one program, beside searches that train one model after the other.

Command   python recipes/benchmarks/population_speed.py --members 8 32 128 --trials 8
Data      digits, in scikit-learn; a network of 64 units, 10 epochs in batches of 32, with validation
Target    15 times KerasTuner's configurations a second at 32 members, 40 times at 128
Time      3 minutes on 2 cores

Each contender is a process of its own, whose time counts from the first line after the imports to the end: data,
building, tracing, compiling, training and validation. Learning rates are drawn on a log scale from 1e-4 to 0.1. A
search in sequence trains `--trials` configurations, for each takes as long as the one before. CPU seconds are those of
all threads: they say the same on a busy machine.

Measured beside other work, 4 trials in sequence: KerasTuner 3.11 s (1.75 CPU s) a configuration, kopt in sequence 2.11
(1.36), a population of 32 0.167 (0.084): 18.6 times KerasTuner's by the clock and 20.7 by the CPU; one of 128 0.045
(0.034): 69 and 52 times. Not measured: 1 and 8 members, dropout, the CNN (whose members take turns) and other models,
two processes, Ray Tune.
"""

import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import keras_tuner
import numpy as np
import tyro
from timing import quiet_environment

import kopt
from kopt import data, models, schedules
from kopt.tuning import HyperModel, Range, Tuner, population
from kopt.values import replace

LOW, HIGH = 1e-4, 0.1


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of the command line.

    Args:
        members: The sizes of populations.
        trials: The configurations that a search in sequence trains.
        model: "mlp", "dropout" (the same with dropout) or "cnn".
        only: One contender to run in this process; all in processes of their own when empty.
        count: How many configurations it trains.
    """

    members: tuple[int, ...] = (8, 32, 128)
    trials: int = 8
    model: str = "mlp"
    only: str = ""
    count: int = 1


def recipe_of(name: str) -> kopt.Recipe:
    """Return the recipe of a model."""
    model: Any = {
        "mlp": models.MLP((8, 8, 1), 10, units=(64,), scale=1 / 16),
        "dropout": models.MLP((8, 8, 1), 10, units=(64,), dropout=0.2, scale=1 / 16),
        "cnn": models.ConvNet((8, 8, 1), 10, width=16, stages=2, scale=1 / 16),
    }[name]
    training = kopt.Training(epochs=10, batch_size=32)
    return kopt.Recipe("speed", data.Digits(), model=model, schedule=schedules.Constant(0.001), training=training)


def in_population(name: str, count: int) -> None:
    """Train a population."""
    rates = np.geomspace(LOW, HIGH, count).tolist()
    recipe = recipe_of(name)
    population.train([replace(recipe, {"seed": seed, "schedule.rate": rate}) for seed, rate in enumerate(rates)])


def in_sequence(name: str, count: int) -> None:
    """Search by kopt's tuner, one trial after the other."""
    with tempfile.TemporaryDirectory() as folder:
        hypermodel = HyperModel(recipe_of(name), {"schedule.rate": Range(LOW, HIGH, log=True)})
        Tuner(hypermodel, "val_accuracy", max_trials=count, sampler="random", directory=folder).search(verbose=0)


def by_keras_tuner(name: str, count: int) -> None:
    """Search by KerasTuner's random search, with model.fit."""
    splits = recipe_of(name).data.load()

    def build(hp: keras_tuner.HyperParameters) -> keras.Model:
        recipe = recipe_of(name)
        assert recipe.model is not None
        model = recipe.model.build()
        optimizer = keras.optimizers.Adam(hp.Float("rate", LOW, HIGH, sampling="log"))
        model.compile(optimizer, recipe.model.loss(), metrics=["accuracy"])
        return model

    with tempfile.TemporaryDirectory() as folder:
        tuner = keras_tuner.RandomSearch(build, "val_accuracy", max_trials=count, directory=folder)
        tuner.search(*splits.train, validation_data=splits.validation, epochs=10, batch_size=32, verbose=0)


CONTENDERS: dict[str, Callable[[str, int], None]] = {
    "population": in_population,
    "kopt, in sequence": in_sequence,
    "KerasTuner": by_keras_tuner,
}


def measured(contender: str, options: Options, count: int) -> tuple[float, float]:
    """Run a contender in a process of its own; return the seconds and CPU seconds a configuration."""
    arguments = ["--only", contender, "--model", options.model, "--count", str(count)]
    done = subprocess.run(
        [sys.executable, __file__, *arguments], env=quiet_environment(), capture_output=True, text=True, check=True
    )
    wall, cpu = json.loads(done.stdout.strip().splitlines()[-1])
    return wall / count, cpu / count


def main(args: Sequence[str] | None = None) -> None:
    """Print a table, or run one contender."""
    options = tyro.cli(Options, args=args, description=__doc__)
    if options.only:
        wall, cpu = time.perf_counter(), time.process_time()
        CONTENDERS[options.only](options.model, options.count)
        print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]))
        return
    rows = [(name, options.trials) for name in ("KerasTuner", "kopt, in sequence")]
    rows += [("population", members) for members in options.members]
    base: tuple[float, float] | None = None
    for name, count in rows:
        wall, cpu = measured(name, options, count)
        base = base or (wall, cpu)
        ratios = f"{base[0] / wall:.1f} times KerasTuner's by the clock, {base[1] / cpu:.1f} by the CPU"
        print(f"{options.model}: {name}, {count}: {wall:.3f} s, {cpu:.3f} CPU s a configuration; {ratios}", flush=True)


if __name__ == "__main__":
    main()
