"""XLA or not: what it refuses, dies of or leaves out, random numbers in it, and how many programs are made."""

import json
import logging

import keras
import numpy as np
import pytest
import refused_layers
import tensorflow as tf
from keras import layers

from kopt import keras_internals as internals
from kopt.training import Loop
from kopt.training.execute.resident import LENGTHS

# What XLA refuses or dies of


@pytest.fixture(scope="module")
def measured():
    """What each group's process has printed: (case, engine) -> what Loop and Keras came to."""
    found = {}

    def of(group: str, python) -> dict:
        if group not in found:
            done = python(refused_layers.__file__, group)
            lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
            found[group] = {(line["case"], line["engine"]): line for line in lines}
        return found[group]

    return of


@pytest.mark.parametrize("case", refused_layers.CASES)
def test_layers_that_xla_refuses_train_evaluate_and_predict_as_in_keras(case: str, measured, python) -> None:
    found = measured("strings" if case in refused_layers.STRINGS else "numbers", python)
    engines = [engine for name, engine in found if name == case]
    assert tuple(engines) == refused_layers.engines_of(case)
    for engine in engines:
        line = found[case, engine]
        ours, theirs = line["ours"], line["theirs"]
        assert ours["rows"] == theirs["rows"] == refused_layers.ROWS and ours["updates"] == theirs["updates"] == 12
        assert ours["seeds"] == theirs["seeds"]
        if line["same"]:
            np.testing.assert_allclose(ours["numbers"], theirs["numbers"], rtol=1e-4, atol=1e-5)
        assert case == "RandomFlip" or not any(ours["xla"])


def test_what_is_asked_for_and_xla_cannot_compile_is_refused_before_anything_runs() -> None:
    model = refused_layers.model_of("a layer of text")
    data, inputs = refused_layers.datasets("a layer of text")
    loop = Loop(model, jit=True)
    for run in (lambda: loop.fit(data, verbose=0), lambda: loop.evaluate(data), lambda: loop.predict(inputs)):
        with pytest.raises(ValueError, match="^jit must be 'auto' or False here: XLA takes no string, got True"):
            run()
    assert int(model.optimizer.iterations) == 0


@pytest.mark.parametrize("phase", ["fit", "evaluate", "predict"])
def test_errors_of_the_data_are_raised_and_nothing_is_tried_again(
    phase: str, network, tmp_path, xla_pays, caplog
) -> None:
    def read(number):
        x = tf.fill([8, 10], tf.cast(number, tf.float32))
        missing = lambda: tf.cast(tf.strings.length(tf.io.read_file(str(tmp_path / "missing"))), tf.float32) + x
        with tf.control_dependencies([tf.py_function(lambda n: seen.append(int(n)) or 0, [number], tf.int64)]):
            x = tf.cond(number == 3, missing, lambda: x)
        return (x, x[:, :1]) if phase != "predict" else x

    seen, model = [], network("sgd")
    data = tf.data.Dataset.range(6).map(read)
    caplog.set_level(logging.DEBUG, "kopt")
    with pytest.raises(tf.errors.NotFoundError, match="missing"):
        getattr(Loop(model), phase)(data, verbose=0)
    assert seen == list(range(len(seen))) and "jit: True" in caplog.text and "XLA refuses" not in caplog.text
    assert phase != "fit" or int(model.optimizer.iterations) == 3


# What Keras was told


def jit_of(model, points, **how) -> tuple[bool, ...]:
    loop = Loop(model, **how)
    loop.fit(*points, verbose=0)
    loop.evaluate(*points, verbose=0)
    loop.predict(points[0], batch_size=10)
    return model.train_function.xla, model.test_function.xla, model.predict_function.xla


def test_what_compile_was_told_counts_until_loop_is_told(network, points, xla_pays, tmp_path) -> None:
    assert jit_of(network(), points) == (True,) * 3
    model = network(jit_compile=False)
    assert jit_of(model, points) == (False,) * 3
    assert jit_of(model, points, jit=True) == (True,) * 3
    model.compile("sgd", "mse")
    assert jit_of(model, points) == (True,) * 3
    model.jit_compile = True
    model.jit_compile = False
    model.train_function = model.test_function = model.predict_function = None
    assert jit_of(model, points) == (False,) * 3
    model.save(tmp_path / "model.keras")  # a file says False for "auto" too
    assert internals.asked_jit(keras.models.load_model(tmp_path / "model.keras")) is None


