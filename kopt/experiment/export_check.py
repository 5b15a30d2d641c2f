"""Compare an exported model with the Keras model that it was made of: outputs, score, bytes and latency."""

import pathlib
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras.ops import convert_to_numpy as to_numpy

from kopt.data import Data, Split
from kopt.data.base import Inputs, take
from kopt.experiment.export_formats import Predict, tensors_for
from kopt.experiment.inference import CHOICES, HIDDEN, final
from kopt.values.types import Json

__all__ = ["BATCH", "Compared", "compared", "latencies", "latency", "size"]

BATCH = 256  # rows of a batch, in the comparison and in the measured calls
CALLS = 20  # of which the median is taken, after three more
LEAST = 1e-30  # probability whose logarithm stands for the logit of a smaller one


class Compared(NamedTuple):
    """A comparison on the test split.

    Args:
        rows: Number of rows.
        difference: The largest difference of outputs; infinite when other items are hidden.
        largest: The largest output of the Keras model, at least 1.
        before: The score of the Keras model.
        after: The score of the exported model.
    """

    rows: int
    difference: float
    largest: float
    before: float
    after: float


def compared(
    data: Data, test: Split, keras_model: keras.Model, encode: Callable[[Inputs], Inputs], exported: Predict
) -> Compared:
    """Compare an exported model with the model of a run on all rows of the test split.

    Args:
        data: The data of the run, which have the score.
        test: The raw test split.
        keras_model: The model of the run, from raw inputs; its outputs may be logits.
        encode: What is done with raw inputs before the exported model.
        exported: The exported model.

    Returns:
        A `Compared`.

    Example:
        >>> from kopt.data import Digits
        >>> digits, pixels = Digits(examples=60), keras.Input((8, 8, 1))
        >>> model = keras.Model(pixels, keras.layers.Dense(10)(keras.layers.Flatten()(pixels)))
        >>> other = lambda x: final(to_numpy(model(x)), "classification")
        >>> found = compared(digits, digits.load().test, model, lambda x: x, other)
        >>> found.difference < 1e-5, found.before == found.after
        (True, True)
    """
    scores = data.score(), data.score()
    difference, largest, count = 0.0, 1.0, len(test.y)
    for begin in range(0, count, BATCH):
        part = slice(begin, begin + BATCH)
        x, y = take(test.x, part), test.y[part]
        outputs = to_numpy(keras_model(tensors_for(keras_model, x), training=False))
        expected, found = final(outputs, data.task), np.asarray(exported(encode(x)), "float32")
        difference = max(difference, furthest(found, expected))
        largest = max(largest, float(np.abs(expected[expected > HIDDEN]).max(initial=0.0)))
        for score, one in zip(scores, (outputs, as_logits(found) if data.task in CHOICES else found)):
            score.update_state(y, one)
    before, after = (float(score.result()) for score in scores)
    return Compared(count, difference, largest, before, after)


def furthest(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference of outputs; infinite for others than finite numbers, and other hidden items."""
    seen = expected > HIDDEN
    same = found.shape == expected.shape and np.array_equal(seen, found > HIDDEN)
    if not same or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found[seen] - expected[seen]).max(initial=0.0))


def as_logits(probabilities: np.ndarray) -> np.ndarray:
    """Return logits whose softmax are given probabilities, for scores and losses that take logits."""
    return np.log(np.maximum(probabilities, LEAST))


def latency(predict: Predict, x: Inputs, rows: int) -> float:
    """Return the median time of a call in milliseconds.

    Args:
        predict: The model.
        x: Rows; the first of them are used.
        rows: Number of rows of a call.

    Example:
        >>> latency(lambda x: x, np.zeros((3, 2)), 1) < 1000
        True
    """
    given, times = take(x, slice(rows)), []
    for _ in range(CALLS + 3):
        begin = time.perf_counter()
        predict(given)
        times.append(time.perf_counter() - begin)
    return statistics.median(times[3:]) * 1000


def keras_calls(model: keras.Model) -> Predict:
    """Return the calls of a Keras model as a traced function, as fast as Keras has them."""
    traced = tf.function(lambda rows: model(rows, training=False))
    return lambda rows: to_numpy(traced(tensors_for(model, rows)))


def latencies(model: keras.Model, exported: Predict, x: Inputs, rows: int) -> dict[str, Json]:
    """Return the latencies of single rows and of batches by name.

    Args:
        model: The Keras model.
        exported: The exported model.
        x: Rows as both take them.
        rows: Number of rows of a batch.

    Returns:
        Name -> milliseconds.

    Example:
        >>> two = keras.Input((2,))
        >>> list(latencies(keras.Model(two, two), lambda x: x, np.zeros((3, 2)), 3))
        ['keras_ms_of_1', 'keras_ms_of_3', 'exported_ms_of_1', 'exported_ms_of_3']
    """
    ways = {"keras": keras_calls(model), "exported": exported}
    return {
        f"{way}_ms_of_{count}": round(latency(predict, x, count), 4)
        for way, predict in ways.items()
        for count in dict.fromkeys((1, rows))
    }


def size(path: pathlib.Path) -> int:
    """Return the bytes of a file, or of all files in a folder.

    Args:
        path: The file or the folder.

    Example:
        >>> size(pathlib.Path(__file__)) > 1000
        True
    """
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(one.stat().st_size for one in files)
