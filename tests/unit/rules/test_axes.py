"""Matrices of statistics: roots, bases, and the parts of updates that are lazy."""

from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt.optimizers import Optimizer
from kopt.rules import SOAP, Rule, Shampoo
from kopt.rules.axes import finite_or, inverse_root, lazily
from kopt.values import bind

RULES = [SOAP(0.9, 0.9, every=2), Shampoo(0.9, 0.9, start=1, every=2, graft="rmsprop", matrix_epsilon=1e-3)]


def definite(size: int, *, power: float = 1.0, seed: int = 0) -> np.ndarray:
    """A symmetric matrix with eigenvalues from 1e-4 to 1, to a power."""
    basis = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]
    return basis @ np.diag(np.logspace(-4, 0, size) ** power) @ basis.T


@pytest.mark.parametrize("power", [2, 4, 6])
@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
def test_the_inverse_root_is_that_of_the_eigenvalues(power: int, scale: float) -> None:
    matrices = tf.constant(scale * np.stack([definite(6), definite(6, seed=1)]), "float32")
    for found, seed in zip(inverse_root(matrices, power, 0.0).numpy(), (0, 1)):
        wanted = definite(6, power=-1 / power, seed=seed) * scale ** (-1 / power)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-3 * np.abs(wanted).max())


def test_a_matrix_that_overflows_leaves_the_old_one() -> None:
    old = tf.eye(2)
    np.testing.assert_array_equal(finite_or(tf.constant([[1.0, np.inf], [0, 1]]), old), old)
    np.testing.assert_array_equal(finite_or(old * 2, old), old * 2)


def test_what_is_not_due_is_not_computed() -> None:
    calls = tf.Variable(0)

    def new() -> tf.Tensor:
        with tf.control_dependencies([calls.assign_add(1)]):
            return tf.constant(2.0)

    @tf.function
    def run(count: tf.Tensor) -> tf.Tensor:
        return lazily(count % 3 == 0, new, tf.constant(1.0))

    assert [float(run(tf.constant(count))) for count in range(1, 8)] == [1, 1, 2, 1, 1, 2, 1]
    assert int(calls) == 2


def steps_of(rule: Rule) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    """Five updates in a loop, in which the count is a tensor, as in training; for a factor of the rates."""

    def run(share: tf.Tensor) -> list[tf.Tensor]:
        random = np.random.default_rng(0)
        gradients = [tf.constant(random.normal(size=(6, *shape)), "float32") for shape in ((2, 3),)]
        member = bind(rule, {"beta_1": share * rule.beta_1})

        def step(count: tf.Tensor, parameters: list[tf.Tensor], state: object) -> tuple[object, ...]:
            now = [one[count] for one in gradients]
            updates, state = member.update(now, state, parameters, tf.cast(0.1, "float64") * share, count)
            return count + 1, [one + update for one, update in zip(parameters, updates)], state

        parameters = [one[0] for one in gradients]
        loop = (tf.constant(1), parameters, member.init(parameters))
        return tf.while_loop(lambda count, *_: count < 6, step, loop)[1]

    return run


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_lazy_parts_are_right_when_mapped_and_compiled(rule: Rule) -> None:
    """The count is a tensor in the program, so both branches are; it is one for all members."""
    run, shares = steps_of(rule), tf.constant([0.6, 1.0], tf.float64)
    wanted = [run(share) for share in tf.unstack(shares)]
    for jit in (False, True):
        found = tf.function(lambda numbers: tf.vectorized_map(run, numbers), jit_compile=jit)(shares)
        for place, one in enumerate(wanted):
            for mapped, alone in zip(found, one):
                np.testing.assert_allclose(mapped[place], alone, rtol=5e-4, atol=5e-5)


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_compiled_training_in_fit_also_of_a_square_matrix_in_half_precision(rule: Rule) -> None:
    """Keras makes a state variable of the shape of its parameter in the dtype of that."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(4, "tanh", dtype="bfloat16"), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile(Optimizer(rule, 0.01), "mse", jit_compile=True)
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    losses = model.fit(x, x[:, :1] * 0.5, epochs=6, batch_size=16, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]


def test_limits_of_sizes() -> None:
    kernel, bias, window = (tf.zeros(shape) for shape in ((5, 3), (4,), (2, 1, 7)))
    assert [list(one["bases"]) for one in SOAP(largest=4).init([kernel, bias, window])] == [["axis_1"], [], ["axis_0"]]
    assert list(SOAP(vectors=True).init([bias])[0]["bases"]) == ["axis_0"]
    shampoo = Shampoo(block=2, largest=5).init([kernel, bias, window])
    sizes = [[matrix.shape[0] for matrix in one["roots"].values()] for one in shampoo]
    assert sizes == [[2, 2, 2, 1, 2, 2, 2, 1, 1, 2, 1, 1], [], []]
