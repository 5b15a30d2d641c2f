"""Gradients of few rows: with sparse="keras" an embedding trains as in stock fit, to the bit."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, optimizers

from kopt.callbacks import GradientMonitor
from kopt.training import Loop, TrainStep, clips, skipped

# MultiOptimizer is made of others. ScheduleFreeAdamW of stock fit depends on itself being built before fit or in it:
# 0.88 apart on a network of 19 weights.
NO_ORACLE = "MultiOptimizer", "ScheduleFreeAdamW", "LossScaleOptimizer", "Optimizer"
MADE = {
    name: kind
    for name, kind in vars(optimizers).items()
    if isinstance(kind, type) and issubclass(kind, optimizers.Optimizer) and name not in NO_ORACLE
}
MADE |= {
    "scaled": lambda rate: optimizers.LossScaleOptimizer(optimizers.Adam(rate)),
    "clipnorm": lambda rate: optimizers.Adam(rate, clipnorm=0.01),
    "accumulation": lambda rate: optimizers.Adam(rate, gradient_accumulation_steps=2),
}
ROWS = np.random.default_rng(0).integers(0, 6, (40, 4))
TARGETS = np.random.default_rng(1).normal(size=(40, 1)).astype("float32")
HOW = {"batch_size": 16, "epochs": 2, "shuffle": False, "verbose": 0}


def build(optimizer):
    """An embedding whose rows occur several times in a batch."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,), dtype="int32")
    model = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(layers.Embedding(6, 3)(inputs))))
    model.compile(optimizer, "mse")
    return model


def difference(one, other) -> float:
    return max(float(np.abs(left - right).max()) for left, right in zip(one.get_weights(), other.get_weights()))


@pytest.mark.parametrize("name", MADE)
def test_every_keras_optimizer_is_that_of_fit_to_the_bit(name: str) -> None:
    fitted, looped = build(MADE[name](0.01)), build(MADE[name](0.01))
    expected = fitted.fit(ROWS, TARGETS, **HOW).history
    found = Loop(looped, jit=False, sparse="keras").fit(ROWS, TARGETS, **HOW).history
    assert difference(fitted, looped) == 0
    assert found == expected


def test_dense_gradients_differ_and_are_the_default() -> None:
    """The counter-test, by Keras' own optimizer on gradients that were made dense by hand."""
    by_hand, looped, sparse = (build(optimizers.Adam(0.01)) for _ in range(3))
    Loop(looped, jit=False).fit(ROWS, TARGETS, **HOW)
    Loop(sparse, jit=False, sparse="keras").fit(ROWS, TARGETS, **HOW)
    for start in 2 * [0, 16, 32]:
        x, y = ROWS[start : start + 16], TARGETS[start : start + 16]
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(by_hand(x) - y))
        weights = by_hand.trainable_weights
        by_hand.optimizer.apply([tf.convert_to_tensor(one) for one in tape.gradient(loss, weights)], weights)
    assert difference(by_hand, looped) <= 1e-6 < 1e-2 < difference(looped, sparse)


def test_without_a_check_in_xla() -> None:
    fitted, looped = build(optimizers.Adam(0.01)), build(optimizers.Adam(0.01))
    fitted.fit(ROWS, TARGETS, **HOW)
    Loop(looped, jit=True, sparse="keras").fit(ROWS, TARGETS, **HOW)
    assert difference(fitted, looped) <= 1e-6


@pytest.mark.parametrize("jit", [False, True])
def test_a_gradient_of_rows_that_is_not_finite_is_skipped(jit: bool) -> None:
    model, targets = build(optimizers.Adam(0.01)), TARGETS.copy()
    targets[3] = np.inf
    clean = build(optimizers.Adam(0.01))
    Loop(model, jit=jit, sparse="keras").fit(ROWS, targets, **HOW)
    Loop(clean, jit=False, sparse="keras").fit(ROWS[16:], TARGETS[16:], **HOW)
    assert float(skipped(model)) == 2
    assert difference(model, clean) <= 1e-6


@pytest.mark.parametrize("clip", [clips.GlobalNorm(0.1), clips.ClipValue(0.01)])
def test_clipped_rows_add_up_to_the_clipped_gradient(clip: clips.GradientClip) -> None:
    """By SGD, for which it is the same in how many rows a gradient comes."""
    dense, sparse = build(optimizers.SGD(0.1)), build(optimizers.SGD(0.1))
    for model, kind in ((dense, "dense"), (sparse, "keras")):
        Loop(model, jit=False, step=TrainStep(model, clip=clip, sparse=kind)).fit(ROWS, TARGETS, **HOW)
    assert difference(dense, sparse) <= 1e-6


def test_a_callback_that_watches_leaves_fit_as_it_is() -> None:
    watched, alone = build(optimizers.Adam(0.01)), build(optimizers.Adam(0.01))
    watched.fit(ROWS, TARGETS, callbacks=[GradientMonitor()], **HOW)
    alone.fit(ROWS, TARGETS, **HOW)
    assert difference(watched, alone) == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda model: Loop(model, sparse=True), "sparse must be 'dense' or 'keras', got True."),
        (lambda model: TrainStep(model, sparse="keras", micro_batches=2), "sparse must be 'dense' on several replicas"),
        (lambda model: Loop(model, sparse="keras", step=TrainStep(model)), "sparse must be given to the step"),
    ],
)
def test_what_sparse_cannot_be_is_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(build("sgd"))
