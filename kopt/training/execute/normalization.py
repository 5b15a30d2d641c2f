"""Batch normalization of images by TensorFlow's fused kernel, which passes over memory less often than Keras."""

import contextlib
import functools
from collections.abc import Iterator

import keras
import tensorflow as tf

from kopt import keras_internals as internals
from kopt.values.types import KerasLayer, KerasModel, Tensor


@contextlib.contextmanager
def fused_normalization(model: KerasModel) -> Iterator[None]:
    """Make the BatchNormalization layers of a model use the fused kernel in a training step that is traced here.

    In a function of the user's that is traced on the way they do not, for it keeps its trace. Only layers of Keras' own
    class that normalize the last of four axes use it. The results differ from Keras' by the rounding of float32; they
    are as near to those in float64, and the gradient of a scale is nearer.
    """
    here = tf.compat.v1.get_default_graph()
    layers = [layer for layer in internals.flat_layers(model) if type(layer) is keras.layers.BatchNormalization]
    layers = [layer for layer in layers if "call" not in vars(layer)]
    for layer in layers:
        vars(layer)["call"] = functools.partial(normalized, layer, here)
    try:
        yield
    finally:
        for layer in layers:
            del vars(layer)["call"]


def normalized(
    layer: KerasLayer, here: tf.Graph, inputs: Tensor, training: bool | None = None, mask: Tensor = None
) -> Tensor:
    """Return what the layer's own `call` returns, by the fused kernel where it has one."""
    if not (training is True and mask is None and has_kernel(layer, inputs) and internals.is_in(here)):
        return type(layer).call(layer, inputs, training=training, mask=mask)
    channels, single = inputs.shape[-1], tf.cast(inputs, "float32")
    gamma = tf.convert_to_tensor(layer.gamma) if layer.scale else tf.ones([channels])
    beta = tf.convert_to_tensor(layer.beta) if layer.center else tf.zeros([channels])
    outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(single, gamma, beta, epsilon=layer.epsilon)
    # The kernel divides by one less than the numbers there are, Keras by all.
    count = tf.cast(tf.size(inputs) // channels, "float32")
    variance *= tf.maximum(count - 1.0, 1.0) / count
    for average, value in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        average.assign(tf.convert_to_tensor(average) * layer.momentum + value * (1.0 - layer.momentum))
    return tf.cast(outputs, layer.compute_dtype)


def has_kernel(layer: KerasLayer, inputs: Tensor) -> bool:
    """Return whether the fused kernel computes what a layer computes in training."""
    weights = [weight for weight in (layer.gamma, layer.beta, layer.moving_mean) if weight is not None]
    kinds = (tf.float32, tf.float16, tf.bfloat16)  # Keras computes in float32 for each
    single = all(weight.dtype == "float32" for weight in weights) and inputs.dtype in kinds
    plain = layer.trainable and not layer.renorm and not layer.synchronized
    last = len(inputs.shape) == 4 and layer.axis in (-1, 3) and inputs.shape[-1] is not None
    return plain and single and last
