"""Canaries: private APIs of losses of portions behave as in Keras 3.15 and TensorFlow 2.21."""

import concurrent.futures

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt import keras_internals as internals


def whole_batch(count: int, everything: int) -> internals.Portion:
    return internals.Portion(tf.constant(count), tf.constant(everything), lambda value: value)


def test_the_loss_of_the_whole_as_a_portion_is_keras_own(network, points) -> None:
    model = network(regularizer=keras.regularizers.L2(0.1))
    x, y = points
    prediction, weights = model(x), tf.constant(np.linspace(0, 1, 100), "float32")
    expected = internals.compute_loss(model, x, y, prediction, weights, training=True)
    found = internals.portion_loss(model, whole_batch(100, 100), x, y, prediction, weights, training=True)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)
    assert [float(one) for one in internals.denominators(model, y, prediction, weights)] == [100.0]


def test_a_mask_of_predictions_and_of_losses_is_counted() -> None:
    model = keras.Sequential([keras.Input((3, 2)), keras.layers.Masking(), keras.layers.Dense(4)])
    loss = keras.losses.SparseCategoricalCrossentropy(True, ignore_class=3)
    model.compile("sgd", loss)
    x = np.ones((2, 3, 2), "float32")
    x[0, 2] = 0
    y = np.array([[0, 3, 1], [1, 2, 3]])
    found = internals.denominators(model, y, model(x), None)
    assert [float(one) for one in found] == [3.0]


def test_losses_that_layers_add_are_kept_by_thread() -> None:
    layer = keras.layers.ActivityRegularization(l2=1.0)
    model = keras.Sequential([keras.Input((2,)), layer])
    internals.separate_losses(model)
    model(np.ones((1, 2)))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(model, np.zeros((1, 2))).result()
        assert float(pool.submit(lambda: model.losses[0]).result()) == 0.0
    assert float(model.losses[0]) == 2.0
