"""Models with a train_step of their own: callbacks act on the optimizers that it updates by, or say so."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt import callbacks, select
from kopt.schedules import Cosine, Linear
from kopt.state.knob import Knob
from kopt.training import Loop

STEPS, EPOCHS = 5, 4
SCHEDULE = Cosine(0.1)
both_engines = pytest.mark.parametrize("loop", [False, True])


class Slope(keras.layers.Layer):
    """A layer with one weight, which each part of a model moves by its optimizer alone."""

    def build(self, shape):
        self.place = self.add_weight(shape=(), initializer="zeros", name="place")


class Adversaries(keras.Model):
    """Two parts with an optimizer each, as in a GAN; the generator makes several updates a step, or one in several."""

    def __init__(self, updates: int = 2, every: int = 1):
        super().__init__()
        self.updates, self.every = updates, every
        self.discriminator, self.generator = Slope(name="discriminator"), Slope(name="generator")
        for part in (self.discriminator, self.generator):
            part.build((1,))
        self.seen = keras.metrics.Mean(name="score")

    def compile(self, d_optimizer, g_optimizer):
        super().compile()
        self.d_optimizer, self.g_optimizer = d_optimizer, g_optimizer

    @property
    def metrics(self):
        return [self.seen]

    def train_step(self, data):
        one = [tf.constant(1.0)]
        self.d_optimizer.apply_gradients(zip(one, self.discriminator.trainable_weights))
        due = self.d_optimizer.iterations % self.every == 0
        for _ in range(self.updates):
            update = lambda: self.g_optimizer.apply(one, self.generator.trainable_weights)
            if self.every == 1:
                update()
            else:
                tf.cond(tf.convert_to_tensor(due), lambda: [update(), tf.no_op()][1], tf.no_op)
        self.seen.update_state(-self.discriminator.place)
        return {"score": self.seen.result()}


class Alone(keras.Model):
    """A model without a call, as a VAE in Keras' examples; `own` says by which optimizer its step updates."""

    def __init__(self, own=None):
        super().__init__()
        self.body = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, name="dense")])
        self.step_optimizer = (lambda: self.optimizer) if own is None else lambda: own

    def train_step(self, data):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(self.body(data[0]))
        weights = self.body.trainable_weights
        self.step_optimizer().apply(tape.gradient(loss, weights), weights)
        return {"loss": loss}


def adversaries(**how):
    model = Adversaries(**how)
    model.compile(keras.optimizers.SGD(0.01), keras.optimizers.SGD(0.01))
    return model


class Places(keras.callbacks.Callback):
    """Keeps every weight after each step."""

    def __init__(self):
        super().__init__()
        self.places = []

    def on_train_batch_end(self, batch, logs=None):
        self.places.append([float(np.ravel(weight)[0]) for weight in self.model.get_weights()[:2]])


def train(model, listed, loop: bool):
    places, data = Places(), np.ones((20, 1), "float32")
    fit = Loop(model, jit=False).fit if loop else model.fit
    history = fit(data, data, batch_size=4, epochs=EPOCHS, verbose=0, callbacks=[*listed, places]).history
    return history, -np.diff(places.places, axis=0)  # the second step is the first of them


def planned(updates: int) -> np.ndarray:
    """What a part moves by in each step after the first."""
    rates = SCHEDULE.resolve(float(EPOCHS))(np.arange(STEPS * EPOCHS * updates) / STEPS / updates)
    return np.asarray(rates).reshape(-1, updates).sum(axis=1)[1:]


