"""The engine: several epochs a call, evaluation and prediction, infinite gradients, and where data live."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt import keras_internals as internals
from kopt.callbacks import LearningRate
from kopt.schedules import Linear
from kopt.training import Loop, ProgressBar, skipped
from kopt.training.execute.program import Program


class Alone(keras.callbacks.Callback):
    """Has an epoch hook, so that every epoch is a call of its own."""

    def on_epoch_end(self, epoch, logs=None):
        pass


def same_weights(one, other, tolerance: float = 0.0) -> None:
    for left, right in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(left, right, atol=tolerance, rtol=0)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("batch_size", [10, 30])
def test_epochs_in_one_call_are_the_epochs_one_by_one(jit: bool, batch_size: int, network, points, monkeypatch) -> None:
    calls, run = [], Program.run
    monkeypatch.setattr(Program, "run", lambda self, chunk: (calls.append(chunk), run(self, chunk))[1])
    together, apart = network("adam"), network("adam")
    how = {"batch_size": batch_size, "epochs": 40, "verbose": 0}
    history = Loop(together, jit=jit, seed=1).fit(*points, **how).history
    several = len(calls)
    assert Loop(apart, jit=jit, seed=1).fit(*points, callbacks=[Alone()], **how).history == history
    same_weights(together, apart)
    assert len(history["loss"]) == 40 and several < 20 and len(calls) - several >= 40


def test_without_batch_hooks_an_epoch_takes_few_calls(network, points, monkeypatch) -> None:
    class Every(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            pass

    counts = []
    run = Program.run
    monkeypatch.setattr(Program, "run", lambda self, chunk: (counts.append(chunk.steps), run(self, chunk))[1])
    Loop(network(), jit=False).fit(
        *points, batch_size=1, epochs=4, verbose=0, callbacks=[Alone(), ProgressBar(live=False)]
    )
    assert sum(counts) == 400 and len(counts) < 30
    counts.clear()
    Loop(network(), jit=False).fit(*points, batch_size=25, epochs=2, verbose=0, callbacks=[Every()])
    assert counts == [1] * 8


def test_rates_and_rows_are_those_of_each_epoch(network, points, tmp_path) -> None:
    callbacks = [LearningRate(Linear(0.01), unit="epoch"), keras.callbacks.CSVLogger(tmp_path / "log.csv")]
    history = Loop(network("sgd"), jit=False, seed=1).fit(
        *points, epochs=30, batch_size=25, verbose=0, callbacks=callbacks
    )
    last_update = np.arange(30) + 0.75
    np.testing.assert_allclose(history.history["learning_rate"], 0.01 * (1 - last_update / 30), rtol=1e-6)
    rows = np.genfromtxt(tmp_path / "log.csv", delimiter=",", names=True)
    np.testing.assert_allclose(rows["loss"], history.history["loss"], rtol=1e-6)


OPTIMIZERS = [
    kind
    for kind in vars(keras.optimizers).values()
    if isinstance(kind, type) and issubclass(kind, keras.optimizers.Optimizer)
]
PLAIN = [kind for kind in OPTIMIZERS if kind.__name__ not in ("Optimizer", "LossScaleOptimizer", "MultiOptimizer")]


@pytest.mark.parametrize("kind", PLAIN, ids=lambda kind: kind.__name__)
def test_an_infinite_gradient_leaves_something_infinite(kind) -> None:
    """What the look at a program's end relies on; rules that say so are in tests/contracts/test_rules.py."""
    optimizer = kind(0.01)
    for bad in (np.inf, -np.inf, np.nan):
        weight = keras.Variable([1.0, 2.0])
        one = type(optimizer).from_config(optimizer.get_config())
        one.build([weight])
        for gradient in ([0.1, 0.2], [bad, 0.2], [0.1, 0.2], [0.3, -0.2]):
            one.apply([tf.constant(gradient)], [weight])
        numbers = [variable.numpy() for variable in [weight, *one.variables] if "float" in str(variable.dtype)]
        assert not all(np.isfinite(number).all() for number in numbers)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_call_that_meets_an_infinite_gradient_is_done_again(optimizer: str, network, points, caplog) -> None:
    x, y = points[0].copy(), points[1]
    x[55] = np.inf
    found = []
    for jit in (True, False):
        model = network(optimizer)
        history = Loop(model, jit=jit, seed=1).fit(x, y, batch_size=10, epochs=8, shuffle=False, verbose=0).history
        found.append((model, history))
        assert float(skipped(model)) == 8 and int(model.optimizer.iterations) == 72
    same_weights(found[0][0], found[1][0], 1e-6)
    assert "epoch 8: 1 step was skipped" in caplog.text


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_constraint_does_not_hide_an_infinite_gradient(optimizer: str, points) -> None:
    """Weights that are clipped are finite again at the end of a call."""
    x, y = points[0].copy(), points[1]
    x[55, 0] = np.inf  # one infinite number, not a sum of several that is none
    found = []
    for jit in (True, False):
        keras.utils.set_random_seed(1)
        clipped = keras.layers.Dense(1, use_bias=False, kernel_constraint=lambda w: tf.clip_by_value(w, -1.0, 1.0))
        model = keras.Sequential([keras.Input((10,)), keras.layers.Activation("relu"), clipped])
        model.compile(optimizer, "mae")
        Loop(model, jit=jit, seed=1).fit(x, y, batch_size=10, epochs=4, shuffle=False, verbose=0)
        assert float(skipped(model)) == 4
        found.append(model)
    same_weights(*found, 1e-6)


