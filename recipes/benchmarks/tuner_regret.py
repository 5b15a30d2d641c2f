"""How good searches are: kopt's tuner, KerasTuner and Optuna alone, with equal trials.

Command   python recipes/benchmarks/tuner_regret.py --works branin hartmann conditional --seeds 20
          python recipes/benchmarks/tuner_regret.py --works digits --methods kopt-tpe kopt-tpe+asha --seeds 6
Shows     the median of the regret (functions) or of the best validation loss (training) with its quartiles, and the
          seconds that a trial costs beside its work
Target    hartmann at 40 trials: kopt-tpe <= 1/3 and kopt-gp <= 1/20 of KerasTuner random's regret; kopt-tpe <= 0.02 s a
          trial at 200 trials with the journal; "asha" as good as no pruning, with <= 60 % of the epochs

Measured on 2 cores, mostly beside other work; median [quartiles] of the regret. tpe's settings were chosen on other
seeds, gp's on 20 others, and then looked at on these.
hartmann, 40 trials, 20 seeds: kt-random 1.910 [1.385, 2.208], kopt-tpe 0.492 [0.249, 0.620] (0.26 of it), optuna-tpe
0.550, kopt-cma 0.960; 60 seeds: kt-random 1.876, kopt-gp 0.077 [0.020, 0.194] (0.041 of it), optuna-gp 0.186.
hartmann, 50 trials, 5 seeds: kt-bayesian 0.200 with 1.3 s a trial, kopt-tpe 0.245, kopt-gp (with a noise of its own, as
Optuna has it) 0.0015 with 0.2 s a trial.
branin, 30 trials, 20 seeds: kt-random 1.310 [0.201, 3.206], kopt-tpe 0.329 [0.208, 0.547], kopt-cma 0.784, optuna-tpe
0.282; 50 trials, 5 seeds: kt-bayesian 0.045 with 1.9 s a trial, kopt-tpe 0.106, kopt-gp (as before) 0.000.
conditional, 50 trials, 20 seeds: kt-random 0.128, kopt-tpe 0.037 [0.014, 0.207], kopt-cma 0.151, optuna-tpe 0.051;
5 seeds: kopt-tpe 0.031, kopt-gp 0.276 (what is conditional it draws at random, so it is one for plain spaces).
rosenbrock, 100 trials, 20 seeds: kt-random 93.8 [71.1, 135.8], kopt-tpe 6.30 [4.66, 7.06], kopt-cma 5.85, optuna-tpe
5.87.
A trial of kopt-tpe with the journal costs, the machine doing nothing else: 0.006 s at 50 trials, 0.011 s at 200.
Best validation loss of 20 trials, and the epochs that they took:
digits, 6 seeds: kopt-tpe 0.1273 [0.1262, 0.1315] with 540, kopt-tpe+asha 0.1298 [0.1181, 0.1351] with 237 (44 %);
3 seeds: kt-random 0.1260, kt-bayesian 0.1171 [0.1159, 0.1214], each with 540.
electricity, 3 seeds: kopt-tpe 0.1565 with 240, kopt-tpe+asha 0.1565 with 135 (56 %); kt-random 0.1589 with 240.
sentiment, 3 seeds: kopt-tpe 0.4531 with 400, kopt-tpe+asha 0.4541 with 186 (47 %).
Not run: kt-hyperband; kt-bayesian on conditional, rosenbrock, electricity and sentiment; kt-random on sentiment.
"""

import dataclasses
import importlib
import math
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import keras_tuner
import numpy as np
import optuna
import tyro

import kopt
from kopt.tuning import Choice, HyperModel, Range, Tuner

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

A = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)
Draw = Callable[[str, float, float], float]


def branin(draw: Draw, _: Any) -> float:
    x, y = draw("x", -5, 10), draw("y", 0, 15)
    bent = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return bent**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10 - 0.39788736


def hartmann(draw: Draw, _: Any) -> float:
    x = np.array([draw(f"x{number}", 0, 1) for number in range(6)])
    return float(3.32236801 - np.array([1, 1.2, 3, 3.2]) @ np.exp(-(A * (x - P) ** 2).sum(1)))


def rosenbrock(draw: Draw, _: Any) -> float:
    x = np.array([draw(f"x{number}", -2, 2) for number in range(5)])
    return float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())


def conditional(draw: Draw, choose: Any) -> float:
    """Return the value of a test function: three families with different numbers; the third has the optimum."""
    kind = choose("kind", ["line", "bowl", "valley"])
    if kind == "line":
        return 0.5 + draw("line_x", 0, 1)
    if kind == "bowl":
        return 0.2 + (draw("bowl_x", -1, 1) - 0.3) ** 2 + (draw("bowl_y", -1, 1) + 0.5) ** 2
    return (draw("valley_x", -1, 1) - 0.7) ** 2 + abs(draw("valley_y", -1, 1) - draw("valley_x2", -1, 1))


FUNCTIONS: dict[str, tuple[Callable[..., float], int]] = {
    "branin": (branin, 30),
    "hartmann": (hartmann, 40),
    "rosenbrock": (rosenbrock, 100),
    "conditional": (conditional, 50),
}
DIGITS = kopt.Recipe(
    "digits",
    kopt.data.Digits(),
    model=kopt.models.MLP((8, 8, 1), 10, units=(64,), scale=1 / 16, dropout=0.1),
    schedule=kopt.schedules.Cosine(0.01),
    training=kopt.Training(epochs=27, batch_size=64),
)
# Recipes of recipes/ and digits, made smaller so that a trial takes seconds.
RECIPES: dict[str, dict[str, Any]] = {
    "digits": {},
    "electricity": {"model.units": (64,)},
    "sentiment": {"model.vocabulary": 10_000, "model.length": 200, "model.ngrams": 2},
}


