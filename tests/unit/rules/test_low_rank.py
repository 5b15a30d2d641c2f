"""GaLore: gradients that cannot be decomposed."""

import numpy as np
import pytest
import tensorflow as tf

from kopt.rules import GaLore

RULE = GaLore(beta_1=0.0, beta_2=0.0, rank=1, every=3, scale=1.0)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_leaves_the_projection_as_it_is(wrong: float, jit: bool) -> None:
    """The first, for which there is none, and one at which the next is due: the update after it is as without."""
    update = tf.function(
        lambda gradient, state, count: RULE.update([gradient], state, [start], 0.1, count), jit_compile=jit
    )
    start = tf.zeros((4, 3))
    gradients = [tf.constant(np.random.default_rng(seed).normal(size=(4, 3)), "float32") for seed in range(2)]
    bad = tf.tensor_scatter_nd_update(gradients[0], [[1, 2]], [wrong])

    _, state = update(bad, RULE.init([start]), tf.constant(1))
    np.testing.assert_array_equal(state[0]["projector"], np.zeros((3, 1)))
    state[0] |= {name: tf.zeros_like(state[0][name]) for name in ("momentum", "velocity")}
    found, state = update(gradients[0], state, tf.constant(2))
    fresh, _ = update(gradients[0], RULE.init([start]), tf.constant(1))
    np.testing.assert_allclose(found[0], fresh[0], rtol=1e-5, atol=1e-7)

    _, after = update(bad, state, tf.constant(4))
    np.testing.assert_array_equal(after[0]["projector"], state[0]["projector"])
    np.testing.assert_allclose(tf.norm(after[0]["projector"]), 1.0, rtol=1e-5)