def test_stopping_before_the_first_epoch_is_seen_where_fit_sees_it(network, points) -> None:
    class Stop(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.model.stop_training = True

    ours, theirs = network("adam"), network("adam")
    how = {"batch_size": 25, "epochs": 3, "shuffle": False, "verbose": 0}
    found = Loop(ours, jit=False).fit(*points, callbacks=[Stop()], **how).history
    assert found == theirs.fit(*points, callbacks=[Stop()], **how).history and len(found["loss"]) == 1
    same_weights(ours, theirs)


@pytest.mark.parametrize("jit", [False, True])
def test_evaluate_and_predict_are_keras_own(jit: bool, points) -> None:
    x, y = points
    inputs = keras.Input((10,))
    hidden = keras.layers.Dense(4, "tanh", activity_regularizer=keras.regularizers.L2(0.1))(inputs)
    model = keras.Model(
        inputs, {"a": keras.layers.Dense(1, name="a")(hidden), "b": keras.layers.Dense(2, name="b")(hidden)}
    )
    model.compile("adam", {"a": "mse", "b": "mae"}, metrics={"a": ["mae"]})
    # Even batches: a short last one's loss of an output counts whole in Keras' graphs, by its rows elsewhere.
    weights, y = np.linspace(0, 1, 100), {"a": y, "b": x[:, :2]}
    weighted = {"batch_size": 25, "sample_weight": {"a": weights, "b": weights}, "verbose": 0}
    loop = Loop(model, jit=jit)
    unknown = tf.data.Dataset.from_tensor_slices((x, y)).batch(25).filter(lambda *_: True)
    theirs, ours = model.evaluate(x, y, return_dict=True, **weighted), loop.evaluate(x, y, **weighted)
    assert ours == pytest.approx(theirs, rel=1e-5 if jit else 1e-7) and list(ours) == list(theirs)
    plain = model.evaluate(x, y, batch_size=25, return_dict=True, verbose=0)
    assert loop.evaluate(unknown, verbose=0) == pytest.approx(plain, rel=1e-5)
    expected = model.predict(x, verbose=0)
    for data in (x, unknown.map(lambda a, b: a), unknown):
        for name, output in loop.predict(data, verbose=0).items():
            np.testing.assert_allclose(output, expected[name], atol=1e-6)
    assert loop.predict(x, batch_size=25, steps=2)["b"].shape == (50, 2)


def test_predict_calls_its_hooks_for_every_batch_and_runs_eagerly(network, points) -> None:
    class Watch(keras.callbacks.Callback):
        batches: list[int] = []

        def on_predict_batch_end(self, batch, logs=None):
            self.batches.append(batch)

    model, watch = network(), Watch()
    expected = Loop(model, jit=False).predict(points[0], batch_size=30, callbacks=[watch])
    assert watch.batches == [0, 1, 2, 3]
    model.run_eagerly = True
    np.testing.assert_allclose(Loop(model, jit=False).predict(points[0]), expected, atol=1e-6)


def test_validation_is_keras_own_and_on_the_device(network, points, caplog) -> None:
    caplog.set_level(logging.DEBUG, "kopt")
    how = {"epochs": 3, "validation_split": 0.3, "batch_size": 20, "shuffle": False, "verbose": 0}
    ours = Loop(network("adam"), jit=False).fit(*points, **how).history
    assert ours == network("adam").fit(*points, **how).history
    assert "engine: resident, 30 examples in batches of 20" in caplog.text


def test_a_callback_that_asks_for_every_batch_gets_it(network, points) -> None:
    class Every(keras.callbacks.Callback):
        every_batch = True
        batches: list[int] = []

        def on_train_batch_end(self, batch, logs=None):
            self.batches.append(batch)

    every = Every()
    Loop(network(steps_per_execution=4), jit=False).fit(*points, batch_size=25, verbose=0, callbacks=[every])
    assert every.batches == [0, 1, 2, 3]


@pytest.mark.parametrize("engine", ["resident", "stream"])
def test_steps_per_epoch_cut_the_data_as_in_fit(engine: str, network, points) -> None:
    how = {"steps_per_epoch": 2, "epochs": 5, "shuffle": False, "verbose": 0}
    ours, theirs = network("adam"), network("adam")
    found = Loop(ours, jit=False, engine=engine).fit(*points, batch_size=25, **how).history
    assert found == theirs.fit(tf.data.Dataset.from_tensor_slices(points).batch(25).repeat(), **how).history
    same_weights(ours, theirs)
    with pytest.warns(UserWarning, match="ran out of data"):
        Loop(ours, jit=False, engine=engine).fit(*points, batch_size=25, steps_per_epoch=5, verbose=0)


def test_a_dataset_becomes_resident_where_asked(network, points) -> None:
    data = tf.data.Dataset.from_tensor_slices(points).batch(30)
    ours, theirs = network("adam"), network("adam")
    found = Loop(ours, jit=False, engine="resident").fit(data, epochs=3, verbose=0).history
    assert found == theirs.fit(data, epochs=3, shuffle=False, verbose=0).history
    same_weights(ours, theirs)
    with pytest.raises(ValueError, match="^engine must be 'stream' here: the data have no end"):
        Loop(ours, jit=False, engine="resident").fit(data.repeat(), steps_per_epoch=2, verbose=0)


def test_what_is_over_the_budget_is_streamed(network, points, caplog) -> None:
    caplog.set_level(logging.DEBUG, "kopt")
    Loop(network(), jit=False, budget=4399).fit(*points, verbose=0)
    assert "engine: stream, 4400 bytes are more than 4399" in caplog.text
    Loop(network(), jit=False, budget=4400).fit(*points, verbose=0)
    assert "engine: resident" in caplog.text


def test_a_metric_that_resets_in_python_is_reset_every_epoch(network, points) -> None:
    class Resets(keras.metrics.Mean):
        resets = 0

        def reset_state(self):
            super().reset_state()
            self.resets += 1

    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(1)])
    metric = Resets(name="resets")
    model.compile("sgd", "mse")
    internals.add_metric(model, metric)
    Loop(model, jit=False).fit(*points, epochs=5, verbose=0)
    assert metric.resets >= 5


