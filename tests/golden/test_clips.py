"""Clips against optax and TensorFlow."""

import numpy as np
import pytest
import tensorflow as tf

from kopt.training import clips
from kopt.values import bind, replace

DRAW = np.random.default_rng(0)
SHAPES = [(6, 4), (4,), (3, 3, 2, 5), (1,)]
GRADIENTS = [np.asarray(DRAW.normal(size=shape), "float32") for shape in SHAPES]
WEIGHTS = [0.1 * np.asarray(DRAW.normal(size=shape), "float32") for shape in SHAPES]
WEIGHTS[1][:] = 0


def tensors(arrays: list[np.ndarray]) -> list[tf.Tensor]:
    return [tf.constant(array) for array in arrays]


@pytest.mark.parametrize("limit", [0.5, 100.0])
def test_global_norm_and_adaptive_are_optaxs(limit: float) -> None:
    optax = pytest.importorskip("optax")
    pairs = [
        (clips.GlobalNorm(limit), optax.clip_by_global_norm(limit)),
        (clips.Adaptive(limit, epsilon=0.05), optax.adaptive_grad_clip(limit, eps=0.05)),
    ]
    for ours, theirs in pairs:
        expected, _ = theirs.update(GRADIENTS, theirs.init(WEIGHTS), WEIGHTS)
        for one, other in zip(ours(tensors(GRADIENTS), tensors(WEIGHTS)), expected):
            np.testing.assert_allclose(one, other, rtol=2e-6)


@pytest.mark.parametrize("limit", [0.5, 100.0])
def test_norm_and_value_are_tensorflows(limit: float) -> None:
    for one, gradient in zip(clips.Norm(limit)(tensors(GRADIENTS), tensors(WEIGHTS)), GRADIENTS):
        np.testing.assert_allclose(one, tf.clip_by_norm(gradient, limit), rtol=1e-6)
    for one, gradient in zip(clips.ClipValue(limit)(tensors(GRADIENTS), tensors(WEIGHTS)), GRADIENTS):
        np.testing.assert_array_equal(one, np.clip(gradient, -limit, limit))


@pytest.mark.parametrize("clip", [clips.GlobalNorm(0.5), clips.Norm(0.5), clips.ClipValue(0.1), clips.Adaptive(0.05)])
def test_scaled_gradients_are_clipped_alike(clip: clips.GradientClip) -> None:
    once = clip(tensors(GRADIENTS), tensors(WEIGHTS))
    scaled = clip([1024 * gradient for gradient in tensors(GRADIENTS)], tensors(WEIGHTS), tf.constant(1024.0))
    for one, other in zip(once, scaled):
        np.testing.assert_allclose(other / 1024, one, rtol=1e-6)


@pytest.mark.parametrize("clip", [clips.GlobalNorm(0.5), clips.Norm(0.5), clips.ClipValue(0.1), clips.Adaptive(0.05)])
def test_mapped_over_limits_equals_single_calls(clip: clips.GradientClip) -> None:
    """The law of values."""
    limits = np.array([0.01, 0.5, 3.0])
    mapped = tf.vectorized_map(
        lambda limit: tuple(bind(clip, {"limit": limit})(tensors(GRADIENTS), tensors(WEIGHTS))),
        tf.constant(limits),
    )
    for place, limit in enumerate(limits):
        single = replace(clip, {"limit": limit})(tensors(GRADIENTS), tensors(WEIGHTS))
        for one, other in zip(single, mapped):
            np.testing.assert_allclose(other[place], one, rtol=2e-6)


def test_zero_gradients_stay_zero() -> None:
    zeros = [np.zeros_like(gradient) for gradient in GRADIENTS]
    for clip in (clips.GlobalNorm(1.0), clips.Norm(1.0), clips.ClipValue(1.0), clips.Adaptive()):
        assert all(not np.any(one) for one in clip(tensors(zeros), tensors(zeros)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: clips.GlobalNorm(0), "limit must be > 0, got 0.0."),
        (lambda: clips.Adaptive(0.1, epsilon=0), "epsilon must be > 0, got 0.0."),
    ],
)
def test_bad_arguments_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value) == message
