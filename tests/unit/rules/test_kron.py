"""PSGD-Kron: what its factors make white, when they stay, and the signs that move them."""

import numpy as np
import pytest
import tensorflow as tf

from kopt.rules import Kron
from kopt.rules.kron import largest_eigenvalue
from kopt.rules.low_rank import random_signs
from kopt.values.types import Nest


def run(rule: Kron, gradients: list[np.ndarray]) -> tuple[list[np.ndarray], Nest]:
    """The updates at rate 1 of a parameter of zeros, and the state after them."""
    start = tf.zeros(gradients[0].shape)
    state, found = rule.init([start]), []
    update = tf.function(lambda gradient, state, count: rule.update([gradient], state, [start], 1.0, count))
    for count, gradient in enumerate(gradients, 1):
        (step,), state = update(tf.constant(gradient, "float32"), state, tf.constant(count))
        found.append(step.numpy())
    return found, state


def test_steps_are_white_where_gradients_are_correlated() -> None:
    """Gradients are L z R, z of normal numbers: their covariance has eigenvalues from 1e-4 to 1e4."""
    random = np.random.default_rng(0)
    left, right = (np.diag(np.logspace(-1, 1, size)) @ orthogonal(size, random) for size in (4, 3))
    gradients = [left.T @ random.normal(size=(4, 3)) @ right for _ in range(700)]
    ratios = []
    for mode in ("none", "all_diag"):
        steps = np.reshape(run(Kron(0.0, clip=1e3, memory_save_mode=mode), gradients)[0][300:], (400, 12))
        assert 0.5 < np.sqrt(np.mean(steps**2)) < 2
        values = np.linalg.eigvalsh(steps.T @ steps)
        ratios.append(values[-1] / values[0])
    assert ratios[0] < 30 and ratios[1] > 1e5


def orthogonal(size: int, random: np.random.Generator) -> np.ndarray:
    return np.linalg.qr(random.normal(size=(size, size)))[0]


@pytest.mark.parametrize("wrong", [0.0, np.nan, np.inf])
def test_a_gradient_without_numbers_leaves_the_factors(wrong: float) -> None:
    rule, random = Kron(of_momentum=False), np.random.default_rng(0)
    gradients = [random.normal(size=(4, 3)) for _ in range(3)]
    _, before = run(rule, gradients)
    _, after = run(rule, [*gradients, np.full((4, 3), wrong)])
    for name, factor in before[0]["factors"].items():
        assert np.any(factor != tf.eye(factor.shape[0]))
        np.testing.assert_array_equal(after[0]["factors"][name], factor)


@pytest.mark.parametrize("shape", [(4, 3), ()])
def test_a_parameter_whose_gradients_stop_and_come_back_takes_steps_of_usual_size(shape: tuple[int, ...]) -> None:
    """The momentum falls to the least of float32, the factors follow to 1e19, and their squares times 1e3 overflow."""
    random, still = np.random.default_rng(0), 1000
    gradients = [random.normal(size=shape) * (place < 5 or 1e3 * (place >= still)) for place in range(still + 100)]
    steps, state = run(Kron(), gradients)
    sizes = np.array([np.sqrt(np.mean(step**2)) for step in steps])
    assert np.all(np.isfinite(sizes)) and sizes.max() <= 1.1 * (1 + 1e-5)
    assert all(np.all(np.isfinite(factor)) for factor in state[0]["factors"].values())
    assert 0.1 < np.median(sizes[-100:]) and np.median(sizes[-100:]) <= 1.1 * (1 + 1e-5)


def test_a_step_is_as_large_as_clip_at_most() -> None:
    for clip in (0.5, 2.0):
        first = run(Kron(clip=clip), [np.full((4, 3), 1e30)])[0][0]
        np.testing.assert_allclose(first, np.full((4, 3), -clip), rtol=0.5)
        np.testing.assert_allclose(np.sqrt(np.mean(first**2)), clip, rtol=1e-5)


def test_which_axes_have_vectors() -> None:
    shapes = [(5, 3), (4, 4), (4,), (2, 1, 7), (), (0, 3)]

    def ranks(rule: Kron) -> list[list[int]]:
        return [
            [len(factor.shape) for factor in one["factors"].values()]
            for one in rule.init([tf.zeros(shape) for shape in shapes])
        ]

    assert ranks(Kron()) == [[2, 2], [2, 2], [1], [2, 1, 2], [1], []]
    assert ranks(Kron(largest=4, vectors=True)) == [[1, 2], [2, 2], [2], [2, 1, 1], [1], []]
    assert ranks(Kron(memory_save_mode="one_diag")) == [[1, 2], [2, 1], [1], [2, 1, 1], [1], []]
    assert ranks(Kron(memory_save_mode="smart_one_diag", vectors=True)) == [[1, 2], [2, 2], [2], [2, 1, 1], [1], []]
    assert ranks(Kron(memory_save_mode="all_diag")) == [[1, 1], [1, 1], [1], [1, 1, 1], [1], []]


def test_signs_are_as_those_of_coins_over_places_updates_and_seeds() -> None:
    """Means over places, over updates and of the products of two updates' or seeds' are those of independent signs."""
    signs = np.stack([random_signs(1, 64, tf.constant(number)).numpy().ravel() for number in range(1, 257)])
    assert set(np.unique(signs)) == {-1, 1}
    assert np.abs(signs.mean(0)).max() < 5 / 16 and np.abs(signs.mean(1)).max() < 5 / 8
    products = signs.T @ signs / 256 - np.eye(64)
    assert np.abs(products).max() < 5.5 / 16 and 0.8 < products.std() * 16 < 1.2
    one, other = (run(Kron(seed=seed), [np.eye(3)])[1][0]["factors"]["axis_0"] for seed in (0, 1))
    assert np.any(one != other)


def test_the_bound_of_the_largest_eigenvalue() -> None:
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    for values in (np.ones(6), np.logspace(-4, 0, 6), np.array([0, 0, 0, 0, 1, 1.1])):
        matrix = basis @ np.diag(values) @ basis.T
        found = float(largest_eigenvalue(tf.constant(matrix)))
        assert 0.9 * values.max() <= found <= values.max() * (1 + 1e-9)
