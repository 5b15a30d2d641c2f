"""The works and the contenders of population_quality.py: one search each, within a budget of seconds."""

import contextlib
import dataclasses
import importlib
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import keras_tuner
import numpy as np
import optuna

import kopt
from kopt.experiment.inference import CHOICES
from kopt.experiment.serving import as_tensors
from kopt.rules import AdamW
from kopt.schedules import Cosine
from kopt.tuning import HyperModel, Range, Tuner, population
from kopt.values import replace
from kopt.values.checks import require

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # the recipes

RANGES = {
    "schedule.rate": Range(1e-4, 0.1, log=True),
    "rule.beta_1": Range(0.7, 0.98),
    "rule.weight_decay": Range(1e-3, 1.0, log=True),
}
ENSEMBLE = 5  # trials, before any of its scores was seen
MANY = 10**6  # trials, more than there is time for


@dataclasses.dataclass(frozen=True)
class Work:
    """What is searched.

    Args:
        changes: The fields in which the recipe differs from that of the script, so that a trial takes seconds.
        members: How many trials or members a population trains at once.
    """

    changes: dict[str, Any]
    members: int


WORKS = {
    "digits": Work({}, 32),
    "electricity": Work({"model.units": (64,), "average": None}, 16),
    "sentiment": Work({"model.vocabulary": 10_000, "model.length": 200, "model.ngrams": 2, "average": None}, 8),
    "ratings": Work({}, 8),
}
DIGITS = kopt.Recipe(
    "digits",
    kopt.data.Digits(),
    model=kopt.models.MLP((8, 8, 1), 10, units=(64,), scale=1 / 16, dropout=0.1),
    training=kopt.Training(epochs=27, batch_size=64),
)


def recipe_of(work: str, seed: int) -> kopt.Recipe:
    """Return the recipe of a work: the script's data and model, AdamW, and a cosine over its epochs."""
    recipe: kopt.Recipe = DIGITS if work == "digits" else importlib.import_module(work).RECIPE
    same = {"rule": AdamW(), "schedule": Cosine(0.01, float(recipe.training.epochs)), "seed": seed}
    return replace(recipe, WORKS[work].changes | same)


class Found(NamedTuple):
    """What a search found.

    Attributes:
        test: The test score of the model that is best by validation.
        validation: Its validation score.
        trials: The trainings that were begun.
        took: The seconds of the search.
    """

    test: float
    validation: float
    trials: int
    took: float


class Clock:
    """The time of a search.

    Args:
        seconds: The budget, from now on.
    """

    def __init__(self, seconds: float):
        self.seconds, self.started = seconds, time.perf_counter()

    @property
    def passed(self) -> float:
        """The seconds so far."""
        return time.perf_counter() - self.started

    @property
    def left(self) -> float:
        """The seconds that are left, a little above 0 at the least."""
        return max(self.seconds - self.passed, 1e-3)


def found_by(tuner: keras_tuner.Tuner, recipe: kopt.Recipe, took: float, trials: int) -> Found:
    """Return what a search found, with the test score of its best model."""
    best = tuner.get_best_models()
    require(len(best) > 0, "seconds", "must be enough for one trial", took)
    scores = best[0].evaluate(*tuner.hypermodel.splits_of(recipe).test, verbose=0, return_dict=True)
    return Found(float(scores[recipe.data.score().name]), tuner.oracle.get_best_trials()[0].score, trials, took)


def score_of(ensemble: keras.Model, recipe: kopt.Recipe) -> float:
    """Return the test score of an ensemble, which takes raw inputs and gives probabilities or numbers."""
    test = recipe.data.load().test
    outputs = ensemble.predict(as_tensors(test.x), batch_size=1024, verbose=0)
    return recipe.data.scored(test.y, np.log(np.maximum(outputs, 1e-30)) if recipe.data.task in CHOICES else outputs)


def objective_of(recipe: kopt.Recipe) -> keras_tuner.Objective:
    """Return the validation score by which all contenders search."""
    return keras_tuner.Objective(f"val_{recipe.data.score().name}", recipe.data.direction)


# kopt


def by_tuner(recipe: kopt.Recipe, clock: Clock, folder: str, members: int | None, best: int = 1) -> Found:
    """Search by kopt's tuner, tpe with asha, one by one or many at once; score the ensemble of the `best` trials."""
    how: dict[str, Any] = {"sampler": "tpe", "pruner": "asha", "seed": recipe.seed, "keep": best, "directory": folder}
    hypermodel = HyperModel(recipe, RANGES)
    tuner = Tuner(hypermodel, objective_of(recipe), MANY, timeout=clock.left, population=members, **how)
    tuner.search(verbose=0)
    found = found_by(tuner, recipe, clock.passed, len(tuner.study.trials))
    return found if best == 1 else found._replace(test=score_of(tuner.ensemble(best), recipe))


