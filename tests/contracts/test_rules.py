"""What holds of every rule."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from examples import RULES

from kopt.optimizers import Optimizer
from kopt.rules import Rule
from kopt.schedules import Linear
from kopt.training import minimize
from kopt.values import bind, number_paths, paths, read, replace

every_rule = pytest.mark.parametrize("rule", RULES, ids=repr)
SHAPES = ((3, 2), (2,), (), (2, 2, 3), (0,), (0, 3))  # a kernel, a bias, a scale, a convolution, two empty ones


def lists(seed: int) -> list[tf.Tensor]:
    generator = np.random.default_rng(seed)
    return [tf.constant(generator.normal(size=shape), "float32") for shape in SHAPES]


def rate_of(rule: Rule) -> float:
    """A rate at which a few updates are seen; a rule that finds its own has 1."""
    return 1.0 if rule.usual_rate >= 1 else 0.05


def run(rule: Rule, steps: int, rate: tf.Tensor | float) -> list[tf.Tensor]:
    """The parameters after some updates with gradients that depend on them."""
    parameters = lists(0)
    state = rule.init(parameters)
    for count in range(1, steps + 1):
        gradients = [2 * (parameter - target) for parameter, target in zip(parameters, lists(1))]
        updates, state = rule.update(gradients, state, parameters, rate, tf.constant(count))
        parameters = [parameter + update for parameter, update in zip(parameters, updates)]
    return parameters


@every_rule
def test_update_is_pure_and_keeps_structure_shapes_and_dtypes(rule: Rule) -> None:
    parameters, gradients = lists(0), lists(1)
    state = rule.init(parameters)
    first, after = rule.update(gradients, state, parameters, 0.1, 1)
    again, _ = rule.update(gradients, state, parameters, 0.1, 1)
    tf.nest.assert_same_structure(state, after)
    for old, new in zip(tf.nest.flatten([parameters, state]), tf.nest.flatten([first, after])):
        assert old.shape == new.shape and old.dtype == new.dtype
    for one, other in zip(first, again):
        np.testing.assert_array_equal(one, other)


@every_rule
def test_the_rate_scales_the_first_update(rule: Rule) -> None:
    parameters, gradients = lists(0), lists(1)
    small, _ = rule.update(gradients, rule.init(parameters), parameters, 0.01, 1)
    large, _ = rule.update(gradients, rule.init(parameters), parameters, 0.02, 1)
    for one, two in zip(small, large):
        np.testing.assert_allclose(2 * one, two, rtol=1e-5)


@every_rule
def test_finds_the_minimum_of_a_bowl(rule: Rule) -> None:
    rule = replace(rule, {path: 0.0 for path in paths(rule) if path.rpartition(".")[2] == "weight_decay"})
    target = np.array([[1.0, -2.0], [0.5, 3.0]], "float32")
    # The columns begin with the means of the target's: a rule on centralized gradients leaves them as they are.
    start = (np.array([0.3, -0.2], "float32"), np.array([[0.65, 0.4], [0.85, 0.6]], "float32"))
    found = minimize(
        lambda v, m: tf.reduce_sum((v - target[0]) ** 2) + tf.reduce_sum((m - target) ** 2),
        start,
        rule,
        rate=Linear(rate_of(rule)),
        steps=600,
    )
    for one, aim in zip(found.parameters, (target[0], target)):
        np.testing.assert_allclose(one, aim, atol=2e-2)


@every_rule
def test_mapped_over_its_numbers_equals_single_rules(rule: Rule) -> None:
    """The law of values: K rules that differ in all their numbers and the rate are one program, in XLA too."""
    found, rate = number_paths(rule), rate_of(rule)
    shares = np.linspace(0.7, 1.0, 3)
    table = tf.constant(
        [[share * number for number in (rate, *(read(rule, path) for path in found))] for share in shares]
    )

    def member(numbers: tf.Tensor) -> list[tf.Tensor]:
        rate, *others = tf.unstack(tf.cast(numbers, "float64"))
        return run(bind(rule, dict(zip(found, others))), 3, rate)

    def by_all(numbers: tf.Tensor) -> list[tf.Tensor]:
        return tf.vectorized_map(member, numbers)

    table = tf.cast(table, "float64")
    plain, compiled = (tf.function(by_all, jit_compile=jit)(table) for jit in (False, True))
    for place, share in enumerate(shares):
        alone = run(replace(rule, {path: share * read(rule, path) for path in found}), 3, share * rate)
        for mapped in (plain, compiled):
            for many, one in zip(mapped, alone):
                np.testing.assert_allclose(many[place], one, rtol=5e-6, atol=5e-7)


@every_rule
def test_works_in_half_precision_and_double(rule: Rule) -> None:
    for dtype in ("bfloat16", "float64"):
        parameters = [tf.cast(parameter, dtype) for parameter in lists(0)]
        updates, _ = rule.update(parameters, rule.init(parameters), parameters, 0.1, tf.constant(1, tf.int64))
        assert {update.dtype.name for update in updates} == {dtype}


@every_rule
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e30])
def test_updates_are_finite_after_gradients_of_any_size(rule: Rule, size: float) -> None:
    """Twice such a gradient, then a usual one."""
    parameters = lists(0)
    state = rule.init(parameters)
    for count, gradients in enumerate(([size * one for one in lists(1)],) * 2 + (lists(2),), 1):
        updates, state = rule.update(gradients, state, parameters, 0.01, count)
        parameters = [parameter + update for parameter, update in zip(parameters, updates)]
        for parameter in parameters:
            assert np.all(np.isfinite(parameter))


@every_rule
def test_state_by_name_saved_in_the_middle_equals_uninterrupted(rule: Rule, tmp_path) -> None:
    """Float16 gradients, one of them sparse, one None, through Keras' optimizer and its file."""

    def model() -> keras.Model:
        made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dense(2, name="still")])
        for number, weight in enumerate(made.weights):
            weight.assign(np.random.default_rng(number).normal(size=weight.shape))
        made.compile(Optimizer(rule, rate_of(rule)), "mse")
        return made

    def train(one: keras.Model, steps: range) -> None:
        kernel, bias, still, offset = one.trainable_weights
        for step in steps:
            random = np.random.default_rng(step)
            sparse = tf.IndexedSlices(
                tf.constant(random.normal(size=(3, 2)), "float32"), tf.constant([0, 2, 0]), tf.constant([3, 2])
            )
            half = [tf.constant(random.normal(size=weight.shape), "float16") for weight in (bias, still)]
            with pytest.warns(UserWarning, match="Gradients do not exist"):
                one.optimizer.apply([sparse, *half, None], [kernel, bias, still, offset])

    whole, part = model(), model()
    at_start = [weight.numpy() for weight in whole.trainable_weights]
    train(whole, range(6))
    train(part, range(3))
    part.save(tmp_path / "part.keras")
    loaded = keras.saving.load_model(tmp_path / "part.keras")
    train(loaded, range(3, 6))
    for one, other in zip(whole.weights + whole.optimizer.variables, loaded.weights + loaded.optimizer.variables):
        np.testing.assert_array_equal(one, other)
    moved = [np.any(weight != start) for weight, start in zip(whole.trainable_weights, at_start)]
    assert moved == [True, True, True, False]
