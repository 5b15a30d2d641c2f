"""The law of populations: a member is what the same recipe trained alone is, for all that is registered."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from examples import MODELS, REGULARIZERS, RULES, SCHEDULES
from test_models import batch

from kopt import distribute, models, rules, schedules
from kopt.data.base import Baseline, Data, Split, Splits
from kopt.experiment.recipe import Recipe, Training
from kopt.experiment.run import build, train
from kopt.models import Model
from kopt.optimizers import Optimizer
from kopt.regularizers import Regularizer
from kopt.rules import Rule
from kopt.schedules import Schedule
from kopt.tasks.task import Task
from kopt.tuning.population.mapping import mapped
from kopt.tuning.population.member import MemberStep
from kopt.tuning.population.members import template_of
from kopt.tuning.population.population import Population
from kopt.tuning.population.structure import Group, numbers_of
from kopt.values.field_paths import number_paths, replace


class Given(Data):
    """Twenty examples of what a model takes."""

    of: Model

    @property
    def task(self) -> Task:
        return self.of.task

    def load(self) -> Splits:
        x, y = batch(self.of)
        return Splits(Split(x, y), Split(x[:7], y[:7]), Split(x[:9], y[:9]), "none")

    def baseline(self, splits: Splits) -> Baseline:
        return Baseline("none", 0.0)


SMALL = models.MLP((4,), 3, units=(3,))


def recipe(model: Model = SMALL, **parts) -> Recipe:
    how = {"schedule": schedules.Constant(0.01), "rule": rules.Momentum(0.9), "training": Training(2, batch_size=10)}
    return Recipe("law", Given(model), model=model, devices="cpu", **how | parts)


def population(*recipes: Recipe, vectorize: bool | None = True) -> Population:
    template = template_of(recipes[0], recipes[0].data.load(), None, False)
    return Population(Group(tuple(range(len(recipes))), recipes), template, vectorize=vectorize)


def require_law(*recipes: Recipe, vectorize: bool | None = True) -> None:
    """Train recipes as members, and each alone; compare weights, statistics, seeds and History."""
    members = population(*recipes, vectorize=vectorize)
    members.train()
    for place, one in enumerate(recipes):
        keras.utils.set_random_seed(one.seed)
        model = build(one, members.template.splits, distribute.strategy("cpu"))
        history = train(one, model, members.template.splits, verbose=False, jit=False).history
        for variable, found in zip([*model.trainable_variables, *model.non_trainable_variables], members.final[place]):
            np.testing.assert_allclose(found, variable, rtol=1e-5, atol=1e-5, err_msg=variable.path)
        for name in history.keys() - {"seconds"}:
            np.testing.assert_allclose(
                members.histories[place][name], history[name], rtol=1e-4, atol=1e-6, err_msg=name
            )


@pytest.mark.parametrize("model", MODELS)
def test_models(model: Model) -> None:
    one = recipe(model)
    require_law(one, replace(one, {"seed": 1, "schedule.rate": 0.003}), vectorize=None)


@pytest.mark.parametrize("regularizer", REGULARIZERS)
def test_regularizers(regularizer: Regularizer) -> None:
    one = recipe(regularizer=regularizer, training=Training(1, batch_size=10))
    path = next(path for path in number_paths(one) if path.startswith("regularizer."))
    require_law(one, replace(one, {"seed": 1, path: 0.05}))


def step_of(*recipes: Recipe) -> tuple[MemberStep, dict[str, tf.Tensor]]:
    template = template_of(recipes[0], recipes[0].data.load(), None, False)
    step = MemberStep(recipes[0], template.model, (None, []), template.train.batches)
    return step, {path: tf.constant(row) for path, row in numbers_of(recipes).items()}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules(schedule: Schedule) -> None:
    one = recipe(schedule=schedule, training=Training(30, batch_size=20))
    paths = [path for path in number_paths(one) if path.endswith(("rate", "rates.0"))]
    other = replace(one, {path: 0.04 for path in paths if path.startswith("schedule.")} | {"seed": 1})
    step = MemberStep.__new__(MemberStep)
    step.recipe, step.steps = one, 3
    numbers = {path: tf.constant(row) for path, row in numbers_of([one, other]).items()}
    for updates in (0, 1, 7, 40):
        found = mapped(lambda numbers, row, at=updates: step.rate(numbers, at))(numbers, tf.range(2))
        expected = [each.schedule.resolve(30.0)(updates / 3) for each in (one, other)]
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("rule", RULES)
def test_rules(rule: Rule) -> None:
    """Three updates of two members by given gradients, against the optimizer of each alone."""
    one = recipe(rule=rule, schedule=schedules.Constant(rule.usual_rate))
    own = [path for path in number_paths(one) if path.endswith((".beta_1", ".momentum", ".weight_decay"))][:1]
    other = replace(one, {"schedule.rate": rule.usual_rate / 2} | dict.fromkeys(own, 0.7))
    step, numbers = step_of(one, other)
    weights = [tf.stack([variable, 0.5 * variable]) for variable in map(tf.convert_to_tensor, step.weights)]
    random = np.random.default_rng(0)
    gradients = [[tf.constant(random.normal(size=weight.shape), "float32") for weight in weights] for _ in range(3)]
    state = mapped(step.start)(weights, [], numbers)
    update = tf.function(mapped(step.updated), autograph=False)
    for one_gradients in gradients:
        state = update(state, numbers, one_gradients)
    alone = built()
    for member, each in enumerate((one, other)):
        optimizer = Optimizer(each.rule, each.schedule.rate)
        for variable, weight in zip(alone, weights):
            variable.assign(weight[member])
        optimizer.build(alone)
        for one_gradients in gradients:
            optimizer.apply([gradient[member] for gradient in one_gradients], alone)
        for found, variable in zip(state.weights, alone):
            np.testing.assert_allclose(found[member], variable, rtol=1e-5 * rule.rounding, atol=2e-6 * rule.rounding)


@functools.cache
def built() -> list[keras.Variable]:
    """Return the weights of a model: by their names selectors route them."""
    return list(SMALL.build().trainable_variables)


def test_a_member_skips_an_update_whose_gradient_is_not_finite() -> None:
    one = recipe(rule=rules.Adam())
    step, numbers = step_of(one, replace(one, {"schedule.rate": 0.02}))
    weights = [tf.stack([variable, variable]) for variable in map(tf.convert_to_tensor, step.weights)]
    gradients = [tf.ones_like(weight) for weight in weights]
    gradients[0] = tf.tensor_scatter_nd_update(gradients[0], [[1, 0, 0]], [float("inf")])  # of the second member
    before = mapped(step.start)(weights, [], numbers)
    after = mapped(step.updated)(before, numbers, gradients)
    assert after.updates.numpy().tolist() == [1, 0] and after.skipped.numpy().tolist() == [0, 1]
    for old, new in zip([*before.weights, *before.slots], [*after.weights, *after.slots]):
        np.testing.assert_array_equal(new[1], old[1])
        assert np.all(np.isfinite(new[0])) and not np.array_equal(new[0], old[0])
