"""The gradients on which rules are compared: those of a quadratic, a logistic regression and a small net, as arrays."""

import functools
import math
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

STEPS = 200


class Problem(NamedTuple):
    """Parameters at the start, and a gradient of each for every step; a name says what a parameter is."""

    names: list[str]
    start: list[np.ndarray]
    gradients: list[list[np.ndarray]]  # of the steps


def rates(rate: float) -> list[float]:
    """A rate for every step: a warm-up, then a cosine."""
    return [rate * min(1, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * step / STEPS)) for step in range(STEPS)]


@functools.cache
def problem() -> Problem:
    """All parameters side by side; the gradients are those along training by Keras' SGD."""
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    curvature = tf.constant(np.logspace(-2, 2, 8), "float32")  # a condition number of 10,000
    rows = random.normal(size=(64, 6)).astype("float32")
    labels = (rows @ random.normal(size=6) > 0).astype("float32")
    words, targets = random.integers(0, 12, (64, 6)), random.normal(size=(64, 3)).astype("float32")
    start = {
        "quadratic": random.normal(size=8) * 2,
        "logistic kernel": random.normal(size=(6, 1)) * 0.1,
        "logistic bias": np.zeros(1),
        "embedding": random.normal(size=(12, 4)) * 0.3,
        "convolution": random.normal(size=(3, 4, 5)) * 0.3,
        "matrix": random.normal(size=(5, 3)) * 0.3,
        "bias": np.zeros(3),
        "scale": np.array(1.5),
    }
    weights = [tf.Variable(value, dtype="float32", name=name) for name, value in start.items()]
    quadratic, kernel, offset, embedding, convolution, matrix, bias, scale = weights
    sgd = keras.optimizers.SGD(0.004, momentum=0.5)

    @tf.function
    def gradients(places: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(curvature * quadratic**2) / 2
            logits = tf.gather(rows, places) @ kernel + offset
            loss += tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(tf.gather(labels, places)[:, None], logits))
            hidden = tf.nn.conv1d(tf.gather(embedding, tf.gather(words, places)), convolution, 1, "VALID")
            outputs = tf.reduce_mean(tf.nn.gelu(hidden), 1) @ matrix * scale + bias
            loss += tf.reduce_mean((outputs - tf.gather(targets, places)) ** 2)
        return [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, weights)]

    found = []
    for _ in range(STEPS):
        found.append([gradient.numpy() for gradient in gradients(random.integers(0, 64, 8))])
        sgd.apply_gradients(zip(found[-1], weights))
    return Problem(list(start), [np.asarray(value, "float32") for value in start.values()], found)
