"""Loop equals fit: the same batches, the same weights."""

import itertools

import keras
import numpy as np
import pytest

from kopt.optimizers import Optimizer
from kopt.rules import Adam
from kopt.training import Loop, TrainStep

OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.05),
    "momentum": lambda: keras.optimizers.SGD(0.02, momentum=0.9, nesterov=True),
    "adam": lambda: keras.optimizers.Adam(0.01),
    "adamw, ema, clip": lambda: keras.optimizers.AdamW(0.01, use_ema=True, global_clipnorm=1.0),
    "kopt adam": lambda: Optimizer(Adam(), 0.01),
}
SIZES = pytest.mark.parametrize("batch_size", [25, 32, 1, "full"])


def difference(one, other) -> float:
    return max(float(np.abs(left - right).max()) for left, right in zip(one.get_weights(), other.get_weights()))


def same_history(one: dict, other: dict, atol: float) -> None:
    assert sorted(one) == sorted(other)
    for name, values in one.items():
        np.testing.assert_allclose(other[name], values, rtol=atol, atol=atol, err_msg=name)


def both(network, points, jit: bool, engine: str = "resident", compiled=None, **how):
    """Train one network by fit and one by Loop on the same batches."""
    compiled = compiled or {}
    fitted, looped = network(**compiled()) if callable(compiled) else network(**compiled), None
    looped = network(**compiled()) if callable(compiled) else network(**compiled)
    x, y = points
    how = {"epochs": 3, "shuffle": False, "verbose": 0} | how
    size = how.pop("batch_size", 32)
    expected = fitted.fit(x, y, batch_size=len(x) if size == "full" else size, **how).history
    found = Loop(looped, jit=jit, engine=engine).fit(x, y, batch_size=size, **how).history
    return fitted, looped, expected, found


@pytest.mark.parametrize(
    ("name", "with_input"), [*((name, True) for name in OPTIMIZERS), ("adam", False), ("kopt adam", False)]
)
def test_bit_identical_without_jit(name: str, with_input: bool, network, points) -> None:
    """With every optimizer, and with Keras' and kopt's for a model that its first batch builds."""
    compiled = lambda: {
        "optimizer": OPTIMIZERS[name](),
        "with_input": with_input,
        "regularizer": keras.regularizers.L2(0.01),
    }
    fitted, looped, expected, found = both(network, points, False, compiled=compiled, validation_split=0.2)
    assert difference(fitted, looped) == 0
    assert found == expected


@SIZES
def test_every_batch_size_is_bit_identical_without_jit(batch_size, network, points) -> None:
    fitted, looped, expected, found = both(network, points, False, batch_size=batch_size)
    assert difference(fitted, looped) == 0
    same_history(expected, found, 1e-7)


@pytest.mark.parametrize(("name", "batch_size"), list(zip(OPTIMIZERS, itertools.cycle([25, 32]))))
def test_equal_to_1e_5_with_jit(name: str, batch_size: int, network, points) -> None:
    """With every optimizer, and by turns with a short last batch and without: the two know nothing of each other."""
    compiled = lambda: {"optimizer": OPTIMIZERS[name]()}
    fitted, looped, expected, found = both(network, points, True, compiled=compiled, batch_size=batch_size)
    assert difference(fitted, looped) <= 1e-5
    same_history(expected, found, 1e-5)


@pytest.mark.parametrize("engine", ["resident", "stream"])
def test_sample_weights_are_bit_identical(engine: str, network, points) -> None:
    weights = np.random.default_rng(1).uniform(size=100)
    fitted, looped, expected, found = both(network, points, False, engine, sample_weight=weights)
    assert difference(fitted, looped) == 0
    same_history(expected, found, 1e-7)


def test_stream_is_bit_identical(network, points) -> None:
    fitted, looped, expected, found = both(network, points, False, "stream", validation_split=0.2)
    assert difference(fitted, looped) == 0
    same_history(expected, found, 1e-7)


