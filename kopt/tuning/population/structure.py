"""Structure: which recipes are one program, because they differ in numbers and seeds alone."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kopt import distribute
from kopt.callbacks.averaging import LAWA
from kopt.experiment.recipe import Recipe
from kopt.values.checks import require
from kopt.values.field_paths import bind, number_paths, read
from kopt.values.types import Json

PARTS = ("schedule", "rule", "regularizer", "clip", "average")  # whose numbers a program takes as arguments
HOST = {"name": "recipe", "seed": 0, "target": None}  # that no program depends on


def live_paths(recipe: Recipe) -> list[str]:
    """Return the paths of the numbers that a program takes as arguments."""
    return [path for path in number_paths(recipe) if path.split(".")[0] in PARTS]


def structure_of(recipe: Recipe) -> Hashable:
    """Return what a program depends on: the recipe without its numbers, seed and name."""
    return constants_of(recipe, live_paths(recipe))


def constants_of(recipe: Recipe, paths: Iterable[str]) -> Hashable:
    """Return what is constant in a program whose arguments are the numbers at some paths: the rest of the recipe."""
    patience = {"training.patience": None if recipe.training.patience is None else 1}
    return bind(recipe, dict.fromkeys(paths, 0.0) | HOST | patience)


@dataclass(frozen=True, eq=False)
class Group:
    """Recipes of one structure.

    Attributes:
        places: Their places among all recipes.
        recipes: The recipes.
        starts: The seed of each one's starting values; empty where that is the recipe's own.
    """

    places: tuple[int, ...]
    recipes: tuple[Recipe, ...]
    starts: tuple[int, ...] = ()

    def split(self, most: int) -> "list[Group]":
        """Return groups of at most so many members, as even as it goes."""
        parts = np.array_split(np.arange(len(self.places)), -(-len(self.places) // most))
        fields = self.places, self.recipes, self.starts
        return [Group(*(tuple(field[i] for i in part if field) for field in fields)) for part in parts]


def groups_of(recipes: Sequence[Recipe]) -> list[Group]:
    """Group recipes by their structure, in the order in which structures appear.

    Args:
        recipes: The recipes.

    Returns:
        The groups.

    Example:
        >>> from kopt import data, models, schedules
        >>> digits = Recipe("digits", data.Digits(), model=models.MLP((8, 8, 1), 10))
        >>> from kopt.values import replace
        >>> others = [replace(digits, {"schedule.rate": 0.1}), replace(digits, {"model.units": (8,)})]
        >>> [group.places for group in groups_of([digits, *others])]
        [(0, 1), (2,)]
    """
    found: dict[Hashable, list[int]] = {}
    for place, recipe in enumerate(recipes):
        require(isinstance(recipe, Recipe), "recipes", "must be kopt recipes", recipe)
        found.setdefault(structure_of(recipe), []).append(place)
    return [Group(tuple(places), tuple(recipes[place] for place in places)) for places in found.values()]


def numbers_of(recipes: Sequence[Recipe], paths: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Return the numbers by which recipes of one structure differ: path -> one float64 a recipe.

    Args:
        recipes: Recipes of one structure.
        paths: The paths to return; those of different numbers when None.

    Returns:
        The numbers by path.

    Example:
        >>> from kopt import data, models
        >>> from kopt.values import replace
        >>> digits = Recipe("digits", data.Digits(), model=models.MLP((8, 8, 1), 10))
        >>> numbers_of([digits, replace(digits, {"rule.beta_1": 0.8})])
        {'rule.beta_1': array([0.9, 0.8])}
    """
    rows = {path: np.array([read(one, path) for one in recipes], "float64") for path in live_paths(recipes[0])}
    return {path: row for path, row in rows.items() if (path in paths if paths is not None else np.ptp(row) > 0)}


def objection(recipe: Recipe) -> str:
    """Return why a recipe is trained alone and not as a member; empty where it can be a member."""
    training = recipe.training
    reasons: Mapping[str, Json] = {
        "training.micro_batches > 1": training.micro_batches > 1,
        "training.precision": training.precision != "float32",
        "training.deterministic": training.deterministic,
        "sharpness": recipe.sharpness is not None,
        "an average over a window of epochs": isinstance(recipe.average, LAWA),
        "several devices": distribute.strategy(recipe.devices).num_replicas_in_sync > 1,
    }
    return ", ".join(name for name, there in reasons.items() if there)
