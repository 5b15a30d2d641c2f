"""The range test: what it suggests, and that it leaves nothing behind."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kopt
from kopt.augment import Jitter
from kopt.callbacks import LearningRate
from kopt.schedules import Constant
from kopt.training import Loop, RateCurve, TrainStep, find_rate

BOWL = np.geomspace(1e-4, 1, 81)
DIP = (np.log10(BOWL) + 1.5) ** 2  # least at 10 ** -1.5


def everything(model):
    """Whatever training changes, as arrays."""
    variables = [*model.variables, model.optimizer.learning_rate, *model.optimizer.variables, *model.metrics_variables]
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def busy_network():
    """Dropout with a seed, statistics, moments."""
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Dense(8, "relu"), keras.layers.BatchNormalization(), keras.layers.Dropout(0.2, seed=1)]
    model = keras.Sequential([keras.Input((10,)), *layers, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"])
    return model


@pytest.mark.parametrize("before", ["fresh", "fit", "loop with a schedule"])
def test_nothing_is_left_behind(before: str, points) -> None:
    def trained():
        model = busy_network()
        model.optimizer.build(model.trainable_variables)
        if before == "fit":
            model.fit(*points, epochs=2, shuffle=False, verbose=0)
        if before == "loop with a schedule":
            Loop(model, jit=False).fit(*points, epochs=2, callbacks=[LearningRate(Constant(0.02))], verbose=0)
        return model

    model, untouched = trained(), trained()
    start, history = everything(model), model.__dict__.get("history")
    find_rate(model, *points, steps=20, high=1e3)
    for one, other in zip(everything(model), start):
        np.testing.assert_array_equal(one, other)
    assert model.__dict__.get("history") is history and "train_step" not in vars(model)
    for one in (model, untouched):
        one.fit(*points, epochs=2, shuffle=False, verbose=0)
    for one, other in zip(everything(model), everything(untouched)):
        np.testing.assert_array_equal(one, other)


def test_seeds_of_augmentations_and_of_keras_are_put_back(points) -> None:
    """They belong to no layer of the model."""

    class Noisy(keras.layers.Layer):
        def call(self, x):
            return x + 0.1 * keras.random.normal(keras.ops.shape(x))

    def losses(swept: bool) -> list[float]:
        keras.utils.clear_session()
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((10,)), Noisy(), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.01), "mse")
        model.train_step = TrainStep(model, augment=Jitter(0.1))
        model(points[0][:1])  # the global generator of seeds is there
        if swept:
            find_rate(model, *points, steps=10)
        return Loop(model, jit=False, seed=0).fit(*points, epochs=2, verbose=0).history["loss"]

    assert losses(True) == losses(False)


@pytest.mark.parametrize(("batch_size", "accumulated"), [("full", None), (50, 2), (20, 5)])
def test_the_losses_are_those_of_training_at_these_rates(batch_size, accumulated, points) -> None:
    """Batches whose gradients are accumulated make one update, and one loss: the mean over them."""
    x, y = points
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((10,)), layer])
    model.compile(keras.optimizers.SGD(0.5, gradient_accumulation_steps=accumulated), "mse")
    curve = find_rate(model, x, y, low=1e-3, high=0.1, steps=10, batch_size=batch_size)
    weights, losses = np.zeros((10, 1)), []
    for rate in np.geomspace(1e-3, 0.1, 10):
        weights -= rate * 2 * x.T @ (x @ weights - y) / len(x)
        losses.append(np.mean((x @ weights - y) ** 2))
    np.testing.assert_allclose(curve.rates, np.geomspace(1e-3, 0.1, 10))
    np.testing.assert_allclose(curve.losses, losses, rtol=1e-5)


def test_it_ends_where_training_diverges(points) -> None:
    x, y = points
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.5), "mse")
    limit = 2 / np.linalg.eigvalsh(2 * x.T @ x / len(x)).max()  # of gradient descent on a quadratic
    curve = find_rate(model, x, y, low=1e-4, high=1e4, steps=200, batch_size="full")
    assert limit < curve.rates[-1] < 100 * limit and curve.suggestion < limit


@pytest.mark.parametrize(
    ("method", "losses", "rate"),
    [
        ("minimum", DIP, 10**-2.5),
        ("steepest", np.cos(np.pi * (np.log10(BOWL) + 4) / 3), 10**-2.5),  # falls from 1e-4 to 0.1
        ("valley", DIP, 10 ** (-4 + 2.5 * 2 / 3)),
    ],
)
def test_methods_on_curves_in_closed_form(method, losses, rate: float) -> None:
    curve = RateCurve(BOWL, losses, method)
    assert curve.suggestion == pytest.approx(rate, rel=0.3) and curve.suggestion == curve.suggest(method)


def test_a_short_data_set_is_gone_through_again_and_datasets_are(network, points) -> None:
    model = network("adam")
    assert len(find_rate(model, points[0][:25], points[1][:25], batch_size=10, steps=20, high=1e-3).rates) == 20
    data = tf.data.Dataset.from_tensor_slices(points).batch(20)
    assert len(find_rate(model, data, steps=20, high=1e-3).rates) == 20


@pytest.mark.filterwarnings("ignore:Your input ran out of data", "ignore:__array__ implementation")
def test_a_generator_that_ends_is_refused(network, points) -> None:
    model = network("adam")
    start = model.get_weights()
    with pytest.raises(ValueError, match="x must give 21 batches, got 3"):
        find_rate(model, (points for _ in range(3)), steps=20)
    for one, other in zip(model.get_weights(), start):
        np.testing.assert_array_equal(one, other)


def test_its_picture_marks_the_suggestion() -> None:
    figure = kopt.plot(RateCurve(BOWL, DIP, "minimum"))
    assert figure.axes[0].get_title("left") == "suggestion 0.00316 (minimum)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"low": 0.0}, "low must be a finite number > 0, got 0.0"),
        ({"low": 1.0, "high": 0.1}, "high must be finite and > low, 1.0, got 0.1"),
        ({"steps": 5}, "steps must be a whole number >= 10, got 5"),
        ({"method": "best"}, "method must be one of steepest, valley, minimum, got 'best'"),
    ],
)
def test_bad_arguments(arguments, message: str, network, points) -> None:
    with pytest.raises(ValueError, match=message):
        find_rate(network(), *points, **arguments)


def test_bad_models(network, points) -> None:
    scheduled = network(keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)))
    with pytest.raises(ValueError, match="learning_rate must be a number in an optimizer whose rate is to be set"):
        find_rate(scheduled, *points)
    with pytest.raises(ValueError, match="model must be a compiled Keras model"):
        find_rate(keras.Sequential([keras.Input((10,)), keras.layers.Dense(1)]), *points)
    with pytest.raises(ValueError, match="low must be a rate with which the loss stays finite"):
        find_rate(network(), points[0] * np.nan, points[1])


def test_gradients_that_are_not_finite_in_the_later_half_leave_the_first(network, points) -> None:
    x = np.concatenate([points[0]] * 2)
    x[100:] = np.nan
    model = network(keras.optimizers.SGD(gradient_accumulation_steps=4))
    curve = find_rate(
        model, tf.data.Dataset.from_tensor_slices((x, np.concatenate([points[1]] * 2))).batch(2), steps=24
    )
    assert len(curve.rates) >= 10  # half of its batches were skipped, and more than there are updates
