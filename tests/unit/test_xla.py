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
from kopt.training.lookups import LOOKUPS, Lookups
from kopt.training.program import LENGTHS

INVALID = tf.errors.InvalidArgumentError
ENGINES = ("resident", "stream")


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
    assert engines == list(ENGINES) or engines == ["stream"]
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
def test_errors_of_the_data_are_raised_and_nothing_is_tried_again(phase: str, network, tmp_path, caplog) -> None:
    def read(number):
        x = tf.fill([8, 10], tf.cast(number, tf.float32))
        missing = lambda: tf.cast(tf.strings.length(tf.io.read_file(str(tmp_path / "missing"))), tf.float32) + x
        with tf.control_dependencies([tf.py_function(lambda n: seen.append(int(n)) or 0, [number], tf.int64)]):
            x = tf.cond(number == 3, missing, lambda: x)
        return (x, x[:, :1]) if phase != "predict" else x

    seen, model = [], network("sgd")
    data = tf.data.Dataset.range(6).map(read)
    caplog.set_level(logging.INFO, "kopt")
    with pytest.raises(tf.errors.NotFoundError, match="missing"):
        getattr(Loop(model), phase)(data, verbose=0)
    assert seen in ([0, 1, 2, 3], [0, 1, 2, 3, 4]) and "jit: True" in caplog.text and "XLA refuses" not in caplog.text
    assert phase != "fit" or int(model.optimizer.iterations) == 3


# What Keras was told


def jit_of(model, points, **how) -> tuple[bool, ...]:
    loop = Loop(model, **how)
    loop.fit(*points, verbose=0)
    loop.evaluate(*points, verbose=0)
    loop.predict(points[0], batch_size=10)
    return model.train_function.xla, model.test_function.xla, model.predict_function.program.xla


def test_what_compile_was_told_counts_until_loop_is_told(network, points, tmp_path) -> None:
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


def test_a_layer_that_does_not_support_it_counts(points, caplog) -> None:
    caplog.set_level(logging.INFO, "kopt")
    inner = layers.Dense(2, name="inner")
    inner.supports_jit = False
    model = keras.Sequential([keras.Input((10,)), keras.Sequential([inner]), layers.Dense(1)])
    model.compile("sgd", "mse")
    assert jit_of(model, points) == (False,) * 3 and caplog.text.count("inner has supports_jit=False") == 3


# Indices out of range


