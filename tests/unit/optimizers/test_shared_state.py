"""Rules whose state all parameters share, through Keras' optimizer: weights without gradients, XLA, new weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt.optimizers import Optimizer
from kopt.rules import (
    DAdaptAdam,
    DoG,
    GradientDescent,
    Mechanic,
    Prodigy,
    Rule,
    ScheduleFreeAdamW,
    ScheduleFreeRAdam,
)
from kopt.training import Loop

RULES = [
    Prodigy(d0=1e-3),
    DAdaptAdam(d0=1e-3),
    DoG(1e-3),
    DoG(1e-3, layerwise=True),
    Mechanic(GradientDescent(), first_scale=1e-2),
]
HOW = {"batch_size": 20, "epochs": 2, "shuffle": False, "verbose": 0}
every_rule = pytest.mark.parametrize("rule", RULES, ids=repr)


def updated(rule: Rule, start: list[np.ndarray], built: list[np.ndarray] | None = None) -> list[np.ndarray]:
    """The first of some weights after five updates; only that one has gradients."""
    weights = [keras.Variable(value) for value in built or start]
    optimizer = Optimizer(rule, 1.0)
    optimizer.build(weights)
    for weight, value in zip(weights, start):
        weight.assign(value)
    for _ in range(5):
        gradient = 2 * (keras.ops.convert_to_tensor(weights[0]) - 3)
        if len(weights) == 1:
            optimizer.apply([gradient])
        else:
            with pytest.warns(UserWarning, match="Gradients do not exist"):
                optimizer.apply([gradient, *[None] * (len(weights) - 1)])
    return weights[0].numpy()


@every_rule
def test_a_weight_without_gradients_changes_nothing_of_the_others(rule: Rule) -> None:
    """Its size counts where the formula begins with the norm of the start: it is 0 here."""
    alone = updated(rule, [np.array([1.0, 2.0])])
    np.testing.assert_allclose(updated(rule, [np.array([1.0, 2.0]), np.zeros(3)]), alone, rtol=1e-6)


@every_rule
def test_the_start_is_where_the_first_update_finds_the_weights(rule: Rule) -> None:
    fresh = updated(rule, [np.array([1.0, 2.0])])
    np.testing.assert_array_equal(updated(rule, [np.array([1.0, 2.0])], built=[np.array([50.0, -7.0])]), fresh)


@every_rule
def test_a_weight_whose_gradients_come_later_starts_where_the_first_one_finds_it(rule: Rule) -> None:
    """It may be set until then; and it moves as one that had gradients of 0, which change no number of the others."""

    def trained(built: list[float], before: list[float] | None) -> list[np.ndarray]:
        early, late = keras.Variable([0.5, -0.5]), keras.Variable(built)
        optimizer = Optimizer(rule, 1.0)
        optimizer.build([early, late])
        late.assign([1.0, 2.0])
        for update in range(6):
            gradients = [2 * (keras.ops.convert_to_tensor(one) - 3) for one in (early, late)]
            if update < 3 and before is None:
                with pytest.warns(UserWarning, match="Gradients do not exist"):
                    optimizer.apply([gradients[0], None])
            else:
                optimizer.apply([gradients[0], keras.ops.zeros(2) if update < 3 else gradients[1]])
        return [early.numpy(), late.numpy()]

    usual, moved, zeros = trained([1.0, 2.0], None), trained([70.0, -9.0], None), trained([1.0, 2.0], [0.0, 0.0])
    for one, other, third in zip(usual, moved, zeros):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(one, third, rtol=1e-6)


@pytest.mark.parametrize("rule", [ScheduleFreeAdamW(), ScheduleFreeRAdam()], ids=repr)
def test_schedule_free_corrects_a_later_weight_by_its_own_count_and_averages_by_the_rules(rule) -> None:
    """Its first direction is the sign of the gradient; by the rule's count it would be 10 times that."""
    early, late = keras.Variable([1.0]), keras.Variable([1.0])
    optimizer = Optimizer(rule, 0.01)
    optimizer.build([early, late])
    for _ in range(9):
        with pytest.warns(UserWarning, match="Gradients do not exist"):
            optimizer.apply([keras.ops.ones(1), None])
    optimizer.apply([keras.ops.ones(1), keras.ops.array([4.0])])
    rates = [0.01 * float(rule.factor(tf.constant(count, "float64"))) for count in range(1, 11)]
    highest = np.maximum.accumulate(rates)
    share = highest[-1] ** 2 / np.sum(highest**2)
    np.testing.assert_allclose(late.numpy(), 1 - rates[-1] * (1 - 0.9 * (1 - share)), rtol=1e-6)


@every_rule
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(rule: Rule, dtype: str) -> None:
    weight = keras.Variable([1.0, 2.0], dtype=dtype)
    optimizer = Optimizer(rule, 1.0)
    for _ in range(20):
        optimizer.apply([2 * (keras.ops.convert_to_tensor(weight) - 3)], [weight])
    assert np.all(np.isfinite(np.asarray(weight.numpy(), "float32")))
    assert {variable.dtype for variable in optimizer.state_variables} <= {"float32", "float64"}


@every_rule
def test_xla_and_fit_train_alike(rule: Rule, network, points) -> None:
    fit, loop = network(Optimizer(rule, 1.0)), network(Optimizer(rule, 1.0))
    fit.fit(*points, **HOW)
    Loop(loop, jit=True).fit(*points, **HOW)
    for one, other in zip(fit.get_weights(), loop.get_weights()):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@every_rule
def test_the_shared_state_is_saved_by_name(rule: Rule, network, points, tmp_path) -> None:
    model = network(Optimizer(rule, 1.0))
    model.fit(*points, **HOW)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert None in model.optimizer.state_places
    assert loaded.optimizer.state_paths == model.optimizer.state_paths
    for one, other in zip(model.optimizer.state_variables, loaded.optimizer.state_variables, strict=True):
        np.testing.assert_array_equal(tf.convert_to_tensor(one), tf.convert_to_tensor(other))
