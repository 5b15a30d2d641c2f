"""Keras' Adam in fewer operations: the bits of Keras by its formula, its numbers by TensorFlow's kernel."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt.keras_internals import shorter_adam
from kopt.keras_internals.fused import is_adam

SHAPES = ((), (5,), (4, 3), (33, 17))
FORMULA, KERNEL, KERAS = False, True, None
SETTINGS = {
    "as it is": {},
    "other numbers": {"beta_1": 0.5, "beta_2": 0.99, "epsilon": 1e-3},
    "no momentum": {"beta_1": 0.0},
    "no kernel": {"beta_2": 0.9999},
    "no memory": {"beta_2": 0.0, "beta_1": 0.0},
    "clipped, averaged": {"global_clipnorm": 0.5, "use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 3},
    "accumulated": {"gradient_accumulation_steps": 3},
    "scaled": {"loss_scale_factor": 8.0, "weight_decay": 0.1},
    "a schedule": {"learning_rate": keras.optimizers.schedules.CosineDecay(0.05, 40)},
}
KINDS = {
    "Adam": keras.optimizers.Adam,
    "AdamW": keras.optimizers.AdamW,
    "in a LossScaleOptimizer": lambda **how: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(**how)),
}


def trained(make, kernel: bool | None, dtype="float32", scale=1.0, jit=False, updates=60) -> tuple[list, list]:
    """Return weights and state after updates by the same gradients, of sizes from 1e-6 to 1e3."""
    weights = [keras.Variable(np.ones(shape), dtype=dtype) for shape in SHAPES]
    optimizer, numbers = make(), np.random.default_rng(0)
    optimizer.build(weights)

    @tf.function(jit_compile=jit)
    def step(*gradients):
        with contextlib.nullcontext() if kernel is KERAS else shorter_adam([optimizer], kernel):
            optimizer.apply(list(gradients), weights)

    for _ in range(updates):
        step(*(tf.constant(scale * numbers.normal(size=s) * 10 ** numbers.uniform(-6, 3), dtype) for s in SHAPES))
    return [one.numpy() for one in weights], [one.numpy() for one in optimizer.variables]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_the_bits_of_keras_by_the_formula_and_its_numbers_by_the_kernel(kind: str, setting: str) -> None:
    make = lambda: KINDS[kind](**({"learning_rate": 0.05} | SETTINGS[setting]))
    keras_, formula, kernel = (trained(make, one) for one in (KERAS, FORMULA, KERNEL))
    for a, b in zip(sum(keras_, []), sum(formula, []), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(keras_[0], kernel[0], strict=True):
        np.testing.assert_allclose(b, a, rtol=2e-6, atol=2e-6)
    for a, b in zip(keras_[1], kernel[1], strict=True):  # a velocity is 1.3e-5 smaller
        np.testing.assert_allclose(b, a, rtol=3e-5, atol=1e-6)


def test_after_thousands_of_updates_the_kernels_steps_are_as_near() -> None:
    keras_, kernel = (trained(keras.optimizers.Adam, one, updates=3000) for one in (KERAS, KERNEL))
    for a, b in zip(keras_[0], kernel[0], strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5)


def test_in_xla() -> None:
    keras_, formula = (trained(keras.optimizers.Adam, one, jit=True) for one in (KERAS, FORMULA))
    for a, b in zip(sum(keras_, []), sum(formula, []), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-7)


def test_what_is_not_finite_in_keras_is_not_finite_here() -> None:
    for scale in (np.inf, np.nan, 1e25):  # the square of the last one is infinite
        keras_, formula, kernel = (
            trained(keras.optimizers.Adam, one, scale=scale, updates=3) for one in (KERAS, FORMULA, KERNEL)
        )
        for a, b, c in zip(*(sum(one, []) for one in (keras_, formula, kernel)), strict=True):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_array_equal(np.isfinite(a), np.isfinite(c))


def test_variables_of_float64_have_the_bits_of_keras() -> None:
    for a, b in zip(*(sum(trained(keras.optimizers.Adam, one, "float64"), []) for one in (KERAS, KERNEL)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_other_updates_are_left_alone() -> None:
    class Own(keras.optimizers.Adam):
        """Another formula, perhaps."""

    changed, assigned = keras.optimizers.Adam(), keras.optimizers.Adam()
    changed.update_step = assigned.assign_sub = print
    others = [Own(), changed, assigned, keras.optimizers.Adam(amsgrad=True), keras.optimizers.Nadam()]
    for number in (np.float64(0.9), tf.Variable(0.9), keras.Variable(0.9)):
        for name in ("beta_1", "beta_2", "epsilon"):
            others.append(keras.optimizers.Adam())
            setattr(others[-1], name, number)
    for optimizer in others:
        before = dict(vars(optimizer))
        assert not is_adam(optimizer)
        with shorter_adam([optimizer], True):
            assert vars(optimizer) == before
    assert is_adam(keras.optimizers.Adam()) and is_adam(keras.optimizers.AdamW())


def test_sparse_gradients_are_left_to_keras() -> None:
    tables = []
    for kernel in (KERAS, KERNEL):
        table, optimizer = keras.Variable(np.ones((4, 2), "float32")), keras.optimizers.Adam(0.1)
        optimizer.build([table])

        @tf.function
        def step():
            rows = tf.constant([[1.0, 2.0], [3.0, 4.0]])
            with contextlib.nullcontext() if kernel is KERAS else shorter_adam([optimizer], kernel):  # noqa: B023
                optimizer.apply([tf.IndexedSlices(rows, tf.constant([1, 1]), tf.constant([4, 2]))], [table])  # noqa: B023

        step()
        tables.append(table.numpy())
    np.testing.assert_array_equal(*tables)


def test_each_of_several_updates_in_a_step_has_its_own_rate_and_count() -> None:
    weights = {kernel: keras.Variable(np.ones(3, "float32")) for kernel in (KERAS, FORMULA, KERNEL)}
    for kernel, weight in weights.items():
        optimizer = keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5))
        optimizer.build([weight])

        @tf.function
        def step(gradient):
            with contextlib.nullcontext() if kernel is KERAS else shorter_adam([optimizer], kernel):  # noqa: B023
                for factor in (1.0, -3.0, 0.1):
                    optimizer.apply([gradient * factor], [weight])  # noqa: B023

        for _ in range(3):
            step(tf.constant([1.0, 2.0, -3.0]))
    np.testing.assert_array_equal(weights[FORMULA], weights[KERAS])
    np.testing.assert_allclose(weights[KERNEL], weights[KERAS], rtol=2e-6)


def test_a_function_of_the_users_has_no_kernel() -> None:
    """Its trace is kept, and Keras' fit would go on with it."""
    weight, optimizer = keras.Variable(np.ones(3, "float32")), keras.optimizers.Adam()
    optimizer.build([weight])
    inner = tf.function(lambda gradient: optimizer.apply([gradient], [weight]))

    def kernels(apply) -> list[str]:
        def step(gradient):
            with shorter_adam([optimizer], KERNEL):
                apply(gradient)

        graph = tf.function(step).get_concrete_function(tf.TensorSpec((3,))).graph.as_graph_def()
        return [one.signature.name for one in graph.library.function if "ResourceApplyAdam" in str(one)]

    branches = lambda gradient: tf.cond(gradient[0] > 0, lambda: optimizer.apply([gradient], [weight]), lambda: None)
    assert not kernels(inner) and len(kernels(branches)) == 1


def test_a_step_has_fewer_operations_and_the_optimizer_is_as_it_was() -> None:
    weights, optimizer = [keras.Variable(np.ones(3, "float32")) for _ in range(20)], keras.optimizers.Adam()
    optimizer.build(weights)

    def operations(kernel: bool | None) -> int:
        def step(gradient):
            with contextlib.nullcontext() if kernel is KERAS else shorter_adam([optimizer, optimizer], kernel):
                optimizer.apply([gradient] * 20, weights)

        return len(tf.function(step).get_concrete_function(tf.TensorSpec((3,))).graph.get_operations())

    assert operations(FORMULA) < operations(KERAS) * 0.6 and operations(KERNEL) < operations(KERAS) / 3
    assert "_backend_update_step" not in vars(optimizer)
