"""The gradients on which rules are compared: those of a quadratic, a logistic regression and a small net, as arrays."""

import functools
import math
from collections.abc import Callable, Sequence
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


class Problems(NamedTuple):
    """Parameters at the start, and a function from parameters and the places of examples to gradients."""

    start: dict[str, np.ndarray]
    batches: np.ndarray  # the places of the examples of each step
    gradients: Callable[[Sequence[np.ndarray], np.ndarray], list[tf.Tensor]]


@functools.cache
def problems() -> Problems:
    """All parameters side by side, with the gradients of the sum of the losses."""
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

    @tf.function
    def gradients(weights: Sequence[tf.Tensor], places: tf.Tensor) -> list[tf.Tensor]:
        quadratic, kernel, offset, embedding, convolution, matrix, bias, scale = weights
        with tf.GradientTape() as tape:
            tape.watch(weights)
            loss = tf.reduce_sum(curvature * quadratic**2) / 2
            logits = tf.gather(rows, places) @ kernel + offset
            loss += tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(tf.gather(labels, places)[:, None], logits))
            hidden = tf.nn.conv1d(tf.gather(embedding, tf.gather(words, places)), convolution, 1, "VALID")
            outputs = tf.reduce_mean(tf.nn.gelu(hidden), 1) @ matrix * scale + bias
            loss += tf.reduce_mean((outputs - tf.gather(targets, places)) ** 2)
        return [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, weights)]

    batches = np.stack([random.integers(0, 64, 8) for _ in range(STEPS)])
    return Problems({name: np.asarray(value, "float32") for name, value in start.items()}, batches, gradients)


def along(step: Callable[[list[np.ndarray]], list[np.ndarray]]) -> Problem:
    """The gradients along the training by a function from the gradients of a step to the parameters after it."""
    whole = problems()
    weights, found = list(whole.start.values()), []
    for places in whole.batches:
        now = whole.gradients([tf.constant(one, "float32") for one in weights], tf.constant(places))
        found.append([gradient.numpy() for gradient in now])
        weights = step(found[-1])
    return Problem(list(whole.start), list(whole.start.values()), found)


@functools.cache
def problem() -> Problem:
    """All parameters side by side; the gradients are those along training by Keras' SGD."""
    weights = [tf.Variable(value) for value in problems().start.values()]
    sgd = keras.optimizers.SGD(0.004, momentum=0.5)

    def step(gradients: list[np.ndarray]) -> list[np.ndarray]:
        sgd.apply_gradients(zip(map(tf.constant, gradients), weights))
        return [weight.numpy() for weight in weights]

    return along(step)
