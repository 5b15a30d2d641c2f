"""Values and gradients of each regularizer against closed forms and Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt.regularizers import L1, L1L2, L2

W = np.array([[1.0, -2.0], [0.5, 3.0]], "float32")


@pytest.mark.parametrize(
    ("regularizer", "value", "gradient"),
    [
        (L1(0.1), 0.1 * 6.5, 0.1 * np.sign(W)),
        (L1(0.1, samples=5), 0.01 * 6.5, 0.01 * np.sign(W)),
        (L2(0.1), 0.1 * 14.25, 0.2 * W),
        (L2(0.1, samples=5), 0.01 * 14.25, 0.02 * W),
        (L1L2(0.1, 0.2), 0.1 * 6.5 + 0.2 * 14.25, 0.1 * np.sign(W) + 0.4 * W),
        (L1L2(0.1, 0.2, samples=5), 0.01 * 6.5 + 0.02 * 14.25, 0.01 * np.sign(W) + 0.04 * W),
    ],
    ids=repr,
)
def test_value_and_gradient(regularizer, value: float, gradient: np.ndarray) -> None:
    weights = tf.Variable(W)
    with tf.GradientTape() as tape:
        penalty = regularizer(weights)
    assert float(penalty) == pytest.approx(value, rel=1e-6)
    np.testing.assert_allclose(tape.gradient(penalty, weights), gradient, rtol=1e-6)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (L1(0.3), keras.regularizers.L1(0.3)),
        (L2(0.3), keras.regularizers.L2(0.3)),
        (L1L2(0.3, 0.2), keras.regularizers.L1L2(0.3, 0.2)),
    ],
    ids=repr,
)
def test_keras_agrees_to_the_bit(ours, theirs) -> None:
    assert float(ours(W)) == float(theirs(W))


def test_whole_numbers_are_weights_too() -> None:
    assert float(L2(0.5)([1, 2])) == 2.5 and float(L1(0.5)(np.array([1, -2]))) == 1.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: L1(-0.1), "strength must be >= 0, got -0.1."),
        (lambda: L2(0.1, samples=0), "samples must be > 0, got 0."),
        (lambda: L1L2(0.1, -0.2), "l2 must be >= 0, got -0.2."),
        (lambda: L2("0.1"), "strength must be a number, got '0.1'."),
    ],
)
def test_bad_arguments_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value) == message
