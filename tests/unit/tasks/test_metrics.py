"""Metrics and losses against scikit-learn, NumPy and Keras."""

import keras
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from kopt.tasks.directions import KERAS
from kopt.tasks.losses import CrossEntropy
from kopt.tasks.metrics import AUC, Accuracy, BitsPerCharacter, RecallAt, registry
from kopt.tasks.task import better, loss_of, score_of

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(500, 4)).astype("float32")
CLASSES = RANDOM.integers(0, 4, 500)
SHARES = RANDOM.dirichlet(np.ones(4), 500).astype("float32")


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype("float64")
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def over_batches(metric: keras.metrics.Metric, y: np.ndarray, outputs: np.ndarray) -> float:
    for start in range(0, len(y), 64):
        metric.update_state(y[start : start + 64], outputs[start : start + 64])
    return float(metric.result())


def test_accuracy_of_class_numbers_and_of_shares() -> None:
    expected = np.mean(LOGITS.argmax(1) == CLASSES)
    assert over_batches(Accuracy(), CLASSES, LOGITS) == pytest.approx(expected)
    assert over_batches(Accuracy(), CLASSES[:, None], LOGITS) == pytest.approx(expected)
    assert over_batches(Accuracy(), np.eye(4)[CLASSES], LOGITS) == pytest.approx(expected)
    assert over_batches(Accuracy(), SHARES, LOGITS) == pytest.approx(np.mean(LOGITS.argmax(1) == SHARES.argmax(1)))


@pytest.mark.parametrize("scale", [1e-4, 1.0, 20.0])
@pytest.mark.parametrize("shift", [0.0, 20.0])
def test_auc_is_scikit_learns_at_any_scale(scale: float, shift: float) -> None:
    y = CLASSES % 2
    logits = scale * (LOGITS[:, :2] + 0.8 * np.eye(2, dtype="float32")[y])
    logits[:, 1] += shift * scale
    exact = roc_auc_score(y, logits[:, 1] - logits[:, 0])
    close = 1e-3 if shift else 3e-4  # the differences that count as equal are a share of their size
    assert over_batches(AUC(), y, logits) == pytest.approx(exact, abs=close)
    weights = RANDOM.uniform(size=500).astype("float32")
    weighted = AUC()
    weighted.update_state(y, logits, sample_weight=weights)
    expected = roc_auc_score(y, logits[:, 1] - logits[:, 0], sample_weight=weights)
    assert float(weighted.result()) == pytest.approx(expected, abs=close)


def test_equal_outputs_count_half() -> None:
    assert float(AUC()([0, 1, 0, 1], np.zeros((4, 2)))) == 0.5
    with pytest.raises(ValueError, match="^y_pred must be two logits a row"):
        AUC()([0, 1], np.zeros((2, 3)))


def test_recall_is_counted_by_hand() -> None:
    y = (RANDOM.random((50, 30)) < 0.1).astype("float32")
    y[:, 0] = 1
    outputs = RANDOM.normal(size=(50, 30)).astype("float32")
    by_hand = []
    for items, scores in zip(y, outputs):
        top = set(sorted(range(30), key=lambda item: -scores[item])[:5])
        wanted = set(np.flatnonzero(items))
        by_hand.append(len(top & wanted) / min(5, len(wanted)))
    assert over_batches(RecallAt(5), y, outputs) == pytest.approx(np.mean(by_hand), rel=1e-6)
    assert RecallAt(5).name == "recall_at_5"


