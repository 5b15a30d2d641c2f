"""Directions of metrics: whether more or less of a score is better."""

import re
from typing import Protocol, TypeAlias, runtime_checkable

import keras

from kopt.tasks.metrics import Direction, registry
from kopt.values.checks import require
from kopt.values.registry import snake_case

__all__ = ["better"]

Metric: TypeAlias = keras.metrics.Metric

# The metrics of Keras; each metric of kopt declares its own `direction`.
KERAS: dict[str, Direction] = {
    **dict.fromkeys(("Accuracy", "BinaryAccuracy", "CategoricalAccuracy", "SparseCategoricalAccuracy"), "max"),
    **dict.fromkeys(("TopKCategoricalAccuracy", "SparseTopKCategoricalAccuracy"), "max"),
    **dict.fromkeys(("AUC", "Precision", "Recall", "PrecisionAtRecall", "RecallAtPrecision"), "max"),
    **dict.fromkeys(("SensitivityAtSpecificity", "SpecificityAtSensitivity", "F1Score", "FBetaScore"), "max"),
    **dict.fromkeys(("TruePositives", "TrueNegatives", "R2Score", "CosineSimilarity"), "max"),
    **dict.fromkeys(("PearsonCorrelation", "ConcordanceCorrelation"), "max"),
    **dict.fromkeys(("BinaryIoU", "IoU", "MeanIoU", "OneHotIoU", "OneHotMeanIoU"), "max"),
    **dict.fromkeys(("MeanSquaredError", "RootMeanSquaredError", "MeanAbsoluteError"), "min"),
    **dict.fromkeys(("MeanAbsolutePercentageError", "MeanSquaredLogarithmicError", "LogCoshError"), "min"),
    **dict.fromkeys(("BinaryCrossentropy", "CategoricalCrossentropy", "SparseCategoricalCrossentropy"), "min"),
    **dict.fromkeys(("KLDivergence", "Poisson", "Hinge", "SquaredHinge", "CategoricalHinge"), "min"),
    **dict.fromkeys(("FalsePositives", "FalseNegatives"), "min"),
}
# Names under which a history has a loss or one of these metrics.
SHORT: dict[str, Direction] = dict.fromkeys(("loss", "mae", "mse", "rmse", "rmsle"), "min")
RULE = "must be one whose direction is known, or of a metric class or data set that declares direction = 'max' or 'min'"


@runtime_checkable
class Directed(Protocol):
    """A metric that declares its direction."""

    direction: Direction


def better(score: str | Metric) -> Direction:
    """Return whether more or less of a score is better.

    A metric of the user's declares it in its class, `direction = "min"`; so may the data set that it judges.

    Args:
        score: A Keras metric, or the name of a metric of kopt or Keras as a history has it: "accuracy", "val_rmse".

    Returns:
        "max" or "min".

    Raises:
        ValueError: When the direction is not known.

    Example:
        >>> better("val_rmse"), better(keras.metrics.AUC())
        ('min', 'max')
        >>> better("dice")
        Traceback (most recent call last):
        ValueError: score must be one whose direction is known, or of a metric class or data set that declares \
direction = 'max' or 'min', got 'dice'.

    Source:
        The metrics' definitions.
    """
    found = of_name(score) if isinstance(score, str) else of_metric(score)
    require(found in ("max", "min"), "score", RULE, score if isinstance(score, str) else type(score).__name__)
    assert found is not None
    return found


def of_name(name: str) -> Direction | None:
    """Return the direction of the metric that has a name in a history, or None."""
    plain = re.sub(r"_\d+$", "", name.removeprefix("val_"))  # recall_at_20
    declared = {key: cls.direction for key, cls in registry.items() if isinstance(cls, Directed)}
    return (SHORT | {snake_case(key): value for key, value in KERAS.items()} | declared).get(plain)


def of_metric(metric: Metric) -> Direction | None:
    """Return the direction that a metric declares, or that of the class of Keras that it derives from, or None."""
    if isinstance(metric, Directed):
        return metric.direction
    classes = (cls for cls in type(metric).__mro__ if cls.__module__.partition(".")[0] == "keras")
    return next((KERAS[cls.__name__] for cls in classes if cls.__name__ in KERAS), None)
