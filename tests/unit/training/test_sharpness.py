"""Steps of two gradients: engines, micro-batches, statistics, dropout, half precision, what is skipped and refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from kopt.training import Loop, TrainStep, sharpness, skipped

SAM, ASAM = sharpness.SAM(0.1), sharpness.ASAM(0.5)
DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(70, 6)).astype("float32")
Y = DRAW.integers(0, 3, 70)
HOW = {"batch_size": 16, "epochs": 2, "shuffle": False, "verbose": 0}


def network(*, dropout: bool = False, normalized: bool = False, eager: bool = False, optimizer=None):
    keras.utils.set_random_seed(0)
    more = [layers.BatchNormalization()] if normalized else []
    more += [layers.Dropout(0.4, seed=1)] if dropout else []
    hidden = layers.Dense(8, activation="tanh", use_bias=not normalized, kernel_regularizer="l2")
    model = keras.Sequential([keras.Input((6,)), hidden, *more, layers.Dense(3, dtype="float32")])
    optimizer = optimizer or keras.optimizers.SGD(0.1, momentum=0.9)
    loss = keras.losses.SparseCategoricalCrossentropy(True)
    model.compile(optimizer, loss, metrics=["accuracy"], run_eagerly=eager)
    return model


def trained(model, value=SAM, *, x=X, how=HOW, micro_batches: int = 1, **loop):
    step = TrainStep(model, sharpness=value, micro_batches=micro_batches)
    return Loop(model, **{"jit": False, **loop}, step=step).fit(x, Y[: len(x)], **how).history


def distance(one, other) -> float:
    return max(float(np.abs(left - right).max()) for left, right in zip(one.get_weights(), other.get_weights()))


@pytest.mark.parametrize("value", [SAM, ASAM])
def test_every_way_to_train_gives_one_model(value: sharpness.Sharpness) -> None:
    models = [network(normalized=True, eager=how == "eager") for how in ("plain", "xla", "stream", "eager", "fit")]
    plain, xla, stream, eager, fit = models
    histories = [trained(plain, value), trained(xla, value, jit=True), trained(stream, value, engine="stream")]
    histories += [trained(eager, value)]
    fit.train_step = TrainStep(fit, sharpness=value)
    histories += [fit.fit(X, Y, **HOW).history]
    assert max(distance(plain, other) for other in models) <= 1e-5
    for found in histories:
        np.testing.assert_allclose(found["loss"], histories[0]["loss"], rtol=1e-4)
        np.testing.assert_allclose(found["accuracy"], histories[0]["accuracy"], rtol=1e-6)
    other = network(normalized=True)
    trained(other, None)
    assert distance(plain, other) > 1e-3


@pytest.mark.parametrize("value", [SAM, ASAM])
@pytest.mark.parametrize("engine", ["auto", "stream"])
def test_micro_batches_equal_whole_ones(value: sharpness.Sharpness, engine: str) -> None:
    whole, parts = network(), network()
    expected, found = trained(whole, value), trained(parts, value, micro_batches=4, engine=engine)
    assert distance(whole, parts) <= 1e-6
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-5)
    np.testing.assert_allclose(found["accuracy"], expected["accuracy"], rtol=1e-6)


@pytest.mark.parametrize("micro_batches", [1, 4])
def test_the_second_pass_has_the_first_ones_dropout_and_moves_no_statistics(micro_batches: int) -> None:
    """By a radius that moves nothing: the second gradient is then the first, if all else is the same, to the bit."""
    plain, again = (network(dropout=True, normalized=True) for _ in range(2))
    expected = trained(plain, None, micro_batches=micro_batches)
    found = trained(again, sharpness.SAM(1e-30), micro_batches=micro_batches)
    assert distance(plain, again) <= 1e-7 and found["loss"] == expected["loss"]
    seeds = [[keras.ops.convert_to_numpy(one) for one in model.non_trainable_variables] for model in (plain, again)]
    for one, other in zip(*seeds):
        np.testing.assert_allclose(one, other, atol=1e-7)


def test_the_weights_that_a_skipped_step_leaves_are_the_same_bits() -> None:
    x = X.copy()
    x[3] = np.inf
    model = network()
    before = model.get_weights()
    trained(model, x=x[:16], how=HOW | {"epochs": 3})
    assert float(skipped(model)) == 3
    for one, other in zip(before, model.get_weights()):
        np.testing.assert_array_equal(one, other)


def test_a_first_gradient_that_is_not_finite_is_skipped_though_the_second_is_finite() -> None:
    gradients = []

    @tf.custom_gradient
    def broken_at_first(w):
        def gradient(dy):
            gradients.append(dy)
            return dy * np.inf if len(gradients) % 2 else dy  # the first of each two

        return w, gradient

    class Broken(layers.Layer):
        def build(self, shape):
            self.w = self.add_weight(shape=(1,), initializer="ones")

        def call(self, x):
            return x * broken_at_first(tf.convert_to_tensor(self.w))

    model = keras.Sequential([keras.Input((1,)), Broken()])
    model.compile("sgd", "mse")
    Loop(model, jit=False, step=TrainStep(model, sharpness=SAM)).fit(X[:16, :1], X[:16, 1:2], verbose=0)
    assert float(skipped(model)) == 1 and model.get_weights()[0] == 1


def test_a_gradient_of_zero_makes_no_nan() -> None:
    model = keras.Sequential([keras.Input((6,)), layers.Dense(1, kernel_initializer="zeros")])
    model.compile("sgd", "mse")
    Loop(model, step=TrainStep(model, sharpness=SAM)).fit(X, np.zeros((70, 1)), verbose=0)
    assert not np.any(model.get_weights()[0])


def test_the_scale_of_the_loss_changes_nothing() -> None:
    """Norms are those of gradients without the scale, by a power of 2 to rounding."""
    plain, scaled = network(), network(optimizer=keras.optimizers.SGD(0.1, momentum=0.9, loss_scale_factor=1024.0))
    trained(plain)
    trained(scaled)
    assert distance(plain, scaled) <= 1e-6


def test_mixed_float16_trains() -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = network(optimizer=keras.optimizers.Adam(0.01))
        losses = trained(model, how=HOW | {"epochs": 12})["loss"]
    finally:
        keras.config.set_dtype_policy("float32")
    assert losses[-1] < losses[0] and float(skipped(model)) <= 3


def test_it_costs_two_gradients() -> None:
    """The products of matrices: two passes have twice those of one."""

    def products(value) -> int:
        model = network()
        step = TrainStep(model, sharpness=value)
        graph = tf.function(lambda x, y: step((x, y)), autograph=False).get_concrete_function(X, Y.astype("int32"))
        return sum(op.type == "MatMul" for op in graph.graph.get_operations())

    assert products(SAM) == 2 * products(None) > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda model: TrainStep(model, sharpness=0.05), "sharpness must be a sharpness, such as SAM"),
        (lambda model: TrainStep(model, sharpness=SAM, sparse="keras"), "sparse must be 'dense' beside sharpness"),
    ],
)
def test_refusals(make, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        make(network())


def test_keras_accumulation_beside_sharpness_is_refused() -> None:
    """Each of its steps would move the weights by its own gradient."""
    model = network(optimizer=keras.optimizers.SGD(0.1, gradient_accumulation_steps=4))
    with pytest.raises(ValueError, match="^gradient_accumulation_steps must be None .* micro_batches=4.*, got 4"):
        trained(model)
