"""Scheduled: momentum, betas, weight decay and any scalar variable over the run."""

import keras
import numpy as np
import pytest

import kopt
from kopt import rules
from kopt.callbacks import LearningRate, Scheduled
from kopt.optimizers import Optimizer
from kopt.regularizers import L2, attach, strength
from kopt.schedules import Constant, Cosine, Linear
from kopt.state.knob import Knob
from kopt.training import Loop

FALLING = Linear(0.9, end=0.1)


def sloped(optimizer, **compiled):
    """A model of one weight whose gradient is always 1."""

    class Slope(keras.layers.Layer):
        def build(self, shape):
            self.place = self.add_weight(shape=(), initializer="zeros", name="place")

        def call(self, x):
            return x * self.place

    model = keras.Sequential([keras.Input((1,)), Slope()])
    model.compile(optimizer, lambda y, p: p, **compiled)
    return model


@pytest.mark.parametrize(
    ("loop", "steps", "jit"), [(False, 1, False), (False, 5, True), (True, 1, True), (True, 5, False)]
)
def test_momentum_is_right_at_every_update(loop: bool, steps: int, jit: bool) -> None:
    """Every pair of fit or Loop, steps a call, and XLA."""
    model = sloped(Optimizer(rules.Momentum(0.5), 0.01), steps_per_execution=steps, jit_compile=jit)
    fit = Loop(model, jit=jit).fit if loop else model.fit
    data = np.ones((40, 1)), np.ones((40, 1))
    history = fit(*data, batch_size=4, epochs=3, verbose=0, callbacks=[Scheduled("momentum", FALLING)]).history
    place = velocity = 0.0
    for momentum in FALLING.resolve(3.0)(np.arange(30) / 10).numpy():
        velocity = momentum * velocity - 0.01
        place += velocity
    assert float(model.layers[0].place.numpy()) == pytest.approx(place, rel=1e-5)
    planned = [float(FALLING.resolve(3.0)(epoch + 0.9)) for epoch in range(3)]
    np.testing.assert_allclose(history["momentum"], planned, rtol=1e-6)
    # Afterwards the rule's own momentum, 0.5, counts again.
    fit(*data, batch_size=40, epochs=1, verbose=0)
    assert float(model.layers[0].place.numpy()) == pytest.approx(place + 0.5 * velocity - 0.01, rel=1e-5)


def test_a_constant_schedule_changes_nothing(network, points) -> None:
    rule, how = rules.AdamW(weight_decay=0.1), {"epochs": 3, "shuffle": False, "verbose": 0}
    plain = network(Optimizer(rule, 0.01))
    plain.fit(*points, **how)
    for path in ("beta_1", "beta_2", "weight_decay", "epsilon"):
        scheduled = network(Optimizer(rule, 0.01))
        scheduled.fit(*points, callbacks=[Scheduled(path, Constant(getattr(rule, path)))], **how)
        for one, other in zip(plain.get_weights(), scheduled.get_weights()):
            np.testing.assert_allclose(one, other, atol=1e-7, err_msg=path)


def test_weight_decay_beside_a_learning_rate(network, points, tmp_path) -> None:
    model = network(Optimizer(rules.AdamW(), 0.01))
    callbacks = [LearningRate(Cosine(0.01), unit="epoch"), Scheduled("weight_decay", Linear(0.1))]
    history = Loop(model, jit=False).fit(*points, batch_size=10, epochs=4, verbose=0, callbacks=callbacks).history
    np.testing.assert_allclose(
        history["weight_decay"], [0.1 * (1 - (epoch + 0.9) / 4) for epoch in range(4)], rtol=1e-5
    )
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").optimizer.rule == rules.AdamW()


@pytest.mark.parametrize("loop", [False, True])
def test_a_knob_or_a_variable_is_written_once_an_epoch(loop: bool, network, points) -> None:
    for target in (Knob(5.0, name="dial"), keras.Variable(5.0, name="dial")):
        model = network("sgd")
        fit = Loop(model, jit=False).fit if loop else model.fit
        history = fit(*points, epochs=4, verbose=0, callbacks=[Scheduled(target, Linear(1.0))]).history
        assert history["dial"] == pytest.approx([1.0, 0.75, 0.5, 0.25])


