"""Ablation: variants of a recipe, each tuned on the validation split, compared on the test split."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import keras
import numpy as np

from kopt import distribute
from kopt.data import Splits
from kopt.experiment.recipe import Recipe
from kopt.experiment.resolving import chosen
from kopt.experiment.run import build, train
from kopt.experiment.serving import encoded
from kopt.training import Loop
from kopt.values.checks import require
from kopt.values.field_paths import replace
from kopt.values.moved_names import moved_names
from kopt.values.texts import clipped, printable
from kopt.values.types import Json

__all__ = ["Trial", "Variant", "ablate", "trial"]

__getattr__ = moved_names(__name__, {"Entry": "Variant", "contest": "ablate"})


class Trial(NamedTuple):
    """One training: losses by epoch, and the final scores on two splits. Losses leave out weight penalties."""

    history: dict[str, np.ndarray]
    validation: dict[str, float]
    test: dict[str, float]

    def __repr__(self) -> str:
        scores = printable(", ".join(f"{name} {value:.4f}" for name, value in self.test.items()))
        return f"<Trial of {len(self.history['loss'])} epochs: test {scores}>"


class Variant(NamedTuple):
    """A variant of a recipe: its name, the changes that were chosen, and one trial a seed."""

    name: str
    changes: Mapping[str, Json]
    trials: list[Trial]

    def __repr__(self) -> str:
        return f"<Variant {clipped(self.name)}: test loss {self.scores().mean():.4f} from {len(self.trials)} seeds>"

    def scores(self, name: str = "loss") -> np.ndarray:
        """Return a score on the test split, one a seed."""
        return np.array([done.test[name] for done in self.trials])


def ablate(
    recipe: Recipe, variants: Mapping[str, Sequence[Mapping[str, Json]]], *, splits: Splits | None = None, seeds: int
) -> Iterator[Variant]:
    """Train every variant with its best setting by validation loss, from several seeds.

    The setting is chosen with the seed of the recipe, and trained from the following seeds too.

    Args:
        recipe: The recipe to change.
        variants: Name -> settings to choose from, each path -> value; {} is the recipe itself.
        splits: The loaded data of the recipe; None to load them.
        seeds: Number of seeds, >= 1.

    Returns:
        An iterator of variants, each as soon as it is trained.

    Raises:
        ValueError: When a number is out of range, or a variant has no setting.

    Example:
        >>> from kopt import data, models, schedules
        >>> from kopt.experiment import recipe
        >>> digits = recipe.Recipe(
        ...     "digits", data.Digits(examples=60), model=models.MLP((8, 8, 1), 10, scale=1 / 16),
        ...     schedule=schedules.Constant(0.01), training=recipe.Training(epochs=2),
        ... )
        >>> found = list(ablate(digits, {"rate": [{"schedule.rate": rate} for rate in (0.001, 0.01)]}, seeds=1))
        >>> found[0].changes
        {'schedule.rate': 0.01}

    Source:
        Bouthillier et al., Accounting for Variance in Machine Learning Benchmarks, 2021.
    """
    require(seeds >= 1, "seeds", "must be >= 1", seeds)
    for name, settings in variants.items():
        require(len(settings) >= 1, f"variants[{name!r}]", "must have a setting", len(settings))
    raw = recipe.data.load() if splits is None else splits
    recipe = chosen(recipe, raw)
    data = encoded(recipe, raw)[1]

    def tried(changes: Mapping[str, Json]) -> Trial:
        changed = replace(recipe, changes)
        same = changed.model == recipe.model  # else its encoder may be another: that of more bins
        return trial(changed, data if same else encoded(changed, raw)[1])

    for name, settings in variants.items():
        first = [tried(changes) for changes in settings]
        best = min(range(len(settings)), key=lambda place: first[place].validation["loss"])
        others = [{**settings[best], "seed": recipe.seed + more} for more in range(1, seeds)]
        yield Variant(name, settings[best], [first[best], *map(tried, others)])


def trial(recipe: Recipe, splits: Splits) -> Trial:
    """Train a recipe from its seed and score it on the validation and test splits, without writing files.

    Args:
        recipe: The recipe to train.
        splits: The data as `serving.encoded` returns them.

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
        See `ablate`.
    """
    keras.utils.set_random_seed(recipe.seed)
    model = build(recipe, splits, distribute.strategy(recipe.devices))
    logs = train(recipe, model, splits, verbose=False).history
    # In training, "loss" is the mean of an epoch and "penalty" is the last one: close enough for a picture.
    history = {f"{part}loss": logs[f"{part}loss"] - np.array(logs.get(f"{part}penalty", 0.0)) for part in ("", "val_")}
    loop = Loop(model)
    validation, test = (without_penalty(loop.evaluate(*part, verbose=0)) for part in (splits.validation, splits.test))
    return Trial(history, validation, test)


def without_penalty(logs: dict[str, float]) -> dict[str, float]:
    penalty = logs.get("penalty", 0.0)
    return {name: value - penalty if name == "loss" else value for name, value in logs.items() if name != "penalty"}
