"""Costs: what runs take beside the plain whole run, counted and not measured; and the budget in these terms."""

import functools
import math
import re
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from kopt import keras_internals as internals
from kopt import select
from kopt.experiment.recipe import Recipe
from kopt.select import parameters
from kopt.training.execute.xla import slow_layers
from kopt.tuning.population.structure import objection, structure_of
from kopt.values.checks import require
from kopt.values.durations import seconds_of
from kopt.values.types import KerasModel

# Of a CPU with two cores, rounded; only their ratios count.
PROGRAM = 1.2  # seconds that a program takes to be traced and compiled
UPDATE = 2e-4  # seconds that an update takes to be started
OPERATION = 2.5e-11  # seconds of an operation on two numbers
PARAMETER = 4e-9  # seconds in which an update goes over the state of a parameter
PASSES = 3  # forward, and twice as much backward


kind_of = functools.lru_cache(1024)(structure_of)  # for a search asks again and again


class Budget(NamedTuple):
    """What autotune may take in all, the whole run included.

    Attributes:
        runs: In plain whole runs; None where it is in seconds.
        seconds: In seconds; None where it is in runs.
    """

    runs: float | None
    seconds: float | None

    @classmethod
    def of(cls, budget: str | float) -> "Budget":
        """Read a budget.

        Args:
            budget: "2x" for two plain whole runs; or seconds, "30s", "5m".

        Returns:
            The budget.

        Raises:
            ValueError: When it is neither.

        Example:
            >>> Budget.of("2.5x"), Budget.of("5m")
            (Budget(runs=2.5, seconds=None), Budget(runs=None, seconds=300.0))
        """
        times = re.fullmatch(r"(\d+(?:\.\d+)?)x", budget) if isinstance(budget, str) else None
        if times is None:
            known = not isinstance(budget, str) or re.fullmatch(r"(\d+(\.\d+)?[dhms])+", budget)
            require(bool(known), "budget", "must be as '2x', '30s' or '5m'", budget)
            return cls(None, seconds_of(budget, "budget"))
        return cls(float(times[1]), None)


class Costs(NamedTuple):
    """What runs of a recipe's settings take, in plain whole runs.

    A group takes PROGRAM seconds, and an update of its K members UPDATE + K * member seconds, or K * (UPDATE + member)
    where the members take turns. member = PARAMETER * the number of parameters + PASSES * OPERATION * the operations of
    the model's products on a batch.

    Attributes:
        start: The recipe that was given.
        examples: The number of training examples.
        kernels: The number of kernels of the model.
        parameters: The number of parameters.
        operations: The operations of a model's products on an example.
        in_turn: Whether members take turns, for the operations of the model's layers.
        penalized: Whether the model's layers have penalties of their own.
    """

    start: Recipe
    examples: int
    kernels: int
    parameters: int
    operations: int
    in_turn: bool
    penalized: bool = False

    @property
    def program(self) -> float:
        """What a program takes to be compiled."""
        return PROGRAM / self.seconds(self.start, 1)

    def updates(self, recipe: Recipe) -> int:
        """Return the number of updates of a run."""
        size = recipe.training.batch_size
        return recipe.training.epochs * (1 if size == "full" else math.ceil(self.examples / size))

    def seconds(self, recipe: Recipe, members: int) -> float:
        """Return the counted seconds of members of one structure."""
        size = recipe.training.batch_size
        examples = self.examples if size == "full" else min(size, self.examples)
        member = PARAMETER * self.parameters + PASSES * OPERATION * self.operations * examples
        alone = self.in_turn or bool(objection(recipe))
        update = members * (UPDATE + member) if alone else UPDATE + members * member
        return PROGRAM + self.updates(recipe) * update

    def of(self, recipes: Sequence[Recipe]) -> float:
        """Return what recipes take when they are trained together, in plain whole runs."""
        groups: dict[Hashable, list[Recipe]] = defaultdict(list)
        for recipe in recipes:
            groups[kind_of(recipe)].append(recipe)
        return sum(self.seconds(group[0], len(group)) for group in groups.values()) / self.seconds(self.start, 1)


def costs_of(recipe: Recipe, model: KerasModel, examples: int) -> Costs:
    """Count what the updates of a model take.

    Args:
        recipe: The recipe.
        model: Its model.
        examples: The number of its training examples.

    Returns:
        The costs.

    Example:
        >>> from kopt import data
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(2)])
        >>> costs = costs_of(Recipe("digits", data.Digits()), model, 100)
        >>> costs.kernels, costs.parameters, costs.operations, costs.of([costs.start])
        (2, 58, 48, 1.0)
    """
    recurrent = any(
        isinstance(layer, (keras.layers.RNN, keras.layers.Bidirectional)) for layer in internals.flat_layers(model)
    )
    kernels = [one.variable for one in parameters(model) if select.kernels.holds(one)]
    return Costs(
        recipe,
        examples,
        len(kernels),
        model.count_params(),
        operations_of(model),
        recurrent or bool(slow_layers(model)),
        recipe.regularizer is None and any(kernel.regularizer is not None for kernel in kernels),
    )


def operations_of(model: KerasModel) -> int:
    """Return the multiplications of a model's matrix products and convolutions on one example."""
    example = tf.nest.map_structure(lambda one: tf.TensorSpec([1, *one.shape[1:]], one.dtype), model.inputs)
    traced = tf.function(lambda *inputs: model(inputs[0] if len(inputs) == 1 else inputs), autograph=False)
    found = 0
    for op in traced.get_concrete_function(*example).graph.get_operations():
        if op.type in ("MatMul", "BatchMatMulV2"):
            turned = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
            found += size_of(op.outputs[0].shape) * (op.inputs[0].shape[-2 if turned else -1] or 1)
        elif op.type.startswith(("Conv", "Depthwise")):
            found += size_of(op.outputs[0].shape) * size_of(op.inputs[1].shape[:-1])
    return found


def size_of(shape: tf.TensorShape) -> int:
    """Return the numbers of a tensor, where an unknown size is 1."""
    return math.prod(size or 1 for size in shape)
