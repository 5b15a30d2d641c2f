"""Contests: ways to change a recipe, each at its best on the validation split, compared on the test split."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from kopt import distribute
from kopt.data import Splits
from kopt.experiment.recipe import Recipe
from kopt.experiment.run import build, encoded, train
from kopt.training import Loop
from kopt.values.checks import require
from kopt.values.field_paths import replace

__all__ = ["Entry", "Trial", "contest", "trial"]


class Trial(NamedTuple):
    """A training: its losses by epoch, and what it reached in the end; losses are on the data alone, no penalty."""

    history: dict[str, np.ndarray]
    validation: dict[str, float]
    test: dict[str, float]


class Entry(NamedTuple):
    """What was compared: a name, the changes that were chosen, and a trial a seed."""

    name: str
    changes: Mapping[str, Any]
    trials: list[Trial]

    def scores(self, name: str = "loss") -> np.ndarray:
        """A score on the test split, a number a seed."""
        return np.array([done.test[name] for done in self.trials])


def contest(
    recipe: Recipe, contenders: Mapping[str, Sequence[Mapping[str, Any]]], *, splits: Splits | None = None, seeds: int
) -> Iterator[Entry]:
    """Train every contender in the way that is best by validation loss, from several seeds.

    The way is chosen with the recipe's own seed, and then trained from the seeds after it too.

    Args:
        recipe: What is changed.
        contenders: Name -> ways, each a change of fields by their paths; {} is the recipe itself.
        splits: The recipe's data, loaded; None to load them.
        seeds: How many, >= 1.

    Returns:
        An iterator of entries, as they get ready.

    Raises:
        ValueError: When a number is out of range, or a contender has no way.

    Example:
        >>> from kopt import data, models, schedules
        >>> from kopt.experiment import recipe
        >>> digits = recipe.Recipe(
        ...     "digits", data.Digits(examples=60), model=models.MLP((8, 8, 1), 10, scale=1 / 16),
        ...     schedule=schedules.Constant(0.01), training=recipe.Training(epochs=2),
        ... )
        >>> found = list(contest(digits, {"rate": [{"schedule.rate": rate} for rate in (0.001, 0.01)]}, seeds=1))
        >>> found[0].changes
        {'schedule.rate': 0.01}

    Source:
        Bouthillier et al., Accounting for Variance in Machine Learning Benchmarks, 2021.
    """
    require(seeds >= 1, "seeds", "must be >= 1", seeds)
    for name, ways in contenders.items():
        require(len(ways) >= 1, f"contenders[{name!r}]", "must have a way", len(ways))
    data = encoded(recipe, recipe.data.load() if splits is None else splits)[1]
    for name, ways in contenders.items():
        tried = [trial(replace(recipe, changes), data) for changes in ways]
        best = min(range(len(ways)), key=lambda place: tried[place].validation["loss"])
        others = [{**ways[best], "seed": recipe.seed + more} for more in range(1, seeds)]
        yield Entry(name, ways[best], [tried[best], *(trial(replace(recipe, changes), data) for changes in others)])


def trial(recipe: Recipe, splits: Splits) -> Trial:
    """Train a recipe from its seed, and score it on the validation and the test split; nothing is written.

    Args:
        recipe: What to do.
        splits: The data as `runs.encoded` gives them.

    Returns:
        The trial.

    Example:
        >>> from kopt import data, models, schedules
        >>> from kopt.experiment import recipe
        >>> digits = recipe.Recipe(
        ...     "digits", data.Digits(examples=60), model=models.MLP((8, 8, 1), 10, scale=1 / 16),
        ...     schedule=schedules.Constant(0.01), training=recipe.Training(epochs=2),
        ... )
        >>> done = trial(digits, digits.data.load())
        >>> len(done.history["val_loss"]), sorted(done.test)
        (2, ['accuracy', 'loss'])

    Source:
        See `contest`.
    """
    keras.utils.set_random_seed(recipe.seed)
    model = build(recipe, splits, distribute.strategy(recipe.devices))
    logs = train(recipe, model, splits, verbose=False).history
    # In training, "loss" is an epoch's mean and "penalty" is from its end: near enough for a picture.
    history = {f"{part}loss": logs[f"{part}loss"] - np.array(logs.get(f"{part}penalty", 0.0)) for part in ("", "val_")}
    loop = Loop(model)
    validation, test = (without_penalty(loop.evaluate(*part, verbose=0)) for part in (splits.validation, splits.test))
    return Trial(history, validation, test)


def without_penalty(logs: dict[str, float]) -> dict[str, float]:
    penalty = logs.get("penalty", 0.0)
    return {name: value - penalty if name == "loss" else value for name, value in logs.items() if name != "penalty"}
