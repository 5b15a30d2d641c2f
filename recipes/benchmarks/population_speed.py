"""Configurations a second: a population as one program, beside searches that train one model after the other.

Command   python recipes/benchmarks/population_speed.py --model mlp --members 1 8 32 128 --trials 8
          python recipes/benchmarks/population_speed.py --model normalized --members 8 32
Data      digits, in scikit-learn: a network of 64 units, the same with BatchNorm and dropout, a ConvNet; 10 epochs in
          batches of 32. Electricity, reviews and film ratings, with their recipes' models made smaller; 4 epochs
Target    15 times KerasTuner's configurations a second at 32 members, 40 times at 128, 5 times kopt's in sequence;
          never slower than in sequence
Time      3 minutes a model on 2 cores

Each contender is a process of its own, whose time counts from the end of the imports: data, building, tracing,
compiling, training and validation. Nothing that was compiled before is on the disk (KOPT_CACHE=off). Learning rates are
drawn on a log scale from 1e-4 to 0.1. A search in sequence trains `--trials` configurations, for each takes as long as
the one before; two processes share one search. CPU seconds, and their ratios in parentheses, are those of all threads:
they say the same on a busy machine. A line ends with what the population logs: whether all members are in each step, or
one after the other and why. Ray Tune runs where it is installed (`python -m pip install "ray[tune]"`).

Measured on 2026-11-27 on a machine that did nothing else, 8 trials in sequence (3 of the models after the first two),
seconds a configuration, compiling included, and how many times those of KerasTuner:

                  KerasTuner  kopt  2 processes    population of 8        32           128
    mlp                 1.80  0.76      0.49        0.24  7.5 x   0.071 25.5 x   0.025 71 x
    normalized          2.09  0.92      0.58        0.34  6.1 x   0.111 18.8 x   0.041 52 x
    cnn                 3.65  2.15         -        1.02  3.6 x   0.870  4.2 x       -
    forecaster          3.10  1.78         -        0.77  4.0 x   0.475  6.5 x       -
    text                2.05  1.62         -        0.77  2.7 x   0.414  4.9 x       -
    recommender         3.84  1.95         -        1.97  2.0 x   1.401  2.7 x       -

Compiling, data and test apart, the mlp takes 0.0104 s at 128: 173 times. The gain is small where a step is its
arithmetic, not its start: convolutions, and models whose steps write more than caches hold. The recommender, no faster
together than in sequence, showed that: since, members of large models and of short trainings take turns, see
population_turns.py. By CPU seconds, on a busy machine, populations of 8 and 32 then take 2.6 and 4.2 times KerasTuner's
configurations and 1.4 and 2.3 times kopt's (recommender), 2.6 and 6.5, 1.8 and 4.5 (text), 3.3 and 5.3, 2.0 and 3.3
(forecaster). One configuration, now trained alone, and one of kopt's tuner: 1.19 and 1.98 CPU s (mlp). Not measured:
Ray Tune.

What XLA compiles is kept on the disk: 32 members of an MLP with dropout over 27 epochs by `train(recipes, jit=True)`
took 7.5 s of CPU time in a new process, and 4.3 and 4.2 in the next two.
"""

import contextlib
import dataclasses
import importlib
import importlib.util
import json
import logging
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import keras_tuner
import numpy as np
import tyro
from timing import quiet_environment

import kopt
from kopt import data, models, schedules
from kopt.experiment.serving import prepared
from kopt.tuning import HyperModel, Range, Tuner, population
from kopt.values import replace
from kopt.values.checks import require

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # the recipes

