"""refresh_statistics: compute the moving statistics of batch normalization anew."""

import keras
import tensorflow as tf

from kopt import keras_internals as internals
from kopt.values.checks import require
from kopt.values.types import ArrayLike, KerasModel

__all__ = ["refresh_statistics"]


def refresh_statistics(model: KerasModel, x: ArrayLike | tf.data.Dataset, *, batch_size: int = 32) -> None:
    """Compute the moving mean and variance of a model's BatchNormalization layers anew, for its present weights.

    Each becomes the average, over batches, of the statistics of the layer's inputs. Averaged weights need this, because
    no training step has computed statistics by them. The seeds of dropout layers advance.

    Args:
        model: A built Keras model.
        x: Inputs, as for `predict`: arrays, or a dataset of batches of inputs (or of inputs and more).
        batch_size: Examples a batch, >= 1, for arrays; a short last batch is weighted by its size.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> import numpy as np
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.BatchNormalization()])
        >>> refresh_statistics(model, np.array([[1.0], [3.0]]))
        >>> [float(weight[0]) for weight in model.get_weights()[2:]]
        [2.0, 1.0]

    Source:
        `torch.optim.swa_utils.update_bn`.
    """
    require(batch_size >= 1, "batch_size", "must be >= 1", batch_size)
    require(model.built, "model", "must be built", model.name)
    norms = [one for one in internals.flat_layers(model) if isinstance(one, keras.layers.BatchNormalization)]
    if not norms:
        return
    batches = x if isinstance(x, tf.data.Dataset) else tf.data.Dataset.from_tensor_slices(x).batch(batch_size)
    momenta = [layer.momentum for layer in norms]
    statistics = [variable for layer in norms for variable in (layer.moving_mean, layer.moving_variance)]
    try:
        for layer in norms:
            layer.momentum = 0.0  # so that the layer keeps the statistics of the last batch alone
        see = tf.function(lambda inputs: model(inputs, training=True), autograph=False, reduce_retracing=True)
        seen, sums = 0, [0.0] * len(statistics)
        for batch in batches:
            inputs = batch[0] if isinstance(batch, tuple) else batch
            see(inputs)
            examples = int(tf.nest.flatten(inputs)[0].shape[0])
            sums = [so_far + examples * variable.numpy() for so_far, variable in zip(sums, statistics)]
            seen += examples
    finally:
        for layer, momentum in zip(norms, momenta):
            layer.momentum = momentum
    require(seen > 0, "x", "must hold an example", seen)
    for variable, total in zip(statistics, sums):
        variable.assign(total / seen)
