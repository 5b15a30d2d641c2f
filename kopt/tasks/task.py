"""Tasks: the kind of the targets and outputs, with the usual loss and score."""

from typing import Literal

import keras

from kopt.tasks.directions import better
from kopt.tasks.losses import CrossEntropy, Multinomial
from kopt.tasks.metrics import Accuracy, BitsPerCharacter, RecallAt

__all__ = ["PlainTask", "Task", "better", "loss_of", "score_of"]

# The targets are classes; numbers; the next values of a series; items out of many; the next character at each place.
Task = Literal["classification", "regression", "forecast", "ranking", "language"]

# The tasks of tables and arrays.
PlainTask = Literal["classification", "regression", "forecast"]


def loss_of(task: Task) -> keras.losses.Loss:
    """Return the usual loss of a task, from logits when the outputs are choices.

    Args:
        task: The kind of the targets and outputs.

    Returns:
        A fresh Keras loss.

    Example:
        >>> loss_of("regression").name
        'mean_squared_error'

    Source:
        Goodfellow, Bengio and Courville, Deep Learning, 2016, section 6.2.
    """
    if task in ("classification", "language"):
        return CrossEntropy()
    if task == "ranking":
        return Multinomial()
    return keras.losses.MeanAbsoluteError() if task == "forecast" else keras.losses.MeanSquaredError()


def score_of(task: Task) -> keras.metrics.Metric:
    """Return the usual score of a task: the metric that a run is judged by.

    Args:
        task: The kind of the targets and outputs.

    Returns:
        A fresh Keras metric.

    Example:
        >>> score_of("ranking").name
        'recall_at_20'

    Source:
        `keras.metrics`.
    """
    made = {
        "classification": Accuracy,
        "regression": lambda: keras.metrics.RootMeanSquaredError(name="rmse"),
        "forecast": lambda: keras.metrics.MeanAbsoluteError(name="mae"),
        "ranking": RecallAt,
        "language": BitsPerCharacter,
    }
    return made[task]()