def classifier(**compiled):
    keras.utils.set_random_seed(0)
    body = [layers.Embedding(10, 2), layers.Flatten(), layers.Dense(4)]
    model = keras.Sequential([keras.Input((3,), dtype="int32"), *body])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), **compiled)
    return model


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["index", "label"])
def test_an_index_out_of_range_raises_as_in_keras(engine: str, kind: str, caplog) -> None:
    caplog.set_level(logging.INFO, "kopt")
    draw = np.random.default_rng(0)
    x, y = draw.integers(0, 10, (44, 3)), draw.integers(0, 4, 44)
    good = x.copy(), y.copy()
    if kind == "index":
        x[21, 1] = 25
    else:
        y[21] = 7
    stock, model = classifier(), classifier()
    with pytest.raises(INVALID):
        stock.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    batches = lambda *arrays: tf.data.Dataset.from_tensor_slices(arrays).batch(8)
    resident = engine == "resident"
    given = lambda *arrays: {"x": arrays[0], "y": arrays[1], "batch_size": 8} if resident else {"x": batches(*arrays)}
    loop, bound = Loop(model, engine=engine), r"must be in \[0, 10\), got 25" if kind == "index" else r"\[0, 4\), got 7"
    with pytest.raises(INVALID, match=bound):
        loop.fit(**given(x, y), shuffle=False, verbose=0, epochs=3)
    assert "jit: True" in caplog.text and int(model.optimizer.iterations) == 2
    for ours, theirs in zip(model.get_weights(), stock.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    with pytest.raises(INVALID, match=bound):
        loop.evaluate(**given(x, y), verbose=0)
    if kind == "index":
        with pytest.raises(INVALID, match=bound):
            loop.predict(x, batch_size=8) if resident else loop.predict(tf.data.Dataset.from_tensor_slices(x).batch(8))
    loop.fit(**given(*good), shuffle=False, verbose=0)
    assert int(model.optimizer.iterations) == 8


TABLE = tf.reshape(tf.range(12.0), [6, 2])
VARIABLE = tf.Variable(TABLE)
PAIRS = tf.ones([3, 2])


def scattered(kind: str):
    write = getattr(tf.raw_ops, f"ResourceScatter{kind}")

    def run(i):
        with tf.control_dependencies([write(resource=VARIABLE.handle, indices=i, updates=PAIRS)]):
            return VARIABLE.read_value()

    return run


OPERATIONS = {
    "GatherV2": lambda i: tf.gather(TABLE, i),
    "ResourceGather": lambda i: tf.raw_ops.ResourceGather(resource=VARIABLE.handle, indices=i, dtype=tf.float32),
    "GatherNd": lambda i: tf.gather_nd(TABLE, tf.stack([i, i - i], 1)),
    "ScatterNd": lambda i: tf.scatter_nd(i[:, tf.newaxis], PAIRS, [6, 2]),
    "SparseSoftmaxCrossEntropyWithLogits": lambda i: tf.nn.sparse_softmax_cross_entropy_with_logits(i, TABLE[:3] @ tf.ones([2, 6])),
    **{
        f"TensorScatter{kind}": lambda i, kind=kind: getattr(tf.raw_ops, f"TensorScatter{kind}")(
            tensor=TABLE, indices=i[:, tf.newaxis], updates=PAIRS
        )
        for kind in ("Add", "Sub", "Max", "Min", "Update")
    },
    **{
        f"UnsortedSegment{kind}": lambda i, kind=kind: getattr(tf.raw_ops, f"UnsortedSegment{kind}")(
            data=PAIRS, segment_ids=i, num_segments=6
        )
        for kind in ("Sum", "Prod", "Max", "Min")
    },
    **{
        f"Segment{kind}V2": lambda i, kind=kind: getattr(tf.raw_ops, f"Segment{kind}V2")(
            data=PAIRS, segment_ids=i, num_segments=6
        )
        for kind in ("Sum", "Prod", "Max", "Min")
    },
    **{f"ResourceScatter{kind}": scattered(kind) for kind in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Update")},
}


@pytest.mark.parametrize("name", LOOKUPS)
def test_each_lookup_is_watched_in_xla_where_tensorflow_raises(name: str) -> None:
    lookups = Lookups()

    def watched(indices):
        with lookups.watch():
            return OPERATIONS[name](indices)

    compiled = tf.function(watched, jit_compile=True)
    assert name in {op.type for op in compiled.get_concrete_function(tf.TensorSpec([3], tf.int32)).graph.get_operations()}
    for good in ([0, 1, 5], [0, 0, 0]):
        compiled(tf.constant(good))
        lookups.raise_if_found()
    compiled(tf.constant([0, 1, 6]))
    with pytest.raises(INVALID, match=r"must be in \[0, 6\), got 6"):
        lookups.raise_if_found()
    lookups.raise_if_found()
    if not name.startswith("Segment"):  # has no kernel outside XLA
        with pytest.raises(INVALID):
            tf.function(OPERATIONS[name])(tf.constant([0, 1, 6]))
    free = name.startswith("UnsortedSegment")  # leaves negative ones out, there too
    compiled(tf.constant([-1, 0, 1]))
    if free:
        return lookups.raise_if_found()
    with pytest.raises(INVALID, match="got -1"):
        lookups.raise_if_found()


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
    assert "StatelessRandomGetKeyCounter" not in operations and any("StatelessRandom" in one or "Truncated" in one for one in operations)
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


def test_dropout_trains_in_xla_and_its_seeds_are_those_of_keras(points) -> None:
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
    states = [[v.numpy().tolist() for layer in model.layers for v in layer.non_trainable_variables] for model in (ours, theirs)]
    assert states[0] == states[1]


# How many programs are made


@pytest.fixture
def compilations(caplog):
    caplog.set_level(logging.INFO, "kopt")

    def count() -> int:
        found = sum(record.getMessage().startswith("compiled in") for record in caplog.records)
        caplog.clear()
        return found

    return count


def test_predictions_of_any_length_by_any_loop_are_one_program(network, points, compilations) -> None:
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


def test_xla_compiles_for_some_lengths_and_no_more(network, points, compilations) -> None:
    model = network()
    for _ in range(2):
        for rows in range(50, 50 + LENGTHS + 3):
            data = [part[:rows] for part in points]
            assert Loop(model).evaluate(*data, verbose=0) == pytest.approx(
                model.evaluate(*data, verbose=0, return_dict=True), rel=1e-5
            )
    assert compilations() == LENGTHS + 1