LOW, HIGH = 1e-4, 0.1
MODELS = ("mlp", "normalized", "cnn", "forecaster", "text", "recommender")
OF_RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "forecaster": ("electricity", {"model.units": (64,)}),
    "text": ("sentiment", {"model.vocabulary": 10_000, "model.length": 200, "model.ngrams": 2}),
    "recommender": ("ratings", {}),
}
EPOCHS = 4  # of the models of recipes
KERAS_TUNER, RAY, POPULATION = "KerasTuner", "Ray Tune", "population"
KOPT, TWO = "kopt, in sequence", "kopt, 2 processes"


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of the command line.

    Args:
        members: The sizes of populations.
        trials: The configurations that a search in sequence trains.
        model: "mlp", "normalized" (the same with dropout and BatchNorm), "cnn", "forecaster", "text", "recommender".
        contenders: Those to run; all when none is given. KerasTuner is the base of the ratios.
        only: One contender to run in this process; all in processes of their own when empty.
        count: How many configurations it trains.
        folder: The folder of a search that several processes share; a new one when empty.
    """

    members: tuple[int, ...] = (1, 8, 32, 128)
    trials: int = 8
    model: str = "mlp"
    contenders: tuple[str, ...] = ()
    only: str = ""
    count: int = 1
    folder: str = ""


def recipe_of(name: str) -> kopt.Recipe:
    """Return the recipe of a model, with Adam at a constant rate."""
    require(name in MODELS, "model", f"must be among {', '.join(MODELS)}", name)
    schedule = schedules.Constant(0.001)
    if name in OF_RECIPES:
        work, changes = OF_RECIPES[name]
        plain = {"rule": kopt.rules.Adam(), "schedule": schedule, "average": None, "augment": None}
        changes = changes | plain | {"training.epochs": EPOCHS}
        found: kopt.Recipe = replace(importlib.import_module(work).RECIPE, changes)
        return found
    model: Any = {
        "mlp": lambda: models.MLP((8, 8, 1), 10, units=(64,), scale=1 / 16),
        "normalized": lambda: models.of_keras(normalized()),
        "cnn": lambda: models.ConvNet((8, 8, 1), 10, width=16, stages=2, scale=1 / 16),
    }[name]()
    training = kopt.Training(epochs=10, batch_size=32)
    return kopt.Recipe("speed", data.Digits(), model=model, schedule=schedule, training=training)


def normalized() -> keras.Model:
    """Return a network of 64 units with batch normalization and dropout."""
    inner = [keras.layers.Dense(64, use_bias=False), keras.layers.BatchNormalization(), keras.layers.ReLU()]
    ends = [keras.layers.Dropout(0.2), keras.layers.Dense(10)]
    return keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 16), keras.layers.Flatten(), *inner, *ends]
    )


# The contenders, each of which returns what is to be said of it


def in_population(options: Options) -> str:
    """Train a population; say how it ran, and the seconds of a configuration without those of compiling."""
    rates = np.geomspace(LOW, HIGH, options.count).tolist()
    recipe = recipe_of(options.model)
    recipes = [replace(recipe, {"seed": seed, "schedule.rate": rate}) for seed, rate in enumerate(rates)]
    with lines_of("population: ") as said:
        runs = population.train(recipes)
    epochs = float(np.median(runs[0].history["seconds"][1:])) * recipe.training.epochs
    return f"{', '.join(said)}; {epochs:.4f} s a configuration with compiling, data and test apart"


def in_sequence(options: Options) -> str:
    """Search by kopt's tuner, one trial after the other; in a given folder, together with other processes."""
    with tempfile.TemporaryDirectory() as own:
        hypermodel = HyperModel(recipe_of(options.model), {"schedule.rate": Range(LOW, HIGH, log=True)})
        how: dict[str, Any] = {"sampler": "random", "directory": options.folder or own, "project_name": "speed"}
        Tuner(hypermodel, "val_loss", max_trials=options.count, **how).search(verbose=0)
    return ""


def by_keras_tuner(options: Options) -> str:
    """Search by KerasTuner's random search, with model.fit."""
    recipe = recipe_of(options.model)
    _, splits, whole = prepared(recipe, recipe.data.load())
    assert whole.model is not None
    model, training = whole.model, recipe.training

    def build(hp: keras_tuner.HyperParameters) -> keras.Model:
        network = model.build()
        optimizer = keras.optimizers.Adam(hp.Float("rate", LOW, HIGH, sampling="log"))
        network.compile(optimizer, model.loss(), metrics=model.metrics())
        return network

    given = {"epochs": training.epochs, "batch_size": training.batch_size, "verbose": 0}
    with tempfile.TemporaryDirectory() as folder:
        tuner = keras_tuner.RandomSearch(build, "val_loss", max_trials=options.count, directory=folder)
        tuner.search(*splits.train, validation_data=splits.validation, **given)
    return ""


