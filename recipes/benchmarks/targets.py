"""What time_to_target trains: works with their budgets, the search space of any rule, and one training.

A job is done by `python recipes/benchmarks/targets.py JOB`: a work, a rule and a list of trials as JSON, one after the
other in one process, or together as one program; each prints a line of JSON.
"""

import dataclasses
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

import kopt
from kopt import data, models
from kopt.experiment.run import build, prepared, train
from kopt.rules import Rule, registry
from kopt.schedules import Constant, Cosine, Schedule
from kopt.tuning import population
from kopt.values import paths, replace

__all__ = ["WORKS", "Job", "Trial", "Work", "draws", "rule_names"]

DECAYS = (1e-4, 1.0)  # of weight_decay, where the rule has one
SHARES = (0.02, 0.5)  # of 1 - beta_1 or 1 - momentum
WARM_UPS = (0.02, 0.05, 0.1)  # shares of the run
USUAL_WARM_UP = 0.05


@dataclasses.dataclass(frozen=True)
class Work:
    """Data, a model and a budget.

    Attributes:
        data: The data; the score is that of their validation split.
        model: The model.
        epochs: The budget; a rule that has not reached the target then has not.
        batch_size: Examples of an update.
        settings: What a rule needs in order to be affordable here, by its name; in all of its trials.
    """

    data: Any
    model: Any
    epochs: int
    batch_size: int = 64
    settings: Mapping[str, dict[str, int]] = dataclasses.field(default_factory=dict)

    def recipe(self, rule: Rule, schedule: Schedule, seed: int) -> kopt.Recipe:
        """Return the work as a recipe, without penalty, average and augmentation."""
        training = kopt.Training(epochs=self.epochs, batch_size=self.batch_size)
        named: dict[str, Any] = {"rule": rule, "schedule": schedule, "seed": seed, "training": training}
        return kopt.Recipe("target", self.data, model=self.model, devices="cpu", **named)


WORKS = {
    "digits": Work(data.Digits(), models.ConvNet((8, 8, 1), 10, width=16, stages=2, scale=1 / 16), 12, 32),
    "mnist": Work(data.MNIST(), models.ConvNet((28, 28, 1), 10, width=8, stages=2, scale=1 / 255), 10),
    "sentiment": Work(data.Reviews(), models.TextBag(2, vocabulary=20_000, length=200, width=32), 12),
    "characters": Work(data.Characters(64, examples=6000), models.CharTransformer(64, width=64, layers=2, heads=4), 6),
    "ratings": Work(
        data.Ratings(),
        models.Factorization(671, 9066, width=32, penalty=0.12, start=3.5),
        8,
        256,
        {"soap": {"largest": 512}},  # by its default a basis of 9066 x 9066 is turned each 10 updates
    ),
    "electricity": Work(data.Electricity(), models.ForecastMLP((336, 6), 48, units=(128, 128)), 12),
    "diamonds": Work(
        data.Diamonds(), models.MLP((317,), 1, units=(128, 128), bins=48, start=7.8, task="regression"), 12, 256
    ),
}


@dataclasses.dataclass(frozen=True)
class Trial:
    """The numbers of a training.

    Attributes:
        draw: The number of the draw, or -1 for the defaults.
        seed: The seed of weights and order.
        rate: The highest rate.
        warm_up: The share of the run in which the rate rises.
        changes: Numbers of the rule that differ from its defaults, by path.
    """

    draw: int
    seed: int
    rate: float
    warm_up: float = USUAL_WARM_UP
    changes: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Job:
    """Trials of one rule on one work; a training ends when it has reached the target, where one is given.

    Attributes:
        work: The work's name.
        rule: The rule's name.
        trials: The trials.
        target: The target, or None.
        together: Whether the trials are one program, trained to the end: the same rows without seconds, in less time.
    """

    work: str
    rule: str
    trials: list[Trial]
    target: float | None = None
    together: bool = False

    def recipe(self, trial: Trial) -> kopt.Recipe:
        """Return a trial as a recipe."""
        work = WORKS[self.work]
        rule = replace(registry.make(self.rule), {**work.settings.get(self.rule, {}), **trial.changes})
        return work.recipe(rule, schedule_of(rule, trial, work.epochs), trial.seed)

    def reached(self, score: float) -> bool:
        """Return whether a validation score is as good as the target."""
        if self.target is None:
            return False
        return score >= self.target if WORKS[self.work].data.direction == "max" else score <= self.target

    def row(self, trial: Trial, scores: Sequence[float], updates: int, seconds: float) -> dict[str, Any]:
        """Return the row of a trial from its scores of the epochs, of so many updates each, up to the target.

        Args:
            trial: The trial.
            scores: The validation scores, an epoch each; those after the target are left out.
            updates: The number of updates of an epoch.
            seconds: The seconds that it took; not a number where nobody knows.

        Returns:
            The row.
        """
        most = WORKS[self.work].data.direction == "max"
        scores = list(np.nan_to_num(scores, nan=-math.inf if most else math.inf))
        found = [place for place, score in enumerate(scores, 1) if self.reached(score)]
        scores = scores[: found[0]] if found else scores
        best, epochs = float(max(scores) if most else min(scores)), len(scores)
        reached = {"best": best, "reached": bool(found), "epochs": epochs, "updates": epochs * updates}
        return {**dataclasses.asdict(trial), **reached, "seconds": seconds}