def test_a_layer_that_does_not_support_it_counts(points, xla_pays, caplog) -> None:
    caplog.set_level(logging.DEBUG, "kopt")
    inner = layers.Dense(2, name="inner")
    inner.supports_jit = False
    model = keras.Sequential([keras.Input((10,)), keras.Sequential([inner]), layers.Dense(1)])
    model.compile("sgd", "mse")
    assert jit_of(model, points) == (False,) * 3 and caplog.text.count("inner has supports_jit=False") == 3


# Random numbers

SHAPE = (300, 700)
DRAWS = {
    "uniform": (lambda seed: keras.random.uniform(SHAPE, seed=seed), 1 / 2, 1 / 12),
    "normal": (lambda seed: keras.random.normal(SHAPE, seed=seed), 0, 1),
    "truncated_normal": (lambda seed: keras.random.truncated_normal(SHAPE, seed=seed), 0, 0.7737413),
    "randint": (lambda seed: keras.random.randint(SHAPE, 0, 10, seed=seed), 4.5, 99 / 12),
    "dropout": (lambda seed: keras.random.dropout(tf.ones(SHAPE), 0.3, seed=seed), 1, 0.3 / 0.7),
}


@pytest.mark.parametrize("name", DRAWS)
def test_random_numbers_in_xla_are_fast_ones_of_the_same_seeds(name: str) -> None:
    draw, mean, variance = DRAWS[name]

    def fast(seed):
        with internals.fast_random():
            return draw(seed), draw(seed)

    ours, theirs = keras.random.SeedGenerator(7), keras.random.SeedGenerator(7)
    compiled = tf.function(lambda: fast(ours), jit_compile=True)
    operations = {op.type for op in compiled.get_concrete_function().graph.get_operations()}
    drawn = {one for one in operations if one.startswith(("StatelessRandom", "StatelessTruncated"))}
    assert drawn and "StatelessRandomGetKeyCounter" not in drawn
    ours.state.assign(theirs.state)
    found = [numbers.numpy().astype("float64") for numbers in (*compiled(), *compiled())]
    for _ in range(4):
        draw(theirs)
    np.testing.assert_array_equal(ours.state.numpy(), theirs.state.numpy())
    count = found[0].size
    for numbers in found:
        assert abs(numbers.mean() - mean) < 5 * np.sqrt(variance / count)
        assert numbers.var() == pytest.approx(variance, rel=0.02)
        rows = (numbers.mean(1) - mean) * np.sqrt(SHAPE[1] / variance)
        assert rows.var() == pytest.approx(1, abs=0.5)
    for one, other in zip(found, found[1:]):
        assert abs(np.corrcoef(one.flatten(), other.flatten())[0, 1]) < 5 / np.sqrt(count)


def test_a_function_of_its_own_may_run_elsewhere_and_draws_as_ever() -> None:
    inner = tf.function(lambda: tf.random.stateless_uniform([5], [1, 2]))

    def outer():
        with internals.fast_random():
            return inner(), tf.cond(tf.constant(1) > 0, lambda: tf.random.stateless_uniform([5], [1, 2]), inner)

    tf.function(outer, jit_compile=True).get_concrete_function()
    expected = tf.random.stateless_uniform([5], [1, 2])
    np.testing.assert_array_equal(tf.function(lambda: inner())(), expected)


