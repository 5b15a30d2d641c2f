"""Routed: parameters to rules by selectors, in fit and by itself."""

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf

from kopt import callbacks, schedules, select
from kopt.data import Digits
from kopt.experiment.recipe import Command, Recipe, command_line
from kopt.optimizers import Decayed, Optimizer
from kopt.rules import Adam, AdamW, GradientDescent, Momentum, Muon, Route, Routed
from kopt.rules.base import Rule
from kopt.tuning import Range, Space
from kopt.values import number_paths

RULE = Routed({select.biases: Momentum(0.8)}, rest=Adam())


class Middle(Rule):
    """Steps of all parameters by one shared number, and other weights for evaluation."""

    def init(self, parameters):
        return {"shared": tf.constant(0.0), "each": [{"sum": tf.zeros_like(one)} for one in parameters]}

    def update(self, gradients, state, parameters, rate, count):
        shared = state["shared"] + tf.add_n([tf.reduce_sum(gradient) for gradient in gradients])
        each = [{"sum": old["sum"] + gradient} for old, gradient in zip(state["each"], gradients)]
        return [-tf.ones_like(one) * shared for one in parameters], {"shared": shared, "each": each}

    has_evaluation_weights = True
    usual_rate = 0.5
    rounding = 10.0

    def evaluate(self, state, parameters):
        return [one + inner["sum"] for one, inner in zip(parameters, state["each"])]

    def restore(self, state, evaluated):
        return [one - inner["sum"] for one, inner in zip(evaluated, state["each"])]


def small_model(optimizer: keras.optimizers.Optimizer) -> keras.Model:
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(4, name="body"), keras.layers.Dense(1, name="head")]
    )
    model.compile(optimizer, "mse")
    return model


def fitted(optimizer: keras.optimizers.Optimizer, **arguments: object) -> keras.Model:
    model = small_model(optimizer)
    x = np.random.default_rng(0).normal(size=(32, 3))
    model.fit(x, x[:, :1] + 1, epochs=2, batch_size=8, verbose=0, shuffle=False, **arguments)
    return model


def test_a_mapping_is_held_as_routes_and_is_written_as_a_mapping() -> None:
    assert RULE.routes == (Route(select.biases, Momentum(0.8)),)
    assert RULE == Routed((Route(select.biases, Momentum(0.8)),), Adam())
    assert repr(RULE) == "Routed({biases: Momentum(0.8)}, rest=Adam())"
    assert Routed({"a/*": Adam()}, rest=Adam()).routes[0].to == select.path("a/*")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Routed({}, rest=Adam()), "routes must have a route"),
        (lambda: Routed((Route(select.biases, Adam()),) * 2, rest=Adam()), "routes must have different selectors"),
        (lambda: Routed({select.biases: 3}, rest=Adam()), "rule must be a Rule, got 3"),
        (lambda: Routed([1], rest=Adam()), "routes must be a tuple of a Route"),
        (lambda: RULE.init([tf.zeros(2)]), "rule must be bound to variables, by .bind"),
        (
            lambda: small_model(Optimizer(Routed({"head/*": Adam()}, rest=Adam()))).optimizer.build(
                [keras.Variable([1.0], name="kernel")]
            ),
            r"selector must be bound to the model, by .bind\(model\)",
        ),
        (lambda: RULE.bind([keras.Variable([1.0], name="kernel")]), "selector must choose something among"),
    ],
)
def test_what_cannot_be_routed_is_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_route_that_the_routes_before_it_leave_nothing_is_refused() -> None:
    variables = [keras.Variable([1.0], name=name) for name in ("kernel", "bias")]
    rule = Routed({select.everything: Momentum(), select.biases: Adam()}, rest=Adam())
    with pytest.raises(ValueError, match="^selector must choose something that no route before it has, got biases"):
        rule.bind(variables)
    Routed({select.biases: Adam(), select.everything: Momentum()}, rest=Adam()).bind(variables)


def test_in_fit_it_equals_a_rule_for_each_part_by_itself() -> None:
    routed, by_adam, by_momentum = (
        fitted(Optimizer(RULE, 0.05)),
        Optimizer(Adam(), 0.05),
        Optimizer(Momentum(0.8), 0.05),
    )
    twin = small_model(Optimizer(GradientDescent(), 0.0))
    x = np.random.default_rng(0).normal(size=(32, 3))
    kernels, biases = ([one for one in twin.trainable_variables if one.name == name] for name in ("kernel", "bias"))
    for batch in [*np.split(x, 4)] * 2:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((twin(batch) - batch[:, :1] - 1) ** 2)
        of_kernels, of_biases = tape.gradient(loss, [[one.value for one in part] for part in (kernels, biases)])
        by_adam.apply(of_kernels, kernels)
        by_momentum.apply(of_biases, biases)
    for one, other in zip(routed.get_weights(), twin.get_weights()):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)


