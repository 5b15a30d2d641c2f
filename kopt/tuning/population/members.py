"""The members of a group: their model, their starting states, and each member's model after training."""

import functools
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kopt import distribute
from kopt import keras_internals as internals
from kopt.augment.base import Change
from kopt.data import Splits
from kopt.data.base import Split
from kopt.experiment.recipe import Recipe
from kopt.experiment.resolving import model_of, resolved
from kopt.experiment.run import build
from kopt.keras_internals import seeded, seeds_made, starts_recorded
from kopt.training import TrainStep
from kopt.training.execute.base import TracedStep
from kopt.training.feed.chunks import Arrays
from kopt.training.feed.placement import DataSpec, Jit, place
from kopt.training.feed.residents import ResidentSource
from kopt.tuning.population.member import MemberStep
from kopt.tuning.population.programs import Programs
from kopt.tuning.population.structure import constants_of
from kopt.values.checks import require
from kopt.values.types import KerasModel, Nest, Tensor, Variable


class Template(NamedTuple):
    """What the members of a group share: a model whose variables stand for those of every member, and the data.

    Attributes:
        model: The compiled model.
        changed: The function that changes training batches; None without an augmentation.
        seeds: The states of the augmentation's seed generators.
        starts: What decides the starting values.
        splits: The data as the model takes them.
        encoder: What makes them of raw inputs; None when the model takes these.
        train: The training split on the device.
        validation: The validation split on the device.
        traced: The step of a training alone.
        programs: What was compiled for populations so far, by what is constant in it and the paths of the numbers.
    """

    model: KerasModel
    changed: Change | None
    seeds: list[Variable]
    starts: internals.Starts
    splits: Splits
    encoder: KerasModel | None
    train: Arrays
    validation: Arrays
    traced: TracedStep
    programs: dict[Hashable, Programs]

    def programs_of(self, recipe: Recipe, paths: Iterable[str]) -> Programs:
        """Return the programs of recipes that differ from one in the numbers at some paths, made at the first call."""
        names = tuple(sorted(paths))
        key = constants_of(recipe, names), names
        if key not in self.programs:
            step = MemberStep(recipe, self.model, (self.changed, self.seeds), self.train.batches)
            self.programs[key] = Programs(step)
        return self.programs[key]

    @property
    def variables(self) -> list[Variable]:
        """The variables that a seed may decide: weights, statistics and seeds."""
        return [*self.model.trainable_variables, *self.model.non_trainable_variables, *self.seeds]


def template_of(recipe: Recipe, splits: Splits, encoder: KerasModel | None, jit: Jit) -> Template:
    """Build the model of a recipe, as a training of it alone does after it has set the seed."""
    with seeded(recipe.seed), starts_recorded() as starts:
        model = build(recipe, splits, distribute.strategy(recipe.devices))
        changed, seeds = augmented(recipe)
    train = placed(model, recipe, splits.train, "x")
    validation = placed(model, recipe, splits.validation, "validation_data")
    internals.build(model, train.whole_batch)  # its metrics
    alone = TrainStep(model, clip=recipe.clip, augment=recipe.augment)
    traced = TracedStep(model, alone, jit, "metrics")
    return Template(model, changed, seeds, starts, splits, encoder, train, validation, traced, {})


def placed(model: KerasModel, recipe: Recipe, split: Split, name: str) -> Arrays:
    """Return a split as arrays on the device, in batches as `experiment.run.train` has them."""
    asked = recipe.training.batch_size
    size = None if asked == "full" and name != "x" else asked
    source = place(model, DataSpec(*split, batch_size=size, shuffle=name == "x", seed=recipe.seed, name=name))
    require(isinstance(source, ResidentSource), name, "must fit on the device for a population", len(split.y))
    assert isinstance(source, ResidentSource)
    return source.arrays


def augmented(recipe: Recipe) -> tuple[Change | None, list[Variable]]:
    """Make the function of a recipe that changes training batches, and the states of its seeds."""
    with seeds_made() as made:
        changed = None if recipe.augment is None else recipe.augment.make()
    return changed, [generator.state for generator in made]


def starting_values(template: Template, recipes: Sequence[Recipe], starts: Sequence[int] = ()) -> list[Tensor]:
    """Return the starting values of a template's variables for recipes: a row for each.

    `starts` are their seeds, where these are not the recipes' own.

    They are drawn in one program where the seeds that Keras draws decide them. That is compared with a build of the
    last recipe; where it differs, every model is built.
    """
    seeds = starts or [recipe.seed for recipe in recipes]
    found = template.starts.of_seeds(template.variables, seeds)
    *before, last = (functools.partial(built_values, one, template.splits, seed) for one, seed in zip(recipes, seeds))
    checked = last()
    if all(np.array_equal(rows[-1].numpy(), value) for rows, value in zip(found, checked, strict=True)):
        return found
    every = [*(build_one() for build_one in before), checked]
    return [tf.constant(np.stack(rows)) for rows in zip(*every)]


def built_values(recipe: Recipe, splits: Splits, seed: int) -> list[np.ndarray]:
    """Return the starting values of a recipe's model and augmentation, by building them after a seed is set."""
    with seeded(seed):
        model = model_of(resolved(recipe, splits)).build()
        _, seeds = augmented(recipe)
    variables = [*model.trainable_variables, *model.non_trainable_variables, *seeds]
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def with_values(model: KerasModel, values: Sequence[Nest]) -> KerasModel:
    """Put weights and other values into a model, in the order of a template's variables; return the model."""
    variables = [*model.trainable_variables, *model.non_trainable_variables]
    for variable, value in zip(variables, values):
        variable.assign(value)
    return model
