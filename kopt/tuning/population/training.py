"""train(recipes): many recipes at once, those that differ in numbers and seeds alone as one program."""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Sequence
from typing import TypeAlias

import keras

from kopt import distribute
from kopt.data import Data, Splits
from kopt.experiment.recipe import Recipe
from kopt.experiment.run import build
from kopt.experiment.run import train as train_alone
from kopt.experiment.serving import prepared
from kopt.keras_internals import seeded
from kopt.keras_internals.tuning import forgetting_gradients
from kopt.report import Run
from kopt.training import Loop
from kopt.training.execute.choices import one_line
from kopt.training.feed.placement import Jit
from kopt.tuning.population.member_run import member_of
from kopt.tuning.population.members import Template, template_of
from kopt.tuning.population.memory import parts_of
from kopt.tuning.population.population import Population
from kopt.tuning.population.structure import Group, groups_of, numbers_of, objection
from kopt.tuning.population.unfit import Unfit, becoming_unfit
from kopt.values.checks import is_among, is_whole, require
from kopt.values.types import KerasModel

__all__ = ["train"]

log = logging.getLogger("kopt")

Prepared: TypeAlias = tuple[KerasModel | None, Splits, Recipe]  # the encoder, encoded data, the recipe with its sizes


@one_line()
@forgetting_gradients()
def train(
    recipes: Sequence[Recipe],
    *,
    jit: Jit = "auto",
    vectorize: bool | None = None,
    own_order: bool = True,
    members: int | None = None,
) -> list[Run]:
    """Train many recipes, those of one structure as one program over stacked weights.

    Recipes that differ in their seeds, and in the numbers of schedule, rule, regularizer, clip and average, are
    *members* of a group. Each member is what the same recipe trained alone by `Loop` is, within rounding: its starting
    weights, its order of examples, dropout and augmentation, statistics, average, early stopping and best epoch are its
    own. A recipe that differs in anything else is of another group. A member that has stopped leaves the program. A
    group of one recipe is trained by `Loop`, unless `vectorize` asks for a program.

    Args:
        recipes: The recipes, one or more, on the same data.
        jit: As for `training.Loop`.
        vectorize: Whether a step computes all members at once; False for one after the other in one program; None for
            what is estimated to be faster, which is the second for convolutions, recurrent layers, large models and
            short trainings.
        own_order: Whether each member sees the examples in the order of its own seed; False gives all members of a
            group the first one's order, which takes less memory and time.
        members: The most members of a program; as many as a quarter of the free memory holds when None, or fewer.

    Returns:
        A run for each recipe, in their order, with its history and the scores on the test split. Its `model()` builds
        the trained model; it has no folder.

    Raises:
        ValueError: When there is no recipe, one is none, they have different data, or an argument is out of range.

    Example:
        >>> from kopt import data, models
        >>> from kopt.experiment.recipe import Training
        >>> from kopt.values import replace
        >>> model = models.MLP((8, 8, 1), 10, units=(8,), scale=1 / 16)
        >>> short = Recipe("digits", data.Digits(examples=60), model=model, training=Training(epochs=2))
        >>> runs = train([replace(short, {"schedule.rate": rate}) for rate in (0.001, 0.01, 0.1)])
        >>> len(runs), len(runs[0].history["val_loss"]), runs[2].model().count_params()
        (3, 2, 610)

    Source:
        Wang et al., Horizontally Fused Training Array, MLSys 2021.
    """
    require(isinstance(recipes, Sequence), "recipes", "must be a sequence of recipes", type(recipes).__name__)
    require(len(recipes) >= 1, "recipes", "must be one or more", len(recipes))
    known = members is None or (is_whole(members) and members >= 1)
    require(known, "members", "must be a whole number >= 1 or None", members)
    require(is_among(own_order, True, False), "own_order", "must be True or False", own_order)
    require_ways(jit, vectorize)
    groups = groups_of(recipes)
    require_same_data(recipes)
    raw = recipes[0].data.load()
    first, *others = groups
    for group in others:
        prepared(group.recipes[0], raw)  # refuses what does not fit, before any training
    ready: Prepared | None = prepared(first.recipes[0], raw)
    found: dict[int, Run] = {}
    for group in groups:
        # Again, for all at once may be more than the memory holds.
        one, ready = ready or prepared(group.recipes[0], raw), None
        found |= dict(zip(group.places, group_runs(group, one, jit, vectorize, own_order, members), strict=True))
    return [found[place] for place in range(len(recipes))]