def test_a_step_of_the_models_own_is_compiled_and_gives_the_logs(points) -> None:
    class Own(keras.Sequential):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = keras.ops.mean((self(x, training=True) - y) ** 2)
            self.optimizer.apply(tape.gradient(loss, self.trainable_weights), self.trainable_weights)
            return {"mine": loss}

    found = []
    for fit in (lambda model: Loop(model, jit=True).fit, lambda model: model.fit):
        keras.utils.set_random_seed(1)
        model = Own([keras.Input((10,)), keras.layers.Dense(1)])
        model.compile(optimizer="adam")
        found.append(fit(model)(*points, batch_size=30, epochs=3, shuffle=False, verbose=0).history["mine"])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


@pytest.mark.parametrize("kind", ["arrays", "dataset"])
def test_predict_runs_many_batches_a_call(kind: str, network, points, monkeypatch) -> None:
    """Chunks grow as in training; the first two calls, of one batch each, show how long a batch takes."""
    model, x = network(), np.tile(points[0], (20, 1))
    data = tf.data.Dataset.from_tensor_slices(x).batch(4) if kind == "dataset" else x
    how = {} if kind == "dataset" else {"batch_size": 4}
    monkeypatch.setattr("kopt.training.feed.chunks.CHUNK_SECONDS", 1e9)  # however slow the machine is
    loop, ran = Loop(model, jit=False), list[int]()
    loop.predict(data, verbose=0, **how)
    run = type(model.predict_function).run

    def counted(self, chunk):
        result = run(self, chunk)
        ran.append(result.steps)
        return result

    monkeypatch.setattr(type(model.predict_function), "run", counted)
    outputs = loop.predict(data, verbose=0, **how)
    assert sum(ran) == 500 and ran[:4] == [1, 1, 8, 64] and len(ran) <= 6
    np.testing.assert_allclose(outputs, model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)