def test_bits_are_the_base_two_logarithm() -> None:
    y, outputs = CLASSES.reshape(50, 10), LOGITS.reshape(50, 10, 4)
    expected = -np.take_along_axis(log_softmax(outputs), y[..., None], -1).mean() / np.log(2)
    assert over_batches(BitsPerCharacter(), y, outputs) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_by_its_formula(smoothing: float) -> None:
    loss, logs = CrossEntropy(smoothing), log_softmax(LOGITS)
    for targets, shares in ((CLASSES, np.eye(4)[CLASSES]), (SHARES, SHARES)):
        expected = -((1 - smoothing) * shares + smoothing / 4) * logs
        assert float(loss(targets, LOGITS)) == pytest.approx(expected.sum(1).mean(), rel=1e-5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert again.smoothing == smoothing


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CrossEntropy(1.0), r"^smoothing must be in \[0, 1\), got 1.0"),
        (lambda: RecallAt(0), "^k must be a whole number >= 1, got 0"),
        (lambda: RecallAt(2.5), "^k must be a whole number >= 1, got 2.5"),
    ],
)
def test_bad_arguments_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_every_task_has_a_loss_and_a_score() -> None:
    for task in ("classification", "regression", "forecast", "ranking", "language"):
        assert loss_of(task) is not loss_of(task) and better(f"val_{score_of(task).name}") in ("min", "max")
    assert better("bits_per_character") == better("mae") == better("rmsle") == "min" and better("recall_at_20") == "max"


class Undirected(keras.metrics.Mean):
    """A metric of a user's that declares nothing."""


class Dice(keras.metrics.Mean):
    """A metric of a user's."""

    direction = "min"


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        ("loss", "min"),
        ("val_mae", "min"),
        ("accuracy", "max"),
        ("recall_at_20", "max"),
        ("val_bits_per_character", "min"),
        ("mean_squared_logarithmic_error", "min"),
        (Dice(), "min"),
        (RecallAt(3, name="found"), "max"),
        (BitsPerCharacter(name="bits"), "min"),
        (keras.metrics.MeanAbsoluteError(name="distance"), "min"),
        (keras.metrics.F1Score(name="f"), "max"),
    ],
    ids=lambda one: one if isinstance(one, str) else one.name,
)
def test_a_metric_carries_its_direction(score: object, expected: str) -> None:
    assert better(score) == expected


@pytest.mark.parametrize("score", ["val_dice", "x", "", Undirected(), keras.metrics.Mean()], ids=repr)
def test_an_unknown_metric_is_refused_and_never_maximized(score: object) -> None:
    rule = r"^score must be one whose direction is known, or of a metric class or data set that declares direction = "
    with pytest.raises(ValueError, match=rule + r"'max' or 'min', got '.*'\.$"):
        better(score)


def test_every_metric_of_kopt_and_keras_has_a_direction() -> None:
    assert all(cls.direction in ("max", "min") for cls in registry.values())
    reductions = {"Metric", "Mean", "Sum", "MeanMetricWrapper"}
    theirs = {name for name, cls in vars(keras.metrics).items() if isinstance(cls, type)}
    assert theirs - reductions <= set(KERAS)


# A metric, targets, outputs, and the value by hand: a line for each metric of kopt.
METRICS = [
    (Accuracy(), [1, 0], [[0.1, 2.0], [0.3, 0.7]], 0.5),
    (AUC(), [0, 1, 0, 1], [[0.0, 1.0], [0.0, 2.0], [0.0, 3.0], [0.0, 4.0]], 0.75),
    (RecallAt(2), [[1, 0, 1, 0]], [[0.9, 0.8, 0.1, 0.0]], 0.5),
    (BitsPerCharacter(), [[0, 1]], [[[0.0, 0.0], [0.0, 0.0]]], 1.0),
]


@pytest.mark.parametrize(("metric", "y", "outputs", "expected"), METRICS, ids=lambda one: getattr(one, "name", ""))
def test_a_metric_has_the_value_that_was_computed_by_hand(metric, y, outputs, expected: float) -> None:
    metric.update_state(np.array(y), np.array(outputs, "float32"))
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert type(again) is type(metric) and again.get_config() == metric.get_config()


def test_every_metric_has_its_line() -> None:
    assert {type(metric) for metric, *_ in METRICS} == set(registry.values())
