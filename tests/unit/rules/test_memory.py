"""The state of rules: how many bytes it has, and in which types Keras' optimizer keeps it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt.optimizers import Optimizer
from kopt.rules import APOLLO, LARS, SM3, Adafactor, Adam, Adam8bit, AdamMini, GaLore, NovoGrad, Rule, state_bytes

KERNEL = (512, 512)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Adam(), 8),
        (LARS(), 4),
        (NovoGrad(), 4 + 4 / 512**2),
        (AdamMini(), 4 + 4 / 512),
        (SM3(), 4 + 8 / 512),
        (Adam8bit(), 2 + 8 / 256),
        (GaLore(), 2 * 4 / 4 + 4 / 4),
        (Adafactor(), 8 / 512),
        (APOLLO(), 8 / 512 + 4 / 512**2),
    ],
    ids=repr,
)
def test_bytes_of_a_parameter_are_those_of_the_docstring(rule: Rule, expected: float) -> None:
    assert state_bytes(rule, [KERNEL]) / 512**2 == expected


def test_the_bytes_are_those_of_the_optimizer() -> None:
    shapes = [(64, 64), (3, 3, 8, 32), (64,)]
    for rule in (Adam8bit(), Adafactor(), GaLore(rank=8), APOLLO()):
        optimizer = Optimizer(rule)
        optimizer.build([keras.Variable(np.ones(shape, "float32")) for shape in shapes])
        assert sum(variable.numpy().nbytes for variable in optimizer.state_variables) == state_bytes(rule, shapes)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_codes_stay_codes_where_a_parameter_has_their_shape(dtype: str) -> None:
    parameter = keras.Variable(tf.ones(8), dtype=dtype)
    optimizer = Optimizer(Adam8bit(block=4, least=1), 0.1)
    for _ in range(2):
        optimizer.apply([tf.ones(8, dtype)], [parameter])
    assert [variable.dtype for variable in optimizer.state_variables] == ["uint8", "float32"] * 2
    assert np.all(tf.cast(parameter, "float32") < 1)


def test_a_rare_small_gradient_beside_large_ones_makes_no_large_step() -> None:
    """Its second moment would be 0 in 8 bits, and the mean of the gradient over that root 1e5."""
    rule, parameter = Adam8bit(least=1), tf.zeros(2)
    state = rule.init([parameter])
    for count in range(1, 6):
        gradient = tf.constant([1.0, 1e-4 if count == 1 else 0.0])
        updates, state = rule.update([gradient], state, [parameter], 1.0, count)
        assert np.all(np.abs(updates[0]) < 3)
