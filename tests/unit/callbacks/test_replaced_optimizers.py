"""Callbacks go on where a callback compiles the model in the middle of a run, or gives it another optimizer."""

import keras
import numpy as np
import pytest

from kopt import callbacks, select
from kopt.optimizers import Optimizer
from kopt.rules import GradientDescent, Momentum
from kopt.schedules import Cosine, Linear
from kopt.state.knob import Knob
from kopt.training import Loop

STEPS, EPOCHS = 5, 4
SCHEDULE = Cosine(0.1)


class Slope(keras.layers.Layer):
    """A layer whose loss has the gradient 1 by its weight."""

    def build(self, shape):
        self.place = self.add_weight(shape=(), initializer="zeros", name="place")

    def call(self, x):
        return x * self.place


def slope(optimizer):
    model = keras.Sequential([keras.Input((1,)), Slope(), Slope(name="second")])
    model.layers[1].trainable = False
    model.layers[1].place.assign(1.0)
    model.compile(optimizer, lambda y, p: p)
    return model


class Replace(keras.callbacks.Callback):
    """Gives the model another optimizer at a moment of a run."""

    def __init__(self, hook: str, how: str, at: int = 2, make=lambda: keras.optimizers.SGD(1e-3)):
        super().__init__()
        self.how, self.at, self.make = how, at, make
        setattr(self, hook, self.replace)

    def replace(self, number, logs=None):
        if number != self.at:
            return
        if self.how == "assign":
            self.model.optimizer = self.make()
        else:
            self.model.layers[-1].trainable = self.how == "unfreeze"
            self.model.compile(self.make(), lambda y, p: p)


class Places(keras.callbacks.Callback):
    """Keeps the weight after each step."""

    def __init__(self):
        super().__init__()
        self.places = [0.0]

    def on_train_batch_end(self, batch, logs=None):
        self.places.append(float(self.model.layers[0].place.numpy()))


def train(model, listed, loop: bool, **how):
    fit = Loop(model, jit=False).fit if loop else model.fit
    return fit(np.ones((20, 1)), np.ones((20, 1)), batch_size=4, epochs=EPOCHS, verbose=0, callbacks=listed, **how)


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize(
    ("hook", "how"), [("on_epoch_begin", "compile"), ("on_epoch_end", "assign"), ("on_train_batch_end", "compile")]
)
def test_the_schedule_goes_on_in_time(loop: bool, first: bool, hook: str, how: str) -> None:
    schedule, replace = callbacks.LearningRate(SCHEDULE, unit="epoch"), Replace(hook, how)
    if hook == "on_train_batch_end":
        replace = Replace(hook, how, at=2)
    model, places = slope(keras.optimizers.SGD(1e-3)), Places()
    listed = [replace, schedule, places] if first else [schedule, places, replace]
    history = train(model, listed, loop).history
    expected = SCHEDULE.resolve(float(EPOCHS))(np.arange(STEPS * EPOCHS) / STEPS)
    np.testing.assert_allclose(-np.diff(places.places), expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(history["learning_rate"], np.asarray(expected)[STEPS - 1 :: STEPS], rtol=1e-5)


@pytest.mark.parametrize("loop", [False, True])
def test_a_lowered_rate_stays_lowered(loop: bool) -> None:
    plateau = callbacks.ReduceOnPlateau("loss", 0.5, 1, min_delta=1e6)
    listed = [callbacks.LearningRate("constant", rate=0.1), plateau, Replace("on_epoch_begin", "compile")]
    history = train(slope(keras.optimizers.SGD(1e-3)), listed, loop).history
    np.testing.assert_allclose(history["learning_rate"], [0.1, 0.1, 0.05, 0.025], rtol=1e-6)


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("how", ["compile", "unfreeze"])
def test_an_average_goes_on(loop: bool, how: str) -> None:
    """A weight that is trained from then on counts as having stood still before."""
    model, decay = slope(keras.optimizers.SGD(0.1)), 0.5
    kept: list[np.ndarray] = []
    keep = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: kept.append([float(one.place.numpy()) for one in model.layers])
    )
    replace = Replace("on_epoch_begin", how, make=lambda: keras.optimizers.SGD(0.01))
    train(model, [callbacks.Average(callbacks.EMA(decay)), keep, replace], loop)
    average = np.array(kept[0])
    for weights in kept[1:]:
        average = decay * average + (1 - decay) * np.array(weights)
    np.testing.assert_allclose([float(one.place.numpy()) for one in model.layers], average, rtol=1e-5)
    assert (how == "unfreeze") == (kept[-1][1] != 1.0)


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("of", [callbacks.SWA(0.0), callbacks.LAWA(3)])
def test_an_average_of_epochs_goes_on(loop: bool, of) -> None:
    model, ends = slope(keras.optimizers.SGD(0.1)), []
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: ends.append([float(one.place.numpy()) for one in model.layers])
    )
    replace = Replace("on_epoch_begin", "unfreeze", make=lambda: keras.optimizers.SGD(0.01))
    train(model, [note, callbacks.Average(of), replace], loop)
    used = ends if isinstance(of, callbacks.SWA) else ends[-3:]
    np.testing.assert_allclose([float(one.place.numpy()) for one in model.layers], np.mean(used, axis=0), rtol=1e-5)


@pytest.mark.parametrize("loop", [False, True])
def test_rates_of_layers_gradients_and_guards_go_on(loop: bool) -> None:
    model, places = slope(keras.optimizers.SGD(0.1)), Places()
    listed = [
        callbacks.LayerRates({select.path("slope*/*"): 0.5}),
        callbacks.GradientMonitor(1),
        callbacks.SpikeGuard(),
        places,
        Replace("on_epoch_begin", "unfreeze", make=lambda: keras.optimizers.SGD(0.1)),
    ]
    history = train(model, listed, loop).history
    np.testing.assert_allclose(-np.diff(places.places)[: 2 * STEPS], 0.05, rtol=1e-5)
    # Of the first weight alone, then of both, whose gradients are each other's values.
    assert history["gradient_norm"][:2] == pytest.approx([1.0, 1.0]) and history["gradient_norm"][2] > 1.01
    assert float(model.layers[1].place.numpy()) != 1.0


@pytest.mark.parametrize("loop", [False, True])
def test_a_number_of_the_rule_goes_on(loop: bool) -> None:
    make = lambda: Optimizer(Momentum(), 0.1)
    dial = Knob(1.0, name="dial")
    listed = [
        callbacks.Scheduled("momentum", Linear(0.9, end=0.5), unit="epoch"),
        callbacks.Scheduled(dial, Linear(1.0), unit="epoch"),
        Replace("on_epoch_begin", "compile", make=make),
    ]
    history = train(slope(make()), listed, loop).history
    last = np.arange(1, EPOCHS + 1) - 1 / STEPS
    np.testing.assert_allclose(history["momentum"], 0.9 - 0.1 * last, rtol=1e-5)
    np.testing.assert_allclose(history["dial"], 1 - np.arange(EPOCHS) / EPOCHS, rtol=1e-5)
    without = [listed[0], Replace("on_epoch_begin", "compile", make=lambda: Optimizer(GradientDescent(), 0.1))]
    with pytest.raises(ValueError, match="^target must be one of "):
        train(slope(make()), without, loop)