@both_engines
def test_the_rates_of_all_that_the_step_updates_by(loop: bool) -> None:
    model = adversaries()
    history, moved = train(model, [callbacks.LearningRate(SCHEDULE, unit="epoch")], loop)
    np.testing.assert_allclose(moved[:, 0], planned(1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(moved[:, 1], planned(2), rtol=1e-4, atol=1e-6)
    assert {name for name in history if name.startswith("learning")} == {
        "learning_rate",
        "learning_rate_d_optimizer",
        "learning_rate_g_optimizer",
    }
    assert float(model.optimizer.learning_rate) == pytest.approx(1e-3)  # compile's own, which nobody uses


@both_engines
def test_the_rate_of_the_one_that_is_named(loop: bool) -> None:
    named = callbacks.LearningRate(SCHEDULE, unit="epoch", optimizer="g_optimizer")
    history, moved = train(adversaries(), [named], loop)
    np.testing.assert_allclose(moved[:, 0], 0.01, rtol=1e-4)
    np.testing.assert_allclose(moved[:, 1], planned(2), rtol=1e-4, atol=1e-6)
    assert history["learning_rate_g_optimizer"] == history["learning_rate"]
    d_rate = callbacks.LearningRate("constant", rate=0.1, optimizer="d_optimizer")
    g_rate = callbacks.LearningRate("constant", rate=0.3, optimizer="g_optimizer")
    history, moved = train(adversaries(), [d_rate, g_rate], loop)
    np.testing.assert_allclose(moved, [[0.1, 0.6]] * len(moved), rtol=1e-4)
    assert history["learning_rate_g_optimizer"] == pytest.approx([0.3] * EPOCHS)


@both_engines
def test_an_optimizer_that_is_used_every_few_steps_is_learned_in_an_epoch(loop: bool) -> None:
    history, _ = train(adversaries(updates=1, every=5), [callbacks.LearningRate(SCHEDULE, unit="epoch")], loop)
    expected = SCHEDULE.resolve(float(EPOCHS))(np.arange(EPOCHS))
    np.testing.assert_allclose(history["learning_rate_g_optimizer"], expected, rtol=1e-5)


@both_engines
def test_a_plateau_lowers_what_is_used_or_named(loop: bool) -> None:
    how = {"factor": 0.5, "patience": 1, "min_delta": 1e6, "mode": "min"}
    for named, expected in ((None, (0.5, 0.5)), ("d_optimizer", (0.5, 1.0))):
        plateau = callbacks.ReduceOnPlateau("score", **how, optimizer=named)
        _, moved = train(adversaries(updates=1), [plateau], loop)
        np.testing.assert_allclose(moved[2 * STEPS], np.multiply(expected, 0.01), rtol=1e-3)


@both_engines
@pytest.mark.parametrize("make", [adversaries, Alone])
def test_averages_and_rates_of_layers_need_weights_alone(loop: bool, make) -> None:
    def build():
        keras.utils.set_random_seed(1)
        model = make()
        if make is Alone:
            model.compile(keras.optimizers.SGD(0.1))
        return model

    model, decay = build(), 0.5
    half = callbacks.LayerRates({select.everything: 0.5})
    _, whole = train(build(), [], loop)
    _, halved = train(build(), [half], loop)
    np.testing.assert_allclose(halved, whole / 2, rtol=1e-3)
    kept: list[list[np.ndarray]] = []
    keep = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: kept.append(model.get_weights()))
    train(model, [callbacks.Average(callbacks.EMA(decay)), keep], loop)
    average = kept[0]
    for weights in kept[1:]:
        average = [decay * old + (1 - decay) * new for old, new in zip(average, weights)]
    for one, other in zip(model.trainable_weights, average):
        np.testing.assert_allclose(one.numpy(), other, rtol=1e-5)


@both_engines
def test_what_cannot_act_says_so(loop: bool) -> None:
    def hidden():
        model = Alone(keras.optimizers.SGD(0.1))
        model.compile(keras.optimizers.SGD(0.1))
        return model

    refused = {
        "^optimizer must be one that the training step of '.*' updates by, for LearningRate": [
            callbacks.LearningRate(SCHEDULE, unit="epoch")
        ],
        "^optimizer must be one that the training step of '.*' updates by, for ReduceOnPlateau": [
            callbacks.ReduceOnPlateau("loss", 0.5, 0, min_delta=1e6)
        ],
        "^model must not have a train_step of its own, for SpikeGuard reads the loss": [callbacks.SpikeGuard()],
    }
    for message, listed in refused.items():
        with pytest.raises(ValueError, match=message):
            train(hidden(), listed, loop)
    model = hidden()
    train(model, [callbacks.Average(callbacks.EMA(0.0))], loop)  # every step is an update, whoever makes it
    with pytest.raises(ValueError, match=r"^optimizer must be an optimizer of the model, of \['d_optimizer', "):
        train(adversaries(), [callbacks.LearningRate(SCHEDULE, unit="epoch", optimizer="e_optimizer")], loop)
    with pytest.raises(ValueError, match=r"^optimizer must name one of \['d_optimizer', 'g_optimizer', 'optimizer'\]"):
        train(adversaries(), [callbacks.Scheduled(Knob(name="dial"), Linear(1.0))], loop)


def test_a_step_that_is_given_to_the_loop_says_so_too(network, points) -> None:
    model, hidden = network("sgd"), keras.optimizers.SGD(0.01)

    def step(data):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(data[0]) - data[1]))
        hidden.apply(tape.gradient(loss, model.trainable_weights), model.trainable_weights)
        return {"loss": loss}

    refused = (
        (callbacks.LearningRate(SCHEDULE, unit="epoch"), "optimizer must be one that the training step"),
        (callbacks.GradientMonitor(), "model must not have a train_step of its own, for GradientMonitor"),
    )
    for callback, message in refused:
        with pytest.raises(ValueError, match=f"^{message}"):
            Loop(model, jit=False, step=step).fit(*points, batch_size=25, verbose=0, callbacks=[callback])
