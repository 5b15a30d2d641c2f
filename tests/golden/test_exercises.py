"""The textbook's exercises, each against its closed form."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt import rules
from kopt.callbacks import LearningRate
from kopt.optimizers import Optimizer
from kopt.regularizers import L2, attach
from kopt.schedules import Step
from kopt.training import Loop, minimize

X = np.linspace(-1, 3, 100).astype("float32")
Y = 2 * X + 1


def test_one_parameter_from_an_integer_zero() -> None:
    x = np.array([1, 2, 3, 4], "float32")
    for start in (0, np.zeros((), "int64"), 0.0):
        found = minimize(
            lambda theta: tf.reduce_mean((theta * x - 2 * x) ** 2),
            start,
            rules.GradientDescent(),
            rate=0.01,
            steps=1000,
        )
        assert float(found.parameters) == pytest.approx(2, abs=1e-6)
        assert found.losses.shape == (1000,) and found.losses[0] == pytest.approx(np.mean((2 * x) ** 2))


def test_the_path_of_gradient_descent() -> None:
    """On a square, theta_k = 2 - 2 (1 - 2 rate mean(x ** 2)) ** k, and the loss is taken at every step."""
    x = np.array([1, 2, 3, 4], "float32")
    found = minimize(
        lambda theta: tf.reduce_mean((theta * x - 2 * x) ** 2), 0, rules.GradientDescent(), rate=0.01, steps=20
    )
    gaps = 2 * (1 - 0.02 * np.mean(x**2)) ** np.arange(21)
    assert float(found.parameters) == pytest.approx(2 - gaps[-1], rel=1e-6)
    np.testing.assert_allclose(found.losses, np.mean(x**2) * gaps[:-1] ** 2, rtol=1e-5)


def test_a_slope_alone_is_least_squares() -> None:
    found = minimize(
        lambda theta: tf.reduce_mean((theta * X - Y) ** 2), 0, rules.GradientDescent(), rate=0.05, steps=1000
    )
    assert float(found.parameters) == pytest.approx(float(X @ Y / (X @ X)), rel=1e-6)


def test_slope_and_intercept() -> None:
    found = minimize(
        lambda a, b: tf.reduce_mean((a * X + b - Y) ** 2), (0, 0), rules.GradientDescent(), rate=0.05, steps=1000
    )
    np.testing.assert_allclose(found.parameters, (2, 1), atol=1e-5)


@pytest.mark.parametrize("samples", [None, 100])
def test_l2_is_ridge_regression(samples: int | None) -> None:
    """(X'X / n + strength I) w = X'y / n, by minimize and by a Keras model with the penalty attached."""
    x = np.random.default_rng(0).normal(size=(100, 3)).astype("float32")
    y = x @ [1.0, -2.0, 0.5] + 0.1 * np.random.default_rng(1).normal(size=100).astype("float32")
    penalty = L2(0.01, samples=samples)
    factor = 0.01 if samples is None else 0.01 / (2 * samples)
    closed_form = np.linalg.solve(x.T @ x / 100 + factor * np.eye(3), x.T @ y / 100)
    found = minimize(
        lambda w: tf.reduce_mean((tf.linalg.matvec(x, w) - y) ** 2) + penalty(w),
        [0, 0, 0],
        rules.GradientDescent(),
        rate=0.1,
        steps=1000,
    )
    np.testing.assert_allclose(found.parameters, closed_form, atol=1e-6)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(Optimizer(rules.GradientDescent(), 0.1), "mse")
    attach(model, penalty)
    Loop(model).fit(x, y[:, None], batch_size="full", epochs=500, verbose=0)
    np.testing.assert_allclose(model.get_weights()[0][:, 0], closed_form, atol=1e-6)


def test_the_rate_times_nine_tenths_every_100_epochs(network, points) -> None:
    for schedule in (
        LearningRate("step", rate=0.05, decay=0.9, every=100, unit="epoch"),
        LearningRate(Step(0.05, 0.9, every=100)),
    ):
        model = network(Optimizer(rules.GradientDescent()))
        history = Loop(model).fit(*points, batch_size="full", epochs=250, callbacks=[schedule], verbose=0).history
        np.testing.assert_allclose(history["learning_rate"], 0.05 * 0.9 ** (np.arange(250) // 100), rtol=1e-6)


def test_the_path_under_a_decayed_rate() -> None:
    x = np.array([1, 2, 3, 4], "float32")
    found = minimize(
        lambda theta: tf.reduce_mean((theta * x - 2 * x) ** 2),
        0,
        rules.GradientDescent(),
        rate=Step(0.01, 0.5, every=10),
        steps=30,
    )
    shrink = np.prod([(1 - 2 * rate * np.mean(x**2)) ** 10 for rate in (0.01, 0.005, 0.0025)])
    assert float(found.parameters) == pytest.approx(2 - 2 * shrink, rel=1e-6)


@pytest.mark.parametrize(
    ("rule", "batch_size", "updates"),
    [
        (rules.GradientDescent(), "full", 1),
        (rules.Momentum(0.9), 64, 2),
        (rules.Nesterov(0.9), 1, 100),
        (rules.Adam(), 64, 2),
    ],
)
def test_updates_an_epoch(rule, batch_size, updates: int, network, points) -> None:
    model = network(Optimizer(rule, 0.001))
    Loop(model).fit(*points, batch_size=batch_size, epochs=3, verbose=0)
    assert int(model.optimizer.iterations) == 3 * updates


def test_gradients_never_carry_over(network, points) -> None:
    """Two full-batch steps equal two gradients taken by hand, each at the weights of its own time."""
    x, y = points
    model, hand = network(Optimizer(rules.GradientDescent(), 0.1)), network()
    Loop(model).fit(x, y, batch_size="full", epochs=2, verbose=0)
    for _ in range(2):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((hand(x) - y) ** 2)
        for weight, gradient in zip(hand.trainable_weights, tape.gradient(loss, hand.trainable_weights)):
            weight.assign_sub(0.1 * gradient)
    for one, other in zip(model.get_weights(), hand.get_weights()):
        np.testing.assert_allclose(one, other, atol=1e-6)