@pytest.mark.parametrize(
    ("loop", "jit", "policy"),
    [
        (False, False, "float32"),
        (False, True, "mixed_bfloat16"),
        (True, True, "float32"),
        (True, False, "mixed_bfloat16"),
    ],
)
def test_the_rate_of_a_dropout_layer(loop: bool, jit: bool, policy: str, tmp_path) -> None:
    """The share of zeros that a layer behind the dropout sees, epoch by epoch.

    Every pair of fit or Loop, XLA, and the type of the numbers.
    """

    class Zeros(keras.layers.Layer):
        def build(self, shape):
            self.share = self.add_weight(shape=(), initializer="zeros", trainable=False, name="share")

        def call(self, x):
            self.share.assign(keras.ops.mean(keras.ops.cast(keras.ops.equal(x, 0), "float32")))
            return x

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            shares.append(float(watched.share.numpy()))
            self.model.save(tmp_path / "model.keras")

    shares: list[float] = []
    dropout, watched = keras.layers.Dropout(0.3, dtype=policy), Zeros(dtype=policy)
    model = keras.Sequential([keras.Input((500,)), dropout, watched, keras.layers.Dense(1, dtype=policy)])
    model.compile("sgd", "mse", jit_compile=jit)
    fit = Loop(model, jit=jit).fit if loop else model.fit
    data = np.ones((64, 500)), np.ones((64, 1))
    how = {"batch_size": 64, "verbose": 0}
    watch = Watch()
    with keras.saving.custom_object_scope({"Zeros": Zeros}):
        history = fit(*data, epochs=4, callbacks=[Scheduled(dropout, Linear(0.8)), watch], **how).history
        assert keras.saving.load_model(tmp_path / "model.keras").layers[0].rate == 0.3
    assert history[dropout.name] == pytest.approx([0.8, 0.6, 0.4, 0.2], rel=1e-5)
    np.testing.assert_allclose(shares, [0.8, 0.6, 0.4, 0.2], atol=0.02)
    fit(*data, epochs=1, **how)
    assert float(watched.share.numpy()) == pytest.approx(0.3, abs=0.02) and type(dropout.rate) is float


@pytest.mark.parametrize("loop", [False, True])
def test_the_strength_of_penalties(loop: bool, network, points, tmp_path) -> None:
    """Scheduled by a factor, against the same penalties written into the layers epoch by epoch."""
    start, how = L2(0.1), {"batch_size": 10, "shuffle": False, "verbose": 0}
    model, manual = network("sgd"), network("sgd")
    attach(model, start)
    fit = Loop(model, jit=False).fit if loop else model.fit
    fit(*points, epochs=4, callbacks=[Scheduled(strength(model), Linear(1.0))], **how)
    for factor in (1.0, 0.75, 0.5, 0.25):
        attach(manual, L2(0.1 * factor))
        manual.fit(*points, epochs=1, **how)
    for one, other in zip(model.get_weights(), manual.get_weights()):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert float(strength(model)) == 0.25
    model.save(tmp_path / "model.keras")
    loaded = kopt.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].kernel_regularizer.of == start
    assert float(strength(loaded)) == 0.25
    assert sum(map(float, loaded.losses)) == pytest.approx(sum(map(float, model.losses)), rel=1e-6)
    attach(model, L2(0.2))
    assert sum(map(float, model.losses)) == pytest.approx(2 * sum(map(float, loaded.losses)), rel=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Scheduled(3, FALLING),
            "target must be a path into the rule, a Dropout with a rate > 0, a Knob or a scalar variable, got 3.",
        ),
        (lambda: Scheduled("momentum", 0.9), "schedule must be a kopt schedule or the name of one, got 0.9."),
        (lambda: Scheduled("momentum", FALLING, unit="day"), "unit must be 'step', 'epoch' or 'run', got 'day'."),
    ],
)
def test_bad_arguments_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value) == message


def test_two_for_one_number_are_refused(network, points) -> None:
    both = [Scheduled("momentum", FALLING), Scheduled("momentum", Constant(0.5))]
    with pytest.raises(ValueError, match="^callbacks must hold one that sets momentum, got "):
        network(Optimizer(rules.Momentum())).fit(*points, verbose=0, callbacks=both)


def test_what_cannot_be_scheduled_is_refused_before_the_first_step(network, points) -> None:
    for optimizer, message in (
        (
            Optimizer(rules.Adam()),
            r"^target must be one of \['beta_1', 'beta_2', 'epsilon'\], the numbers of Adam\(\), got 'momentum'",
        ),
        ("sgd", "^optimizer must be a kopt Optimizer to schedule its rule, got <"),
    ):
        model = network(optimizer)
        with pytest.raises(ValueError, match=message):
            model.fit(*points, verbose=0, callbacks=[Scheduled("momentum", FALLING)])
        assert int(model.optimizer.iterations) == 0
