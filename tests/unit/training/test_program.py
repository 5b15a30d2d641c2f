"""What is compiled with XLA, and what is not."""

import logging
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt.training import Loop, fit


def test_jit_auto_leaves_convolutions_and_pooling_alone(xla_pays, caplog) -> None:
    images, layers = np.random.default_rng(0).normal(size=(16, 8, 8, 1)), keras.layers
    for body, jit in (
        ([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(1)], True),
        ([keras.Input((8, 8, 1)), layers.Conv2D(2, 3), layers.GlobalAveragePooling2D(), layers.Dense(1)], False),
        ([keras.Input((8, 8, 1)), layers.AveragePooling2D(2), layers.Flatten(), layers.Dense(1)], False),
        ([keras.Input((8, 8, 1)), layers.Reshape((8, 8)), layers.GRU(2), layers.Dense(1)], True),
    ):
        model = keras.Sequential(body)
        model.compile("sgd", "mse")
        with caplog.at_level(logging.DEBUG, "kopt"):
            fit(model, images, np.zeros((16, 1)), batch_size=5, verbose=0)
        assert model.train_function.xla is jit, body
        assert f"jit: {jit}" in caplog.text
        caplog.clear()


def test_jit_auto_leaves_examples_of_unknown_sizes_alone(xla_pays, caplog) -> None:
    def batches():
        for length in (2, 3, 4):
            yield np.ones((5, length, 2), "float32"), np.ones((5, 1), "float32")

    specs = tf.TensorSpec((None, None, 2)), tf.TensorSpec((None, 1))
    model = keras.Sequential([keras.Input((None, 2)), keras.layers.GRU(2), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with caplog.at_level(logging.DEBUG, "kopt"):
        Loop(model, engine="stream").fit(tf.data.Dataset.from_generator(batches, output_signature=specs), verbose=0)
    assert model.train_function.xla is False and "examples have unknown sizes" in caplog.text


@pytest.mark.parametrize(("layer", "engine"), [(keras.layers.LSTM, "resident"), (keras.layers.GRU, "stream")])
def test_an_embedding_with_a_mask_before_a_recurrent_loop_trains_in_xla_as_without(layer: type, engine: str) -> None:
    draw = np.random.default_rng(0)
    x, y = draw.integers(1, 5, (20, 6)).astype("int32"), draw.normal(size=(20, 1)).astype("float32")
    x[:, 4:] = 0
    found = []
    for jit in (False, True):
        keras.utils.set_random_seed(0)
        body = [keras.layers.Embedding(5, 3, mask_zero=True), layer(2), keras.layers.Dense(1)]
        model = keras.Sequential([keras.Input((6,), dtype="int32"), *body])
        model.compile("adam", "mse")
        history = Loop(model, jit=jit, engine=engine, seed=0).fit(x, y, batch_size=8, epochs=3, verbose=0).history
        assert model.train_function.xla is jit
        found.append([*history["loss"], *np.concatenate([weight.ravel() for weight in model.get_weights()])])
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-6)


def test_what_xla_refuses_falls_back_with_one_line(xla_pays, caplog) -> None:
    model = keras.Sequential(
        [
            keras.Input((1,), dtype="int32"),
            keras.layers.Hashing(5),
            keras.layers.Embedding(5, 1),
            keras.layers.Flatten(),
        ]
    )
    model.compile("sgd", "mse")
    with caplog.at_level(logging.DEBUG, "kopt"):
        history = fit(model, np.arange(20)[:, None], np.ones((20, 1)), epochs=2, verbose=0).history
    assert model.train_function.xla is False and history["loss"][1] < history["loss"][0]
    assert len(re.findall(r"hashing\w* has supports_jit=False", caplog.text)) == 1


def test_augmentation_runs_in_the_graph_and_without_xla(caplog) -> None:
    caplog.set_level(logging.DEBUG, "kopt")
    layers = [keras.Input((8, 8, 1)), keras.layers.RandomFlip(), keras.layers.RandomTranslation(0.1, 0.1)]
    model = keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    history = Loop(model).fit(np.ones((20, 8, 8, 1)), np.ones((20, 2)), epochs=3, verbose=0).history
    assert len(history["loss"]) == 3
    assert len(re.findall(r"random_translation\w* has supports_jit=False", caplog.text)) == 1