def group_runs(
    group: Group, ready: Prepared, jit: Jit, vectorize: bool | None, own_order: bool, members: int | None
) -> list[Run]:
    """Train a group, as few populations as fit, or its recipes alone where they cannot be trained together."""
    encoder, splits, recipe = ready
    whole = Group(group.places, tuple(with_model(one, recipe) for one in group.recipes))
    why = objection(recipe)
    if not why and len(group.places) == 1 and vectorize is None:  # a program of one member is slower than Loop's
        log.info("population: recipe %d is trained alone, for no other one has its structure", group.places[0])
        return [alone(whole.recipes[0], splits, encoder, jit)]
    if not why:
        try:
            with contextlib.nullcontext() if vectorize else becoming_unfit():  # who asks for it is to see the error
                template = template_of(whole.recipes[0], splits, encoder, jit)
                parts = parts_of(whole, members, template.traced, template.train)
                size = len(parts[0].recipes)
                return [run for part in parts for run in together(part, whole, template, size, vectorize, own_order)]
        except Unfit as error:  # each raises what is its own fault
            why = str(error)
    numbers = ", ".join(map(str, group.places))
    log.warning("population: recipes %s are trained one after the other, for they have %s", numbers, why)
    return [alone(one, splits, encoder, jit) for one in whole.recipes]


def require_same_data(recipes: Sequence[Recipe]) -> None:
    """Raise ValueError when recipes have different data."""
    first: Data = recipes[0].data
    other = next((one for one in recipes if one.data != first), None)
    require(other is None, "recipes", f"must have the same data, {first!r}", other and other.data)


def require_ways(jit: Jit, vectorize: bool | None) -> None:
    """Raise ValueError when what says how programs are made is none of its options."""
    require(is_among(jit, "auto", True, False), "jit", "must be 'auto', True or False", jit)
    require(is_among(vectorize, None, True, False), "vectorize", "must be None, True or False", vectorize)


def with_model(recipe: Recipe, whole: Recipe) -> Recipe:
    """Return a recipe with the model that was found for the data."""
    return dataclasses.replace(recipe, model=whole.model)


def together(
    part: Group, whole: Group, template: Template, size: int, vectorize: bool | None, own_order: bool
) -> list[Run]:
    """Train a part of a group as one population, by the program of the other parts."""
    started = time.perf_counter()
    population = Population(
        part,
        template,
        vectorize=vectorize,
        order_seed=None if own_order else whole.recipes[0].seed,
        paths=list(numbers_of(whole.recipes)),
        size=size,
        planned=len(whole.recipes),
    )
    population.train()
    return population.runs(time.perf_counter() - started)


def alone(recipe: Recipe, splits: Splits, encoder: KerasModel | None, jit: Jit) -> Run:
    """Train a recipe alone."""
    started = time.perf_counter()
    with seeded(recipe.seed):
        model = build(recipe, splits, distribute.choose(recipe.devices).strategy)
    history = train_alone(recipe, model, splits, verbose=False, jit=jit).history
    scores = Loop(model).evaluate(*splits.test, verbose=0)
    values = [keras.ops.convert_to_numpy(one) for one in (*model.trainable_variables, *model.non_trainable_variables)]
    return member_of(recipe, history, scores, values, splits, encoder, time.perf_counter() - started)