def by_ray(options: Options) -> str:
    """Search by Ray Tune, a trial a core, with model.fit."""
    tune: Any = importlib.import_module("ray.tune")
    recipe = recipe_of(options.model)
    training = recipe.training

    def trial(config: dict[str, float]) -> dict[str, float]:
        _, splits, whole = prepared(recipe, recipe.data.load())
        assert whole.model is not None
        network = whole.model.build()
        network.compile(keras.optimizers.Adam(config["rate"]), whole.model.loss(), metrics=whole.model.metrics())
        given = {"epochs": training.epochs, "batch_size": training.batch_size, "verbose": 0}
        history = network.fit(*splits.train, validation_data=splits.validation, **given).history
        return {"loss": history["val_loss"][-1]}

    settings = tune.TuneConfig(num_samples=options.count, metric="loss", mode="min")
    tune.Tuner(trial, param_space={"rate": tune.loguniform(LOW, HIGH)}, tune_config=settings).fit()
    return ""


CONTENDERS: dict[str, Callable[[Options], str]] = {
    KERAS_TUNER: by_keras_tuner,
    KOPT: in_sequence,
    TWO: in_sequence,
    RAY: by_ray,
    POPULATION: in_population,
}


@contextlib.contextmanager
def lines_of(beginning: str) -> Iterator[list[str]]:
    """Collect in the block what kopt logs after a beginning, each line once."""
    found: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if text.startswith(beginning) and "takes" not in text and text.removeprefix(beginning) not in found:
                found.append(text.removeprefix(beginning))

    log, handler = logging.getLogger("kopt"), Handler()
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield found
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


# Measuring


def run_one(options: Options) -> None:
    """Run a contender in this process when a line comes in; print its seconds, its CPU seconds and what it says."""
    print("imported", flush=True)
    sys.stdin.readline()
    wall, cpu = time.perf_counter(), time.process_time()
    said = CONTENDERS[options.only](options)
    print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu, said]))


def measured(contender: str, options: Options, count: int) -> tuple[float, float, str]:
    """Run a contender in processes of its own; return the seconds and CPU seconds a configuration, and what it says."""
    arguments = ["--only", contender, "--model", options.model, "--count", str(count)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, *arguments, "--folder", folder]
        environment = quiet_environment(KOPT_CACHE="off")
        processes = [
            subprocess.Popen(command, env=environment, text=True, **pipes) for _ in range(1 + (contender == TWO))
        ]
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()  # all are imported before one begins
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        ends = [process.communicate()[0].strip().splitlines()[-1] for process in processes]
    wall, cpu, said = zip(*map(json.loads, ends))
    return max(wall) / count, sum(cpu) / count, said[0]


def rows_of(options: Options) -> list[tuple[str, int]]:
    """Return the contenders and how many configurations each trains; Ray Tune where it is installed."""
    known = [name for name in CONTENDERS if name != RAY or importlib.util.find_spec("ray") is not None]
    names = [name for name in known if name in options.contenders or not options.contenders]
    return [(name, count) for name in names for count in (options.members if name == POPULATION else (options.trials,))]


def line_of(model: str, name: str, count: int, found: Sequence[Any], bases: dict[str, tuple[float, float]]) -> str:
    """Return the line of a contender: its seconds, the ratios to those that were measured before, and what it says."""
    wall, cpu, said = found
    times = [f"{w / wall:.1f} ({c / cpu:.1f}) times {base}'s" for base, (w, c) in bases.items() if base != name]
    parts = [f"{wall:.3f} s, {cpu:.3f} CPU s a configuration", *times, said]
    return f"{model}: {name}, {count}: {'; '.join(part for part in parts if part)}"


def main(args: Sequence[str] | None = None) -> None:
    """Print a table, or run one contender."""
    options = tyro.cli(Options, args=args, description=__doc__)
    if options.only:
        run_one(options)
        return
    bases: dict[str, tuple[float, float]] = {}
    for name, count in rows_of(options):
        found = measured(name, options, count)
        print(line_of(options.model, name, count, found, bases), flush=True)
        if name in (KERAS_TUNER, KOPT):
            bases[name] = found[:2]


if __name__ == "__main__":
    main()