def by_pbt(recipe: kopt.Recipe, clock: Clock, members: int) -> Found:
    """Train populations by PBT, the first one, and from other seeds as long as one more is to end in time."""
    direction, longest, count = recipe.data.direction, 0.0, 0
    found: list[tuple[float, float]] = []
    while count == 0 or clock.passed + longest < clock.seconds:
        before = clock.passed
        evolved = population.evolve(replace(recipe, {"seed": recipe.seed + 1000 * count}), RANGES, members=members)
        found.append((evolved.run.history[f"val_{recipe.data.score().name}"][-1], evolved.run.metrics["value"]))
        longest, count = max(longest, clock.passed - before), count + 1
    validation, test = (max if direction == "max" else min)(found)
    return Found(test, validation, count * members, clock.passed)


# KerasTuner


class TimeIsUp(Exception):
    """Ends a search of KerasTuner."""


class Until(keras.callbacks.Callback):
    """Ends a trial after an epoch, when the time of the search is up, as kopt's tuner does.

    Args:
        end: The time of `time.perf_counter`.
    """

    def __init__(self, end: float):
        super().__init__()
        self.end = end

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if time.perf_counter() >= self.end:
            self.model.stop_training = True


def by_keras_tuner(recipe: kopt.Recipe, clock: Clock, folder: str, kind: type[keras_tuner.Tuner], **how: Any) -> Found:
    """Search by a tuner of KerasTuner's over the same hypermodel, whose trials kopt's loop trains."""
    hypermodel = HyperModel(recipe, RANGES)

    def pre_create_trial(self: keras_tuner.Tuner) -> None:
        if clock.passed >= clock.seconds:
            raise TimeIsUp

    search = type("Search", (kind,), {"pre_create_trial": pre_create_trial})
    tuner = search(hypermodel, objective_of(recipe), seed=recipe.seed, directory=folder, **how)
    with contextlib.suppress(TimeIsUp):
        tuner.search(verbose=0, callbacks=[Until(clock.started + clock.seconds)])
    return found_by(tuner, recipe, clock.passed, len(tuner.oracle.trials))


def hyperband(recipe: kopt.Recipe, clock: Clock, folder: str) -> Found:
    """Search by KerasTuner's Hyperband."""
    how = {"max_epochs": recipe.training.epochs, "hyperband_iterations": MANY}
    return by_keras_tuner(recipe, clock, folder, keras_tuner.Hyperband, **how)


CONTENDERS: dict[str, Callable[[kopt.Recipe, Clock, str, int], Found]] = {
    "population": lambda recipe, clock, folder, members: by_tuner(recipe, clock, folder, members),
    "pbt": lambda recipe, clock, _, members: by_pbt(recipe, clock, members),
    "kopt": lambda recipe, clock, folder, _: by_tuner(recipe, clock, folder, None),
    "population of 5": lambda recipe, clock, folder, members: by_tuner(recipe, clock, folder, members, ENSEMBLE),
    "kopt of 5": lambda recipe, clock, folder, _: by_tuner(recipe, clock, folder, None, ENSEMBLE),
    "kt-hyperband": lambda recipe, clock, folder, _: hyperband(recipe, clock, folder),
    "kt-bayesian": lambda recipe, clock, folder, _: by_keras_tuner(
        recipe, clock, folder, keras_tuner.BayesianOptimization, max_trials=MANY
    ),
}


def searched(work: str, contender: str, seconds: float, seed: int, folder: str, quick: bool = False) -> Found:
    """Search a work by a contender, in a process of its own.

    Args:
        work: The name of the work.
        contender: The name of the contender.
        seconds: The budget, which begins when everything is imported.
        seed: The seed of draws and of starting values.
        folder: A new folder.
        quick: Whether to train few epochs on few examples.
    """
    clock = Clock(seconds)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    keras.utils.set_random_seed(seed)  # of KerasTuner's trials
    recipe = recipe_of(work, seed)
    if quick:
        recipe = replace(recipe, {"data.examples": 200, "training.epochs": 3})
    return CONTENDERS[contender](recipe, clock, folder, 4 if quick else WORKS[work].members)
