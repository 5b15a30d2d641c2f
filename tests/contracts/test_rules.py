"""What holds of every rule."""

import itertools
from collections.abc import Sequence

import keras
import numpy as np
import pytest
import tensorflow as tf
from examples import RULES

from kopt.optimizers import Optimizer
from kopt.rules import Elementwise, Rule
from kopt.schedules import Constant, Linear, Schedule
from kopt.training import minimize
from kopt.values import bind, number_paths, paths, read, replace

every_rule = pytest.mark.parametrize("rule", RULES, ids=repr)
SHAPES = ((3, 2), (2,), (), (2, 2, 3), (0,), (0, 3))  # a kernel, a bias, a scale, a convolution, two empty ones
NAMES = ("a/kernel", "a/bias", "b/scale", "c/kernel", "d/bias", "d/kernel")


def lists(seed: int) -> list[tf.Tensor]:
    generator = np.random.default_rng(seed)
    return [tf.constant(generator.normal(size=shape), "float32") for shape in SHAPES]


def bound(rule: Rule, places: Sequence[int] = range(len(SHAPES))) -> Rule:
    """The rule for some parameters of these shapes and names, as an optimizer binds it."""
    return rule.bind([variable(lists(0)[place], NAMES[place]) for place in places])


def variable(value: tf.Tensor, path: str) -> keras.Variable:
    with keras.name_scope(path.partition("/")[0]):
        return keras.Variable(value, name=path.rpartition("/")[2])


def rate_of(rule: Rule) -> float:
    """A rate at which a few updates are seen; a rule that finds its own has 1."""
    return 1.0 if rule.usual_rate >= 1 else 0.05


def schedule_of(rule: Rule) -> Schedule:
    """A schedule that ends at 0; an average of weights follows it too late, and has a constant rate."""
    return Constant(0.4) if rule.has_evaluation_weights else Linear(rate_of(rule))


def run(rule: Rule, steps: int, rate: tf.Tensor | float, places: Sequence[int] = range(len(SHAPES))) -> list[tf.Tensor]:
    """Some parameters after some updates by a bound rule, with gradients that depend on them."""
    parameters, targets = ([lists(seed)[place] for place in places] for seed in (0, 1))
    state = rule.init(parameters)
    for count in range(1, steps + 1):
        gradients = [2 * (parameter - target) for parameter, target in zip(parameters, targets)]
        updates, state = rule.update(gradients, state, parameters, rate, tf.constant(count))
        parameters = [parameter + update for parameter, update in zip(parameters, updates)]
    return parameters


@every_rule
def test_update_is_pure_and_keeps_structure_shapes_and_dtypes(rule: Rule) -> None:
    rule, parameters, gradients = bound(rule), lists(0), lists(1)
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
    rule, parameters, gradients = bound(rule), lists(0), lists(1)
    # Small rates: a proximal decay, division by 1 + rate * decay, is linear only there.
    small, _ = rule.update(gradients, rule.init(parameters), parameters, 1e-5, 1)
    large, _ = rule.update(gradients, rule.init(parameters), parameters, 2e-5, 1)
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
        rate=schedule_of(rule),
        steps=600,
    )
    for one, aim in zip(found.parameters, (target[0], target)):
        np.testing.assert_allclose(one, aim, atol=2e-2)


@every_rule
def test_mapped_over_its_numbers_equals_single_rules(rule: Rule) -> None:
    """The law of values: K rules that differ in all their numbers and the rate are one program, in XLA too.

    XLA takes long to compile: a bias and a convolution, with a kernel where the last one is the model's head, and the
    bias alone where every number is treated alike. The program is traced once for both.
    """
    places, steps = (1,) if rule.packs else (0, 1, 3) if rule.needs_model else (1, 3), 2
    rule, found, rate = bound(rule, places), number_paths(rule), rate_of(rule)
    shares = np.linspace(0.7, 1.0, 3)
    numbers = np.array([rate, *(read(rule, path) for path in found)])

    def member(numbers: tf.Tensor) -> list[tf.Tensor]:
        rate, *others = tf.unstack(numbers)
        return run(bind(rule, dict(zip(found, others))), steps, rate, places)

    def by_all(table: tf.Tensor) -> list[tf.Tensor]:
        return tf.vectorized_map(member, table)

    table = tf.constant(np.outer(shares, numbers))
    traced = tf.function(by_all, autograph=False).get_concrete_function(table)
    plain, compiled = traced(table), tf.function(traced, autograph=False, jit_compile=True)(table)
    for place, share in enumerate(shares):
        single = replace(rule, {path: share * read(rule, path) for path in found})
        alone = run(single, steps, share * rate, places)
        for mapped in (plain, compiled):
            for many, one in zip(mapped, alone):
                np.testing.assert_allclose(many[place], one, rtol=5e-6 * rule.rounding, atol=5e-7 * rule.rounding)


