"""Tasks: what targets and outputs are, and with them the loss and the score."""

from typing import Any, Literal

import keras

from kopt.tasks.losses import CrossEntropy, Multinomial
from kopt.tasks.metrics import Accuracy, BitsPerCharacter, RecallAt

__all__ = ["PlainTask", "Task", "better", "loss_of", "score_of"]

# Classes; numbers; numbers of the coming times; which of many items; which character comes after each.
Task = Literal["classification", "regression", "forecast", "ranking", "language"]

# Those that any table or array can be for.
PlainTask = Literal["classification", "regression", "forecast"]

LOWER = ("mae", "rmse", "rmsle", "bits_per_character", "loss")


def loss_of(task: Task) -> keras.losses.Loss:
    """Give the usual loss of a task, from logits where the outputs are choices.

    Args:
        task: What the outputs are.

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


def score_of(task: Task) -> Any:
    """Give the usual score of a task: what a run is judged by.

    Args:
        task: What the outputs are.

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


def better(score: str) -> Literal["max", "min"]:
    """Say whether more or less of a score is better.

    Args:
        score: Its name, as in a history: "accuracy", "val_rmse".

    Returns:
        "max" or "min".

    Example:
        >>> better("val_rmse"), better("auc")
        ('min', 'max')

    Source:
        The metrics' definitions.
    """
    return "min" if score.removeprefix("val_") in LOWER else "max"
