"""What rules with two running means share, and numbers out of range."""

import numpy as np
import pytest
import tensorflow as tf

from kopt import rules
from kopt.rules.moments import decayed, positive, root_share

SMALL = [
    rules.NAdamW(weight_decay=0),
    rules.Adan(),
    rules.RAdam(),
    rules.AdaMax(),
    rules.AMSGrad(),
    rules.AdaBelief(),
    rules.Yogi(initial=0),
    rules.LaProp(),
    rules.ADOPT(),
    rules.AdEMAMix(),
    rules.MARS(),
]


@pytest.mark.parametrize("rule", SMALL, ids=repr)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_gradient_of_zero_moves_nothing_in_any_dtype(rule: rules.Rule, dtype: str) -> None:
    """Their epsilons are 0 in float16."""
    parameters = [tf.ones(3, dtype)]
    state = rule.init(parameters)
    for count in (1, 2, 7):
        updates, state = rule.update([tf.zeros(3, dtype)], state, parameters, 0.1, count)
        np.testing.assert_array_equal(updates[0], np.zeros(3))


def test_positive_is_exact_where_it_can_be() -> None:
    assert positive(1e-8, tf.zeros((), "float32")) == np.float32(1e-8)
    assert positive(0.5, tf.zeros((), "float16")) == 0.5
    assert positive(1e-8, tf.zeros((), "float16")) == np.float16(6e-8) > 0


def test_a_root_is_corrected_by_scalars() -> None:
    m, v, epsilon, share = 0.3, 0.002, 1e-3, root_share(0.9, 4)
    textbook = m / (np.sqrt(v / (1 - 0.9**4)) + epsilon)
    np.testing.assert_allclose(m * share / (np.sqrt(v) + epsilon * share), textbook, rtol=1e-14)


def test_a_decay_of_zero_costs_nothing_and_a_tensor_is_subtracted() -> None:
    update, parameter = tf.constant([1.0]), tf.constant([2.0])
    assert decayed(update, parameter, 0.0, 0.5) is update
    for decay in (0.1, tf.constant(0.1, "float64")):
        np.testing.assert_allclose(decayed(update, parameter, decay, 0.5), [0.9], rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: rules.Lion(1), r"beta_1 must be in \[0, 1\), got 1"),
        (lambda: rules.NAdamW(epsilon=-1), "epsilon must be >= 0, got -1"),
        (lambda: rules.Adan(beta_3=1), r"beta_3 must be in \[0, 1\), got 1"),
        (lambda: rules.RAdam(weight_decay=-1), "weight_decay must be >= 0, got -1"),
        (lambda: rules.AdaMax(beta_2=-0.1), r"beta_2 must be in \[0, 1\), got -0.1"),
        (lambda: rules.AMSGrad(2), r"beta_1 must be in \[0, 1\), got 2"),
        (lambda: rules.AdaBelief(epsilon=-1), "epsilon must be >= 0, got -1"),
        (lambda: rules.Yogi(initial=-1), "initial must be >= 0, got -1"),
        (lambda: rules.LaProp(beta_2=1), r"beta_2 must be in \[0, 1\), got 1"),
        (lambda: rules.ADOPT(beta_2=1), r"beta_2 must be in \[0, 1\), got 1"),
        (lambda: rules.AdEMAMix(alpha=-1), "alpha must be >= 0, got -1"),
        (lambda: rules.AdEMAMix(warmup_steps=0), "warmup_steps must be >= 1 or None, got 0"),
        (lambda: rules.MARS(gamma=-1), "gamma must be >= 0, got -1"),
    ],
)
def test_a_number_out_of_range_is_refused(make, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()