def rule_names() -> list[str]:
    """Return the registered rules that can be made without arguments."""
    needed = {
        name: [one for one in dataclasses.fields(kind) if one.default is dataclasses.MISSING]
        for name, kind in registry.items()
    }
    return [name for name, fields in needed.items() if not fields]


def log_between(low: float, high: float, share: float) -> float:
    """Return the number at a share of the way from low to high, in logarithms."""
    return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))


def draws(rule: str, count: int) -> list[Trial]:
    """Return trials of a rule: its defaults, or `count` quasi-random draws, the same shares for every rule.

    rate: the usual one times 10 ** [-1.5, 1.5], [-0.5, 0.5] for a rule that finds its own; weight_decay and 1 - beta_1
    (or momentum) log-uniform, where the rule has them; the warm-up one of three.
    """
    from scipy.stats import qmc

    made: Rule = registry.make(rule)
    usual, width = made.usual_rate, 0.5 if made.usual_rate >= 1 else 1.5
    if not count:
        return [Trial(-1, 0, usual)]
    found = []
    for number, (one, two, three, four) in enumerate(qmc.Halton(4, seed=0).random(count)):
        changes = {}
        for path in paths(made):
            if path == "weight_decay":
                changes[path] = log_between(*DECAYS, two)
            if path in ("beta_1", "momentum"):
                changes[path] = 1 - log_between(*SHARES, three)
        rate = usual * 10 ** (width * (2 * one - 1))
        found.append(Trial(number, 0, rate, WARM_UPS[int(len(WARM_UPS) * four)], changes))
    return found


def schedule_of(rule: Rule, trial: Trial, epochs: int) -> Schedule:
    """Return the warmed-up cosine of a trial; a constant where the rule averages instead of decaying."""
    shape = Constant(trial.rate) if rule.has_evaluation_weights else Cosine(trial.rate)
    return shape.warmup(trial.warm_up * epochs)


class UntilReached(keras.callbacks.Callback):
    """Ends training when a score reaches the target."""

    def __init__(self, reached: Callable[[float], bool], name: str):
        super().__init__()
        self.reached, self.name = reached, name

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.reached(logs[self.name]):
            self.model.stop_training = True


def trained(job: Job) -> Iterator[dict[str, Any]]:
    """Do the trials of a job; yield a row for each: the best score, and where the target was reached."""
    raw, name = WORKS[job.work].data.load(), f"val_{WORKS[job.work].data.score().name}"
    if job.together:
        updates = -(-len(raw.train.y) // WORKS[job.work].batch_size)
        for trial, run in zip(job.trials, population.train([job.recipe(trial) for trial in job.trials]), strict=True):
            yield job.row(trial, run.history[name], updates, math.nan)
        return
    for trial in job.trials:
        keras.utils.set_random_seed(trial.seed)
        _, splits, recipe = prepared(job.recipe(trial), raw)
        model = build(recipe, splits, kopt.distribute.choose("cpu").strategy)
        started = time.perf_counter()
        history = train(recipe, model, splits, callbacks=[UntilReached(job.reached, name)], verbose=False).history
        seconds = time.perf_counter() - started
        updates = int(keras.ops.convert_to_numpy(model.optimizer.iterations)) // len(history[name])
        yield job.row(trial, history[name], updates, seconds)
        keras.backend.clear_session()


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    given["trials"] = [Trial(**one) for one in given["trials"]]
    for row in trained(Job(**given)):
        print(json.dumps(row), flush=True)