def test_dropout_batch_normalization_and_class_weights_are_bit_identical(points) -> None:
    x, y = points[0], (points[1][:, 0] > 0).astype("int32")

    def build():
        keras.utils.set_random_seed(1)
        layers = [
            keras.Input((10,)),
            keras.layers.Dense(8),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3),
        ]
        model = keras.Sequential([*layers, keras.layers.Dense(2)])
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
        return model

    fitted, looped = build(), build()
    how = {"batch_size": 32, "epochs": 3, "shuffle": False, "verbose": 0, "class_weight": {0: 1.0, 1: 3.0}}
    expected = fitted.fit(x, y, **how).history
    found = Loop(looped, jit=False).fit(x, y, **how).history
    assert difference(fitted, looped) == 0
    same_history(expected, found, 1e-7)


def test_dictionaries_of_inputs_and_outputs(points) -> None:
    x, y = points

    def build():
        keras.utils.set_random_seed(1)
        inputs = {"a": keras.Input((5,), name="a"), "b": keras.Input((5,), name="b")}
        hidden = keras.layers.Dense(4)(keras.layers.Concatenate()([inputs["a"], inputs["b"]]))
        outputs = {
            "mean": keras.layers.Dense(1, name="mean")(hidden),
            "sign": keras.layers.Dense(1, name="sign")(hidden),
        }
        model = keras.Model(inputs, outputs)
        model.compile("adam", {"mean": "mse", "sign": "mae"}, loss_weights={"mean": 1.0, "sign": 0.5})
        return model

    data = {"a": x[:, :5], "b": x[:, 5:]}, {"mean": y, "sign": np.sign(y)}
    fitted, looped = build(), build()
    expected = fitted.fit(*data, epochs=2, shuffle=False, verbose=0).history
    found = Loop(looped, jit=False, engine="resident").fit(*data, epochs=2, shuffle=False, verbose=0).history
    assert difference(fitted, looped) == 0
    same_history(expected, found, 1e-7)


def test_the_step_in_plain_fit_is_bit_identical(network, points) -> None:
    fitted, stepped = network("adam"), network("adam")
    stepped.train_step = TrainStep(stepped)
    expected = fitted.fit(*points, epochs=2, shuffle=False, verbose=0).history
    assert stepped.fit(*points, epochs=2, shuffle=False, verbose=0).history == expected
    assert difference(fitted, stepped) == 0


def test_an_embedding_trains_as_with_dense_gradients() -> None:
    """Keras' Adam squares the rows of a sparse gradient before it adds up duplicates."""
    rows, targets = np.random.default_rng(0).integers(0, 5, (64, 4)), np.random.default_rng(1).normal(size=(64, 1))

    def build(dense: bool):
        keras.utils.set_random_seed(1)
        table = keras.layers.Embedding(5, 3) if not dense else keras.layers.Dense(3, use_bias=False)
        start = keras.layers.Lambda(lambda i: keras.ops.one_hot(i, 5)) if dense else keras.layers.Identity()
        inputs = keras.Input((4,), dtype="int32")
        hidden = keras.layers.Flatten()(table(start(inputs)))
        model = keras.Model(inputs, keras.layers.Dense(1, kernel_initializer="ones")(hidden))
        table.set_weights([np.linspace(-1, 1, 15).reshape(5, 3)])
        model.compile(keras.optimizers.Adam(0.01), "mse")
        return model, table

    (sparse, embedding), (dense, reference) = build(False), build(True)
    Loop(sparse, jit=True).fit(rows, targets, epochs=5, shuffle=False, verbose=0)
    dense.fit(rows, targets, epochs=5, shuffle=False, verbose=0)
    np.testing.assert_allclose(embedding.get_weights()[0], reference.get_weights()[0], atol=1e-5)


def test_shuffled_epochs_are_the_same_in_every_engine(network, points) -> None:
    models = {engine: network("adam") for engine in ("resident", "stream")}
    for engine, model in models.items():
        Loop(model, engine=engine, jit=False, seed=3).fit(*points, epochs=3, verbose=0)
    assert difference(*models.values()) == 0
    other = network("adam")
    Loop(other, jit=False, seed=4).fit(*points, epochs=3, verbose=0)
    assert difference(other, models["stream"]) > 1e-4
