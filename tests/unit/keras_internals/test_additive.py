"""Canaries: private APIs of how losses add up behave as in Keras 3.15 and TensorFlow 2.21."""

import keras
import tensorflow as tf

from kopt import keras_internals as internals


def test_losses_of_layers_are_measured_beside_those_that_are_there() -> None:
    """Keras collects a stateless scope's losses by the layers that added them, and leaves the others."""

    class Adding(keras.layers.Layer):
        def call(self, x):
            self.add_loss(keras.ops.sum(x))
            return x

    model = keras.Sequential([keras.Input((2,)), Adding(), keras.layers.Dense(1, kernel_regularizer="l2")])
    x = tf.ones((3, 2))
    model(x)
    assert internals.kinds_of_added(model, x, training=True) == ["sum"]
    assert float(model.losses[0]) == 6.0 and len(model.losses) == 2
