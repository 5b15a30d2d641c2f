"""minimize: what it takes, changes and refuses."""

import numpy as np
import pytest
import tensorflow as tf

from kopt.rules import Adam, GradientDescent
from kopt.schedules import Cosine
from kopt.training import minimize


def test_variables_are_changed_in_place_and_the_loss_takes_nothing() -> None:
    theta = tf.Variable(0.0)
    found = minimize(lambda: (theta - 3) ** 2, theta, GradientDescent(), rate=0.1, steps=100)
    assert found.parameters is theta and float(theta) == pytest.approx(3)
    pair = [tf.Variable(0.0), tf.Variable([0.0, 0.0], dtype="float32")]
    found = minimize(lambda: (pair[0] - 3) ** 2 + tf.reduce_sum((pair[1] - 1) ** 2), pair, Adam(), rate=0.1, steps=300)
    assert found.parameters == tuple(pair)
    np.testing.assert_allclose(pair[1], [1, 1], atol=1e-3)


def test_double_precision_stays() -> None:
    found = minimize(lambda w: tf.reduce_sum((w - np.pi) ** 2), np.zeros(2), GradientDescent(), rate=0.4, steps=100)
    assert found.parameters.dtype == np.float64
    np.testing.assert_allclose(found.parameters, np.pi, atol=1e-14)


def test_an_open_schedule_ends_with_the_steps() -> None:
    found = minimize(lambda w: w, 0.0, GradientDescent(), rate=Cosine(0.1), steps=10)
    assert float(found.parameters) == pytest.approx(-float(np.sum(Cosine(0.1, duration=10).table(10))), rel=1e-6)


def square(w):
    return tf.reduce_sum(w**2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: minimize(lambda w: tf.constant(1.0), 0, Adam(), rate=0.1, steps=3),
            "loss must depend on parameter 0 (counted from 0), got 'no gradient'.",
        ),
        (
            lambda: minimize(lambda a, b: a**2, (0, 0), Adam(), rate=0.1, steps=3),
            "loss must depend on parameter 1 (counted from 0), got 'no gradient'.",
        ),
        (lambda: minimize(lambda w: w**2, [0.0, 1.0], Adam(), rate=0.1, steps=3), "loss must give a scalar, got (2,)."),
        (
            lambda: minimize(square, tf.Variable(1, name="count"), Adam(), rate=0.1, steps=3),
            "count must hold floats, got 'int32'.",
        ),
        (
            lambda: minimize(lambda a, b: a**2, 0, Adam(), rate=0.1, steps=3),
            "loss must take 1 arguments by place, got one that takes (a, b).",
        ),
        (
            lambda: minimize(lambda a: a**2, (0, 0), Adam(), rate=0.1, steps=3),
            "loss must take 2 arguments by place, got one that takes (a).",
        ),
        (
            lambda: minimize(lambda a: a**2, tf.Variable(0.0), Adam(), rate=0.1, steps=3),
            "loss must take no argument, for start is variables, got one that takes (a).",
        ),
        (lambda: minimize(3, 0, Adam(), rate=0.1, steps=3), "loss must be a function, got 3."),
        (lambda: minimize(square, 0, "adam", rate=0.1, steps=3), "rule must be a kopt rule, got 'adam'."),
        (lambda: minimize(square, 0, Adam(), rate=-1, steps=3), "rate must be >= 0, got -1.0."),
        (lambda: minimize(square, 0, Adam(), rate=0.1, steps=0), "steps must be a whole number >= 1, got 0."),
        (lambda: minimize(square, (), Adam(), rate=0.1, steps=3), "start must not be empty, got ()."),
        (lambda: minimize(square, "a", Adam(), rate=0.1, steps=3), "start must be numbers, got 'a'."),
        (lambda: minimize(square, float("nan"), Adam(), rate=0.1, steps=3), "start must be finite, got nan."),
    ],
)
def test_bad_arguments_are_refused(call, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == message


def test_a_refused_start_changes_nothing() -> None:
    good, bad = tf.Variable(1.0), tf.Variable(1)
    with pytest.raises(ValueError, match="must hold floats"):
        minimize(lambda: good**2, [good, bad], Adam(), rate=0.1, steps=3)
    assert float(good) == 1
