"""What single rules promise beyond their formulas."""

import numpy as np
import tensorflow as tf

from kopt.rules import ADOPT, AGC, MARS, AdEMAMix, GradientDescent, Lion, RAdam, SignSGD, Yogi


def test_the_half_life_of_ademamix_grows_linearly_to_that_of_beta_3() -> None:
    rule = AdEMAMix(0.9, beta_3=0.9999, alpha=8, warmup_steps=100)
    found = [rule.of_slow(count) for count in (0, 25, 50, 100, 1000)]
    lives = [1 / np.log(float(factor)) for factor, _ in found]
    start, end = 1 / np.log(0.9), 1 / np.log(0.9999)
    wanted = [start + share * (end - start) for share in (0, 0.25, 0.5, 1, 1)]
    np.testing.assert_allclose(lives, wanted, rtol=1e-9)
    np.testing.assert_allclose([float(weight) for _, weight in found], [0, 2, 4, 8, 8])


def test_ademamix_warms_up_from_a_factor_of_zero() -> None:
    factor, _ = AdEMAMix(0, beta_3=0.99, warmup_steps=10).of_slow(5)
    assert 0.9 < float(factor) < 0.99


def test_the_first_update_of_adopt_only_sets_the_square() -> None:
    rule, parameters = ADOPT(), [tf.constant([1.0, 2.0])]
    updates, state = rule.update([tf.constant([3.0, -4.0])], rule.init(parameters), parameters, 0.1, 1)
    np.testing.assert_array_equal(updates[0], [0, 0])
    np.testing.assert_array_equal(state[0]["velocity"], [9, 16])


def test_mars_clips_each_tensor_by_its_norm() -> None:
    rule, parameters = MARS(0.5, gamma=1), [tf.zeros(2), tf.zeros(2)]
    gradients = [tf.constant([30.0, 40.0]), tf.constant([0.03, 0.04])]
    _, state = rule.update(gradients, rule.init(parameters), parameters, 0.1, 1)
    np.testing.assert_allclose(state[0]["momentum"], [0.3, 0.4], rtol=1e-6)  # (1 - beta_1) * 2 * gradient / norm
    np.testing.assert_allclose(state[1]["momentum"], [0.03, 0.04], rtol=1e-6)


def test_mars_takes_the_norm_of_half_precision_in_float32() -> None:
    rule, parameters = MARS(), [tf.zeros(2, "float16")]
    _, state = rule.update([tf.constant([600, 800], "float16")], rule.init(parameters), parameters, 0.1, 1)
    np.testing.assert_allclose(state[0]["momentum"], [0.03, 0.04], rtol=2e-3)


def test_radam_adapts_from_the_sixth_update_on() -> None:
    adapted = [bool(RAdam().rectification(count)[0]) for count in range(1, 9)]
    assert adapted == [False] * 5 + [True] * 3
    assert not any(bool(RAdam(beta_2=0.6).rectification(count)[0]) for count in (1, 10, 1000))


def test_yogi_survives_two_infinite_squares() -> None:
    rule, parameters = Yogi(), [tf.zeros(1)]
    state = rule.init(parameters)
    for count in (1, 2, 3):
        updates, state = rule.update([tf.constant([1e30])], state, parameters, 0.1, count)
        assert np.isfinite(updates[0].numpy()).all()


def test_steps_by_sign_are_of_one_size_and_rest_at_zero() -> None:
    for rule in (SignSGD(), Lion()):
        parameters = [tf.zeros(3)]
        updates, _ = rule.update([tf.constant([1e-20, -5.0, 0.0])], rule.init(parameters), parameters, 0.5, 1)
        np.testing.assert_array_equal(updates[0], [-0.5, 0.5, 0])


def test_a_bound_gradient_of_any_size_keeps_its_bound() -> None:
    """Its squares are no float32 numbers."""
    gradient, parameter = tf.constant([3e30, 4e30]), tf.constant([1.0, 0.0])
    _, state = MARS(0.5, gamma=1).update([gradient], MARS().init([parameter]), [parameter], 0.1, 1)
    np.testing.assert_allclose(state[0]["momentum"], [0.3, 0.4], rtol=1e-6)  # half of a vector of length 1
    (update,), _ = AGC(GradientDescent(), 0.5).update([gradient], [{}], [parameter], 1.0, 1)
    np.testing.assert_allclose(update, [-0.3, -0.4], rtol=1e-6)