@dataclasses.dataclass
class Options:
    """The options of the command line."""

    works: tuple[str, ...] = ("branin", "hartmann", "rosenbrock", "conditional")
    methods: tuple[str, ...] = ("kopt-tpe", "kopt-gp", "kopt-cma", "optuna-tpe", "optuna-gp", "kt-random")
    seeds: int = 20
    trials: int | None = None  # None for the work's own number


def asked(hp: Any) -> tuple[Draw, Callable[..., Any]]:
    """Return the functions that draw a float and a choice, of KerasTuner's hyperparameters or an Optuna trial."""
    if isinstance(hp, keras_tuner.HyperParameters):
        return hp.Float, hp.Choice
    return hp.suggest_float, hp.suggest_categorical


def on_function(function: Callable[..., float]) -> Any:
    """Return a `run_trial` that calls a function."""
    return lambda self, trial, **_: function(*asked(trial.hyperparameters))


def best_of_function(method: str, name: str, trials: int, seed: int, folder: str) -> tuple[float, float]:
    """Return the least value that a search found, and the seconds of each of its last ten trials."""
    function, times = FUNCTIONS[name][0], [time.perf_counter()]

    def timed(draw: Draw, choose: Any) -> float:
        value = function(draw, choose)
        times.append(time.perf_counter())
        return value

    maker, kind = method.split("-")
    if maker == "optuna":
        sampler = {"tpe": optuna.samplers.TPESampler, "gp": optuna.samplers.GPSampler}[kind](seed=seed)
        study = optuna.create_study(sampler=sampler)
        study.optimize(lambda trial: timed(*asked(trial)), trials)
        found = study.best_value
    elif maker == "kopt":
        search = type("Search", (Tuner,), {"run_trial": on_function(timed)})
        tuner = search(max_trials=trials, sampler=kind, seed=seed, directory=folder)
        tuner.oracle.verbose = 0
        tuner.search()
        found = tuner.study.best_value
    else:
        kinds = {"random": keras_tuner.RandomSearch, "bayesian": keras_tuner.BayesianOptimization}
        search = type("Search", (kinds[kind],), {"run_trial": on_function(timed)})
        tuner = search(max_trials=trials, seed=1 + 10007 * seed, directory=folder, overwrite=True)
        tuner.oracle.verbose = 0
        tuner.search()
        found = tuner.oracle.get_best_trials()[0].score
    return found, (times[-1] - times[-11]) / 10


def space_of(name: str) -> HyperModel:
    """Return a recipe with ranges for the fields of every recipe, and for optional ones."""
    recipe = DIGITS if name == "digits" else importlib.import_module(name).RECIPE
    recipe = kopt.values.replace(recipe, RECIPES[name])
    rate = kopt.values.read(recipe, "schedule.rate")
    ranges: dict[str, Any] = {
        "schedule.rate": Range(rate / 30, rate * 10, log=True),
        "training.batch_size": Choice((16, 32, 64, 128)),
    }
    if "model.dropout" in kopt.values.paths(recipe):
        ranges["model.dropout"] = Range(0, 0.5)
    return HyperModel(recipe, ranges)


def best_of_training(method: str, name: str, trials: int, seed: int, folder: str) -> tuple[float, float]:
    """Return the least validation loss, and the epochs of the search."""
    maker, kind = method.split("-")
    hypermodel = space_of(name)
    how: dict[str, Any] = {"directory": folder, "project_name": "search"}
    objective = keras_tuner.Objective("val_loss", "min")
    epochs = kopt.values.read(hypermodel.space.value, "training.epochs")
    if maker == "kopt":
        sampler, _, pruner = kind.partition("+")
        tuner = Tuner(hypermodel, objective, trials, sampler=sampler, pruner=pruner or None, seed=seed, keep=1, **how)
        tuner.search(verbose=0)
        found = tuner.study.get_trials(deepcopy=False)
        return tuner.oracle.get_best_trials()[0].score, sum(trial.last_step or 0 for trial in found)
    kinds: dict[str, Any] = {"random": keras_tuner.RandomSearch, "bayesian": keras_tuner.BayesianOptimization}
    kinds["hyperband"] = keras_tuner.Hyperband
    limit = {"max_epochs": epochs} if kind == "hyperband" else {"max_trials": trials}
    tuner = kinds[kind](hypermodel, objective, seed=1 + 10007 * seed, **limit, **how)
    tuner.search(verbose=0)
    ran = [one.hyperparameters.values for one in tuner.oracle.trials.values()]
    spent = sum(one.get("tuner/epochs", epochs) - one.get("tuner/initial_epoch", 0) for one in ran)
    return tuner.oracle.get_best_trials()[0].score, float(spent)


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for work in options.works:
        run = best_of_training if work in RECIPES else best_of_function
        trials = options.trials or (20 if work in RECIPES else FUNCTIONS[work][1])
        cost = "epochs" if work in RECIPES else "s a trial"
        first: list[float] = []
        for method in options.methods:
            found, costs = [], []
            for seed in range(options.seeds):
                with tempfile.TemporaryDirectory() as folder:
                    value, spent = run(method, work, trials, seed, folder)
                found.append(value)
                costs.append(spent)
            first = first or found
            times = np.median(np.divide(found, first))
            low, middle, high = np.percentile(found, [25, 50, 75])
            line = (
                f"{work:12} {method:14} {trials:4} trials {options.seeds:3} seeds: {middle:.4f} [{low:.4f}, {high:.4f}]"
            )
            print(f"{line}  {statistics.median(costs):.4g} {cost}, seed by seed {times:.3f} of the first", flush=True)


if __name__ == "__main__":
    main()
