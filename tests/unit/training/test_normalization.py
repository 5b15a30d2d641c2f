"""Batch normalization by the fused kernel: Keras' numbers, and only where it was not asked for Keras' bits."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from kopt.training import Loop
from kopt.training.execute.normalization import fused_normalization

DRAWN = np.random.default_rng(0)
IMAGES, LABELS = DRAWN.normal(3, 2, (20, 6, 6, 3)).astype("float32"), DRAWN.integers(0, 4, 20)


def kernels(model, images=IMAGES, fused: bool = False) -> int:
    """Count the fused kernels in a traced training call."""

    def call(x: tf.Tensor) -> tf.Tensor:
        with fused_normalization(model) if fused else contextlib.nullcontext():
            return model(x, training=True)

    traced = tf.function(call).get_concrete_function(tf.constant(images))
    return sum(op.type == "FusedBatchNormV3" for op in traced.graph.get_operations())


def trained(arguments: dict, images: np.ndarray, dtype: str, fused: bool) -> list[np.ndarray]:
    """Return the outputs, the gradients of images and weights, and the statistics after one batch."""
    layer = layers.BatchNormalization(dtype=dtype, **arguments)
    model, images = keras.Sequential([keras.Input((6, 6, 3), dtype=dtype), layer]), tf.constant(images, dtype)
    with fused_normalization(model) if fused else contextlib.nullcontext(), tf.GradientTape() as tape:
        tape.watch(images)
        outputs = model(images, training=True)
        loss = tf.reduce_sum(tf.sin(outputs))
    gradients = tape.gradient(loss, [images, *[weight.value for weight in model.trainable_weights]])
    assert kernels(model, images) == 0 and kernels(model, images, fused) == int(fused)
    return [np.asarray(one, "float64") for one in (outputs, *gradients, *model.get_weights())]


@pytest.mark.parametrize("rows", [20, 1])
@pytest.mark.parametrize(
    "arguments", [{}, {"scale": False, "center": False}, {"momentum": 0.5, "epsilon": 0.1}], ids=str
)
def test_numbers_are_as_near_to_keras_in_float64_as_keras_in_float32(arguments: dict, rows: int) -> None:
    images = IMAGES[:rows]
    exact = trained(arguments, images, "float64", fused=False)
    ours, theirs = (trained(arguments, images, "float32", fused=fused) for fused in (True, False))
    for one, other, truth in zip(ours, theirs, exact, strict=True):
        far = np.abs(other - truth).max()
        assert np.abs(one - truth).max() <= 3 * far + 1e-6 * np.abs(truth).max()


@pytest.mark.parametrize(
    ("body", "images"),
    [
        ([layers.BatchNormalization(axis=1)], IMAGES),
        ([layers.Flatten(), layers.BatchNormalization()], IMAGES),
        ([layers.BatchNormalization(trainable=False)], IMAGES),
        ([layers.BatchNormalization(synchronized=True)], IMAGES),
        ([layers.BatchNormalization(renorm=True)], IMAGES),
        ([layers.BatchNormalization(dtype="float64")], IMAGES.astype("float64")),
        ([type("Own", (layers.BatchNormalization,), {})()], IMAGES),
    ],
    ids=["another axis", "of rows", "frozen", "synchronized", "renorm", "float64", "a class of one's own"],
)
def test_other_layers_are_left_alone(body: list, images: np.ndarray) -> None:
    model = keras.Sequential([keras.Input((6, 6, 3), dtype=images.dtype), *body])
    assert kernels(model, images, fused=True) == 0
    assert not any("call" in vars(layer) for layer in model.layers)


def convnet(**compiled):
    keras.utils.set_random_seed(0)
    inner = [layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU(), layers.Flatten(), layers.Dense(4)]
    model = keras.Sequential([keras.Input((6, 6, 3)), *inner])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), **compiled)
    return model


@pytest.mark.parametrize("engine", ["resident", "stream"])
def test_bits_are_keras_where_they_are_asked_for(engine: str) -> None:
    how = {"batch_size": 8, "epochs": 3, "shuffle": False, "verbose": 0}
    stock = convnet()
    expected = stock.fit(IMAGES, LABELS, **how).history["loss"]
    for jit, told in ((False, "auto"), ("auto", False), ("auto", "auto")):
        model = convnet(jit_compile=told)
        losses = Loop(model, jit=jit, engine=engine).fit(IMAGES, LABELS, **how).history["loss"]
        same = losses == expected and all(map(np.array_equal, model.get_weights(), stock.get_weights()))
        assert same is (jit is False or told is False)
        for one, other in zip(model.get_weights(), stock.get_weights(), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_function_of_the_users_keeps_keras_operations() -> None:
    """Its trace is kept, and Keras' fit would go on with it."""
    model = convnet()
    inner = tf.function(lambda x: model(x, training=True))

    @tf.function
    def outer(x):
        with fused_normalization(model):
            return inner(x), tf.cond(tf.reduce_sum(x) > 0, lambda: model(x, training=True), lambda: model(x) * 2)

    graph = outer.get_concrete_function(tf.constant(IMAGES)).graph.as_graph_def()
    found = [function for function in graph.library.function if "FusedBatchNormV3" in str(function)]
    assert found and all("cond_true" in function.signature.name for function in found)
