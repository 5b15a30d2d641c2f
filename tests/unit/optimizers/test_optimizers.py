"""Optimizer: rules under compile and fit, and its files."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt import rules
from kopt.optimizers import Optimizer
from kopt.optimizers.named import named
from kopt.optimizers.named import names as named_optimizers
from kopt.rules import Rule


def test_config_round_trip() -> None:
    optimizer = Optimizer(rules.Adam(0.8), 0.01, clipnorm=1.0, name="mine")
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert again.rule == rules.Adam(0.8) and again.clipnorm == 1.0 and again.name == "mine"
    assert float(again.learning_rate) == pytest.approx(0.01)


def test_integers_and_numpy_numbers_are_rates() -> None:
    for rate in (1, np.float64(1.0), np.float32(1.0)):
        assert float(Optimizer(rules.Adam(), rate).learning_rate) == 1.0


def test_state_is_saved_by_name_and_another_rule_is_refused(network, points, tmp_path) -> None:
    model = network(Optimizer(rules.Adam(), 0.01))
    model.fit(*points, verbose=0)
    store: dict[str, np.ndarray] = {}
    model.optimizer.save_own_variables(store)
    assert {"0", "1", "0.momentum", "0.velocity", "3.velocity"} <= set(store)
    other = network(Optimizer(rules.Momentum(), 0.01))
    other.optimizer.build(other.trainable_variables)
    before = [variable.numpy() for variable in other.optimizer.variables]
    with pytest.raises(ValueError, match=r"^file must hold the state of Momentum\(\), got "):
        other.optimizer.load_own_variables(store)
    for variable, value in zip(other.optimizer.variables, before):
        np.testing.assert_array_equal(variable.numpy(), value)
    plain = network(Optimizer(rules.GradientDescent(), 0.01))
    plain.fit(*points, verbose=0)
    store.clear()
    plain.optimizer.save_own_variables(store)
    with pytest.raises(ValueError, match=r"^file must hold the state of Momentum\(\), got "):
        other.optimizer.load_own_variables(store)


def test_mixed_precision_scales_the_loss_and_trains(points) -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(1)])
        model.compile(Optimizer(rules.Adam(), 0.05), "mse")
        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        losses = model.fit(*points, epochs=10, verbose=0).history["loss"]
    finally:
        keras.config.set_dtype_policy("float32")
    assert losses[-1] < losses[0] / 2


def test_a_rule_that_starts_from_the_weights_needs_a_built_model(network, points) -> None:
    class Anchored(Rule):
        def init(self, parameters):
            return [{"start": parameter + 0} for parameter in parameters]

        def update(self, gradients, state, parameters, rate, count):
            return [
                rate * (one["start"] - parameter) - rate * gradient
                for one, parameter, gradient in zip(state, parameters, gradients)
            ], state

    network(Optimizer(Anchored(), 0.01)).fit(*points, verbose=0)
    with pytest.raises(ValueError, match="model must be built before it is fitted"):
        network(Optimizer(Anchored(), 0.01), with_input=False).fit(*points, verbose=0)


@pytest.mark.parametrize(
    "rule",
    [
        rules.Prodigy(d0=1e-2),
        rules.DoG(1e-2),
        rules.Mechanic(rules.Adam()),
        rules.Lookahead(rules.SkipNonFinite(rules.Adam()), 2),
    ],
    ids=repr,
)
def test_a_rule_that_takes_the_weights_at_its_first_update_needs_no_built_model(rule, network, points) -> None:
    found = []
    for with_input in (True, False):
        keras.utils.set_random_seed(0)
        model = network(Optimizer(rule, 0.5), with_input=with_input)
        model.fit(*points, epochs=2, shuffle=False, verbose=0)
        found.append(model.get_weights())
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_a_parameter_without_a_gradient_keeps_its_value_and_state() -> None:
    used, unused = keras.Variable(1.0), keras.Variable([1.0, 2.0])
    optimizer = Optimizer(rules.Momentum(), 0.1)
    optimizer.build([used, unused])

    def found() -> dict[str, np.ndarray]:
        store: dict[str, np.ndarray] = {}
        optimizer.save_own_variables(store)
        return {"used": used.numpy(), "unused": unused.numpy(), **{name: np.array(store[name]) for name in store}}

    optimizer.apply([keras.ops.ones(()), keras.ops.ones(2)])
    before = found()
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        optimizer.apply([keras.ops.ones(()), None])
    after = found()
    changed = {name for name in before if np.any(before[name] != after[name])}
    assert changed == {"0", "used", "0.velocity"}  # "0" counts the updates


def test_small_tensors_are_one_in_memory_and_apart_in_files() -> None:
    """A file's names and shapes are those of the parameters, so that it does not depend on what is packed."""
    variables = [keras.Variable(np.full(shape, 2.0)) for shape in ((3,), (200, 100), (2, 2), ())]
    optimizer, other = (Optimizer(rules.Momentum(), 0.1) for _ in range(2))
    for one in (optimizer, other):
        one.build(variables)
    assert [tuple(one.shape) for one in optimizer.state_variables] == [(8,), (200, 100)]
    optimizer.apply([keras.ops.ones(one.shape) * place for place, one in enumerate(variables, 1)])
    store: dict[str, np.ndarray] = {}
    optimizer.save_own_variables(store)
    assert {name: store[name].shape for name in store if "velocity" in name} == {
        "0.velocity": (3,),
        "1.velocity": (200, 100),
        "2.velocity": (2, 2),
        "3.velocity": (),
    }
    np.testing.assert_allclose([float(np.mean(store[f"{n}.velocity"])) for n in range(4)], [-0.1, -0.2, -0.3, -0.4])
    other.load_own_variables(store)
    for one, loaded in zip(optimizer.variables, other.variables):
        np.testing.assert_array_equal(one, loaded)