def test_dropout_trains_in_xla_and_its_seeds_are_those_of_keras(points, xla_pays) -> None:
    def build():
        keras.utils.set_random_seed(3)
        body = [layers.Dense(64, "relu"), layers.Dropout(0.4), layers.GaussianNoise(0.1), layers.Dense(1)]
        model = keras.Sequential([keras.Input((10,)), *body])
        model.compile("sgd", "mse")
        return model

    ours, theirs = build(), build()
    loss = Loop(ours).fit(*points, batch_size=10, epochs=5, verbose=0).history["loss"]
    expected = theirs.fit(*points, batch_size=10, epochs=5, verbose=0).history["loss"]
    assert ours.train_function.xla is True
    assert loss[-1] < loss[0] and expected[-1] < expected[0]
    ours_at, theirs_at = ([one.numpy().tolist() for one in model.non_trainable_variables] for model in (ours, theirs))
    assert ours_at == theirs_at and len(ours_at) == 2


# How many programs are made


@pytest.fixture
def compilations(caplog):
    caplog.set_level(logging.DEBUG, "kopt")

    def count() -> int:
        found = sum(record.getMessage().startswith("compiled in") for record in caplog.records)
        caplog.clear()
        return found

    return count


def test_predictions_of_any_length_by_any_loop_are_one_program(network, points, xla_pays, compilations) -> None:
    model = network()
    expected = network().predict(points[0], verbose=0)
    for rows in (32, 40, 64, 77, 100):
        np.testing.assert_allclose(Loop(model).predict(points[0][:rows]), expected[:rows], atol=1e-6)
    assert compilations() == 1
    np.testing.assert_allclose(model.predict(points[0], verbose=0), expected, atol=1e-6)
    np.testing.assert_allclose(model.predict_on_batch(points[0]), expected, atol=1e-6)
    for rows in (3, 9):  # shorter than a batch
        Loop(model).predict(points[0][:rows])
    assert compilations() == 1
    model.compile("sgd", "mse")
    Loop(model).predict(points[0])
    assert compilations() == 1


def test_arrays_of_any_length_are_two_programs_without_xla(network, points, compilations) -> None:
    model, stock = network("adam"), network("adam")
    for rows in (40, 50, 60, 33, 77, 91):
        data = [part[:rows] for part in points]
        how = {"batch_size": 10, "epochs": 2, "shuffle": False, "verbose": 0}
        ours = Loop(model, jit=False).fit(*data, **how).history
        assert ours == stock.fit(*data, **how).history
    assert compilations() == 2  # with a short last batch, and without


def test_xla_compiles_for_some_lengths_and_no_more(network, points, xla_pays, compilations) -> None:
    model = network()
    for _ in range(2):
        for rows in range(50, 50 + LENGTHS + 3):
            data = [part[:rows] for part in points]
            assert Loop(model).evaluate(*data, verbose=0) == pytest.approx(
                model.evaluate(*data, verbose=0, return_dict=True), rel=1e-5
            )
    assert compilations() == LENGTHS + 1


# What the logs say


class OwnStep(keras.Model):
    """A model with a train_step of its own."""

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            outputs = self(x, training=True)
            loss = self.compute_loss(x, y, outputs)
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return self.compute_metrics(x, y, outputs)


@pytest.mark.parametrize("kind", [keras.Model, OwnStep])
def test_each_outputs_loss_with_a_short_last_batch_is_keras_own_in_xla_too(kind) -> None:
    x = np.random.default_rng(0).normal(size=(10, 3)).astype("float32")
    targets = lambda x: {"a": x[:, :1], "b": x[:, 1:]}
    validation = x[:9], targets(x[:9])

    def history(train) -> dict:
        keras.utils.set_random_seed(0)
        inputs = keras.Input((3,))
        model = kind(inputs, {"a": layers.Dense(1, name="a")(inputs), "b": layers.Dense(2, name="b")(inputs)})
        model.compile("sgd", {"a": "mse", "b": "mae"})
        fit = train(model)
        return fit(x, targets(x), batch_size=8, shuffle=False, validation_data=validation, verbose=0).history

    theirs = history(lambda model: model.fit)
    ours = history(lambda model: Loop(model, jit=True).fit)
    assert {"a_loss", "b_loss", "val_a_loss", "val_b_loss"} <= theirs.keys() == ours.keys()
    for name, values in theirs.items():
        np.testing.assert_allclose(ours[name], values, rtol=1e-5, err_msg=name)