@pytest.mark.parametrize("rule", [rule for rule in RULES if isinstance(rule, Elementwise) or rule.packs], ids=repr)
def test_packs_where_every_number_is_treated_alone(rule: Rule) -> None:
    """Tensors side by side in one vector are updated as alone exactly where an element-wise rule says so."""
    one_by_one = [
        tf.constant(np.random.default_rng(seed).normal(size=shape), "float32")
        for seed, shape in ((0, (3, 2)), (1, (4,)))
    ]
    side_by_side = [tf.concat([tf.reshape(one, [-1]) for one in one_by_one], 0)]
    found = []
    for parameters in (one_by_one, side_by_side):
        state, now = rule.init(parameters), parameters
        for count in range(1, 4):
            gradients = [tf.sin(17.0 * one) for one in now]
            updates, state = rule.update(gradients, state, now, rate_of(rule), count)
            now = [one + update for one, update in zip(now, updates)]
        found.append(np.concatenate([np.ravel(one) for one in now]))
    same = np.allclose(*found, rtol=1e-5, atol=1e-6)
    assert same == rule.packs


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.keeps_infinity], ids=repr)
def test_a_gradient_that_is_not_finite_is_seen_updates_later_where_the_rule_says_so(rule: Rule) -> None:
    """What the look at a program's end relies on; of other rules every gradient is checked before the update."""
    rule = bound(rule)
    full = [place for place, shape in enumerate(SHAPES) if 0 not in shape]
    places = full[:1] if rule.packs else full  # where every number is treated alike, one shape says it of all
    for place, wrong in itertools.product(places, (np.inf, -np.inf, np.nan)):
        bad, parameters = [np.array(one) for one in lists(1)], lists(0)
        bad[place][(0,) * bad[place].ndim] = wrong
        state = rule.init(parameters)
        for count, gradients in enumerate((lists(1), [tf.constant(one) for one in bad], lists(2), lists(3)), 1):
            updates, state = rule.update(gradients, state, parameters, 0.1, count)
            parameters = [parameter + update for parameter, update in zip(parameters, updates)]
        assert not all(np.all(np.isfinite(one)) for one in tf.nest.flatten([parameters, state]))


@every_rule
def test_works_in_half_precision_and_double(rule: Rule) -> None:
    rule = bound(rule)
    for dtype in ("float16", "bfloat16", "float64"):
        parameters = [tf.cast(parameter, dtype) for parameter in lists(0)]
        for share in (1, 0):
            gradients = [tf.cast(share, dtype) * parameter for parameter in parameters]
            updates, _ = rule.update(gradients, rule.init(parameters), parameters, 0.01, tf.constant(1, tf.int64))
            assert {update.dtype.name for update in updates} == {dtype}
            assert all(np.all(np.isfinite(tf.cast(update, "float32"))) for update in updates)


@every_rule
def test_the_weights_for_evaluation_are_others_where_it_is_said_and_lead_back(rule: Rule) -> None:
    rule, parameters = bound(rule), lists(0)
    state = rule.init(parameters)
    for count in range(1, 9):
        updates, state = rule.update(lists(count), state, parameters, 0.1, count)
        parameters = [parameter + update for parameter, update in zip(parameters, updates)]
    evaluated = rule.evaluate(state, parameters)
    again = rule.restore(state, evaluated)
    assert any(np.any(one != other) for one, other in zip(parameters, evaluated)) == rule.has_evaluation_weights
    for one, found, back in zip(parameters, evaluated, again):
        assert (one.shape, one.dtype) == (found.shape, found.dtype)
        np.testing.assert_allclose(back, one, rtol=1e-5, atol=1e-6)


@every_rule
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e30])
def test_updates_are_finite_after_gradients_of_any_size(rule: Rule, size: float) -> None:
    """Twice such a gradient, then a usual one."""
    rule, parameters = bound(rule), lists(0)
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