@pytest.mark.parametrize("rule", [rules.Adam(), rules.GradientDescent(), rules.ScheduleFreeAdamW()], ids=repr)
def test_a_model_is_saved_before_its_optimizer_has_a_state(rule, network, points, tmp_path) -> None:
    model = network(Optimizer(rule, 0.01))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for one in (model, loaded):
        one.fit(*points, shuffle=False, verbose=0)
    for one, other in zip(model.get_weights(), loaded.get_weights()):
        np.testing.assert_array_equal(one, other)


def test_a_later_beginning_is_saved_and_files_without_one_are_those_of_before(tmp_path) -> None:
    early, late = keras.Variable([1.0]), keras.Variable([1.0])
    optimizer, other, third = (Optimizer(rules.Adam(), 0.1) for _ in range(3))
    for one in (optimizer, other, third):
        one.build([early, late])
    stores: list[dict[str, np.ndarray]] = [{}, {}]
    optimizer.save_own_variables(stores[0])
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        optimizer.apply([keras.ops.ones(1), None])
    optimizer.save_own_variables(stores[1])
    assert set(stores[1]) - set(stores[0]) == {"began"} and list(stores[1]["began"]) == [0, 1]
    other.load_own_variables(stores[1])
    third.load_own_variables(stores[0])
    assert list(other.began.numpy()) == [0, 1] and list(third.began.numpy()) == [0, 0]
    before = late.numpy()
    other.apply([keras.ops.ones(1), keras.ops.ones(1)])
    np.testing.assert_allclose(late.numpy(), before - 0.1, rtol=1e-5)  # its first update, which is corrected as such


def test_parameters_without_numbers_leave_the_others_as_they_are() -> None:
    """Of every named optimizer, also where it starts from the weights; without a graph."""
    for name in sorted(set(named_optimizers()) - {"Muon"}):
        variables = [keras.Variable(np.zeros((0, 3)), name="kernel"), keras.Variable(np.ones((2, 2)), name="kernel")]
        optimizer = named(name)()
        for _ in range(2):
            optimizer.apply([keras.ops.zeros((0, 3)), keras.ops.ones((2, 2))], variables)
        assert np.all(np.isfinite(variables[1].numpy())), name


def test_large_tensors_are_changed_in_place_one_after_another() -> None:
    """Two of them and a few small ones, beside the bare rule, of a rule that has no kernel."""
    shapes = [(400, 300), (3,), (400, 300), (2, 2)]
    random = np.random.default_rng(0)
    values, slopes = ([random.normal(size=shape).astype("float32") for shape in shapes] for _ in range(2))
    variables, rule = [keras.Variable(value) for value in values], rules.AMSGrad()
    optimizer = Optimizer(rule, 0.1)
    optimizer.build(variables)
    update = tf.function(lambda: optimizer.apply(slopes, variables), autograph=False)
    now, state = [tf.constant(value) for value in values], rule.init(values)

    @tf.function
    def by_rule(now, state, count):
        updates, state = rule.update([tf.constant(one) for one in slopes], state, now, tf.constant(0.1), count)
        return [one + change for one, change in zip(now, updates)], state

    for count in range(1, 4):
        update()
        now, state = by_rule(now, state, tf.constant(count, tf.int64))
    for variable, value in zip(variables, now):
        np.testing.assert_allclose(variable, value, rtol=1e-6, atol=1e-6)  # TensorFlow puts sums in another order
    operations = update.get_concrete_function().graph.get_operations()
    assert sum(one.type == "AssignAddVariableOp" for one in operations) == 2  # the large ones
    second = next(one for one in operations if one.type == "Square" and one.control_inputs)
    assert second.inputs[0].shape == (400, 300)


@pytest.mark.parametrize(
    ("rule", "arguments", "message"),
    [
        (
            rules.AdamW(),
            {"weight_decay": 0.1},
            "weight_decay must be None beside the rule's own weight decay of 0.004, got",
        ),
        (rules.ScheduleFreeSGD(), {"use_ema": True}, "use_ema must be False for ScheduleFreeSGD"),
    ],
)
def test_what_the_rule_does_is_not_done_twice(rule: rules.Rule, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Optimizer(rule, 0.1, **arguments)
    assert Optimizer(rules.AdamW(weight_decay=0), 0.1, weight_decay=0.1).weight_decay == 0.1


def test_a_packed_state_of_other_shapes_is_refused() -> None:
    store: dict[str, np.ndarray] = {}
    optimizer, other = (Optimizer(rules.Momentum(), 0.1) for _ in range(2))
    optimizer.build([keras.Variable(np.zeros(shape)) for shape in ((2, 3), (4,))])
    other.build([keras.Variable(np.zeros(shape)) for shape in ((3, 2), (4,))])
    optimizer.save_own_variables(store)
    with pytest.raises(ValueError, match="^0.velocity in the file must have the shape .3, 2., got .2, 3.[.]$"):
        other.load_own_variables(store)


@pytest.mark.parametrize("wrapper", [rules.Cautious, rules.LayerScaled, rules.Lookahead])
def test_what_changes_updates_takes_no_rule_that_follows_its_own(wrapper) -> None:
    with pytest.raises(ValueError, match="^of must be a rule without evaluation weights"):
        wrapper(rules.ScheduleFreeSGD())