def test_a_selector_by_layers_works_when_it_is_bound_to_the_model() -> None:
    model = small_model(Optimizer(GradientDescent(), 0.0))
    start = model.get_weights()
    rule = Routed({select.path("head/*").bind(model): GradientDescent()}, rest=Momentum(0.5))
    optimizer = Optimizer(rule, 0.1)
    optimizer.apply([tf.ones_like(one.value) for one in model.trainable_variables], model.trainable_variables)
    store: dict[str, np.ndarray] = {}
    optimizer.save_own_variables(store)
    assert [name for name in store if "." in name] == ["rest.0.velocity", "rest.1.velocity"]
    for one, before in zip(model.get_weights(), start):
        np.testing.assert_allclose(one, before - 0.1, rtol=1e-6)


def test_shared_numbers_and_evaluation_weights_of_the_parts_pass_through() -> None:
    rule = Routed({select.kernels: Middle()}, rest=Routed({select.biases: Middle()}, rest=GradientDescent()))
    names = ("bias", "kernel", "scale", "kernel")
    parameters = [tf.constant([float(place)]) for place in range(4)]
    bound = rule.bind([keras.Variable(one, name=name) for one, name in zip(parameters, names)])
    gradients = [tf.constant([number]) for number in (1.0, 10.0, 100.0, 1000.0)]
    updates, state = bound.update(gradients, bound.init(parameters), parameters, 0.5, 1)
    assert [float(one[0]) for one in updates] == [-1, -1010, -50, -1010]
    assert float(state["route_0"]["shared"]) == 1010 and float(state["rest"]["route_0"]["shared"]) == 1
    evaluated = bound.evaluate(state, parameters)
    assert [float(one[0]) for one in evaluated] == [1, 11, 2, 1003]
    assert [float(one[0]) for one in bound.restore(state, evaluated)] == [0, 1, 2, 3]
    assert bound.has_evaluation_weights and not RULE.has_evaluation_weights
    assert (bound.rounding, RULE.rounding, bound.usual_rate) == (10, 1, GradientDescent.usual_rate)


def test_evaluation_weights_of_the_rest_of_muon_pass_through() -> None:
    rule, parameters = Muon(rest=Middle()), [tf.ones((2, 3)), tf.zeros(2)]
    assert rule.has_evaluation_weights and not Muon().has_evaluation_weights
    _, state = rule.update([tf.ones((2, 3)), tf.ones(2)], rule.init(parameters), parameters, 0.1, 1)
    evaluated = rule.evaluate(state, parameters)
    np.testing.assert_array_equal(evaluated[0], parameters[0])
    np.testing.assert_array_equal(evaluated[1], [1, 1])
    np.testing.assert_array_equal(rule.restore(state, evaluated)[1], [0, 0])


def test_its_numbers_are_searched_scheduled_and_set_on_the_command_line() -> None:
    assert number_paths(RULE)[:2] == ["routes.0.rule.momentum", "rest.beta_1"]
    space = Space(RULE, {"routes.0.rule.momentum": Range(0.1, 0.9)})
    assert space.fill({"routes.0.rule.momentum": 0.3}) == Routed({select.biases: Momentum(0.3)}, rest=Adam())
    assert space.fill(keras_tuner.HyperParameters()) == Routed({select.biases: Momentum(0.1)}, rest=Adam())
    recipe = Recipe("example", Digits(examples=60), schedule=schedules.Constant(0.1), rule=RULE)
    args = ["--rule.routes.0.rule.momentum", "0.5", "--rule.rest.beta-1", "0.7"]
    assert command_line(Command(recipe), quick={}, args=args).of.rule == Routed(
        {select.biases: Momentum(0.5)}, rest=Adam(0.7)
    )
    fixed = callbacks.Scheduled("routes.0.rule.momentum", schedules.Constant(0.2))
    one, other = (
        fitted(Optimizer(RULE, 0.05), callbacks=[fixed]),
        fitted(Optimizer(Routed({select.biases: Momentum(0.2)}, rest=Adam()), 0.05)),
    )
    for weight, wanted in zip(one.get_weights(), other.get_weights()):
        np.testing.assert_allclose(weight, wanted, rtol=1e-6)


def test_decay_by_selector_refuses_a_second_decay_in_a_route() -> None:
    with pytest.raises(ValueError, match="must have no weight decay of its own"):
        Decayed(Optimizer(Routed({select.biases: AdamW(weight_decay=0.1)}, rest=Adam())), 0.1)
    Decayed(Optimizer(Routed({select.biases: AdamW(weight_decay=0)}, rest=Adam())), 0.1)
