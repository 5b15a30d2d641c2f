"""What holds of every rule."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from examples import RULES

from kopt.optimizers import Optimizer
from kopt.rules import Rule
from kopt.training import minimize
from kopt.values import bind, number_paths, paths, read, replace

every_rule = pytest.mark.parametrize("rule", RULES)


def lists(seed: int) -> list[tf.Tensor]:
    generator = np.random.default_rng(seed)
    return [tf.constant(generator.normal(size=shape), "float32") for shape in ((3, 2), (2,), ())]


def run(rule: Rule, steps: int, rate: float = 0.1) -> list[tf.Tensor]:
    """The parameters after some updates with gradients that depend on them."""
    parameters = lists(0)
    state = rule.init(parameters)
    for count in range(1, steps + 1):
        gradients = [2 * (parameter - target) for parameter, target in zip(parameters, lists(1))]
        updates, state = rule.update(gradients, state, parameters, rate, count)
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
    rule = replace(rule, {"weight_decay": 0.0}) if "weight_decay" in paths(rule) else rule
    found = minimize(lambda w: tf.reduce_sum((w - [1.0, -2.0]) ** 2), [0.0, 0.0], rule, rate=0.05, steps=600)
    np.testing.assert_allclose(found.parameters, [1.0, -2.0], atol=5e-3)


@every_rule
@pytest.mark.parametrize("jit", [False, True])
def test_mapped_over_bound_numbers_equals_single_calls(rule: Rule, jit: bool) -> None:
    """The law of values: K rules as one program."""
    for path in number_paths(rule):
        numbers = read(rule, path) * np.linspace(0.7, 1.0, 4)
        mapped = tf.function(
            lambda column: tf.vectorized_map(lambda number: run(bind(rule, {path: number}), 3), column),
            jit_compile=jit,
        )(tf.constant(numbers))
        for place, number in enumerate(numbers):
            for many, one in zip(mapped, run(replace(rule, {path: number}), 3)):
                np.testing.assert_allclose(many[place], one, rtol=2e-6, atol=2e-7, err_msg=path)


@every_rule
def test_works_in_half_precision_and_double(rule: Rule) -> None:
    for dtype in ("bfloat16", "float64"):
        parameters = [tf.cast(parameter, dtype) for parameter in lists(0)]
        updates, _ = rule.update(parameters, rule.init(parameters), parameters, 0.1, tf.constant(1, tf.int64))
        assert {update.dtype.name for update in updates} == {dtype}


@every_rule
def test_saved_and_loaded_in_the_middle_equals_uninterrupted(rule: Rule, network, points, tmp_path) -> None:
    x, y = points
    whole, half = network(Optimizer(rule, 0.01)), network(Optimizer(rule, 0.01))
    whole.fit(x, y, epochs=4, shuffle=False, verbose=0)
    half.fit(x, y, epochs=2, shuffle=False, verbose=0)
    half.save(tmp_path / "half.keras")
    loaded = keras.saving.load_model(tmp_path / "half.keras")
    loaded.fit(x, y, epochs=2, shuffle=False, verbose=0)
    for one, other in zip(
        whole.get_weights() + [v.numpy() for v in whole.optimizer.variables],
        loaded.get_weights() + [v.numpy() for v in loaded.optimizer.variables],
    ):
        np.testing.assert_array_equal(one, other)
