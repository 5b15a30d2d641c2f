"""Baselines for any table: gradient boosting, ridge regression."""

from collections.abc import Callable

import numpy as np

from kopt.data.base import Baseline, Data, Split, Splits
from kopt.values.checks import needs
from kopt.values.columns import WORDS

__all__ = ["boosting", "ridge"]

CATEGORIES = 200  # of a column; scikit-learn's trees take up to 255, and put the rarest into one
FEW_ROWS = 10_000
MOST_WORDS = 100  # of a column of words
STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)


def boosting(data: Data, splits: Splits) -> Baseline:
    """Score gradient-boosted trees over columns by name.

    Args:
        data: The data set, for its task and score.
        splits: The splits of the data set, with inputs as columns.

    Returns:
        The score on the test split.

    Raises:
        ImportError: When scikit-learn is not installed.

    Example:
        >>> from kopt.data import Diamonds
        >>> small = Diamonds(examples=500)
        >>> boosting(small, small.load()).value < 0.3
        True

    Source:
        `sklearn.ensemble.HistGradientBoostingRegressor`, with 300 trees.
    """
    ensemble, encoding = needs("sklearn.ensemble", "recipes"), needs("sklearn.preprocessing", "recipes")
    texts = [name for name, column in splits.train.x.items() if column.dtype.kind == "O"]
    named = [name for name in texts if not name.endswith(WORDS)]
    numbers = [name for name in splits.train.x if name not in texts]
    known = [name for name in numbers if not np.isnan(splits.train.x[name]).all()]  # scikit-learn has no bins of none
    bags = {name: bag(splits.train.x[name]) for name in texts if name not in named}
    how = {"handle_unknown": "use_encoded_value", "unknown_value": np.nan, "max_categories": CATEGORIES}
    encoder = encoding.OrdinalEncoder(**how)
    if named:
        encoder.fit(np.stack([splits.train.x[name] for name in named], 1))

    def table(part: Split) -> np.ndarray:
        columns = [part.x[name] if name in known else np.zeros(len(part.y)) for name in numbers]
        texts = [encoder.transform(np.stack([part.x[name] for name in named], 1))] if named else []
        words = [bags[name](part.x[name]) for name in bags]
        return np.column_stack([*columns, *texts, *words])

    categories = list(range(len(numbers), len(numbers) + len(named)))
    classifies = data.task == "classification"
    machine = ensemble.HistGradientBoostingClassifier if classifies else ensemble.HistGradientBoostingRegressor
    x, test = table(splits.train), table(splits.test)
    # With more than 10,000 rows scikit-learn holds some out, of each class: a class of one row cannot be cut.
    stops = "auto" if not classifies or np.bincount(splits.train.y)[np.unique(splits.train.y)].min() > 1 else False
    how_long = {"max_iter": 300, "early_stopping": stops, "random_state": 0}

    threads = 1 if len(x) < FEW_ROWS else None  # of few rows, threads wait for each other most of the time

    def predicted(y: np.ndarray) -> np.ndarray:
        with needs("threadpoolctl", "recipes").threadpool_limits(threads, user_api="openmp"):
            return machine(categorical_features=categories, **how_long).fit(x, y).predict(test)

    if classifies:
        outputs = np.eye(classes_of(splits))[predicted(splits.train.y).astype(int)]
    else:
        targets = splits.train.y.reshape(len(splits.train.y), -1)
        outputs = np.stack([predicted(column) for column in targets.T], 1).reshape(splits.test.y.shape)
    return Baseline("gradient boosting", data.scored(splits.test.y, outputs))


def bag(texts: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return what turns texts into a column for each of the most frequent words: how often it is in the text."""
    needed = needs("sklearn.feature_extraction.text", "recipes")
    counter = needed.CountVectorizer(max_features=MOST_WORDS, token_pattern=r"\S+").fit(texts)
    return lambda texts: counter.transform(texts).toarray().astype("float32")


def ridge(data: Data, splits: Splits) -> Baseline:
    """Score ridge regression on standardized inputs, with one output a class; for texts, score the mean.

    The strength of the penalty is chosen on the validation split.

    Args:
        data: The data set, for its task and score.
        splits: The splits of the data set, with inputs as one array.

    Returns:
        The score on the test split.

    Example:
        >>> from kopt.data import arrays
        >>> x = np.random.default_rng(0).normal(size=(200, 3))
        >>> given = arrays(x, x @ [1.0, 2.0, 3.0] + 1)
        >>> ridge(given, given.load()).value < 0.05
        True

    Source:
        Hoerl and Kennard, Ridge Regression, 1970.
    """
    texts = splits.train.x.dtype.kind == "O"
    flat = [np.zeros((len(part.y), 1)) if texts else part.x.reshape(len(part.y), -1) for part in splits[:3]]
    center, deviation = flat[0].mean(0, dtype="float64"), flat[0].std(0, dtype="float64") + 1e-12
    inputs = [(part - center) / deviation for part in flat]
    if data.task == "classification":
        targets = np.eye(classes_of(splits))[splits.train.y]
    else:
        targets = splits.train.y.reshape(len(splits.train.y), -1).astype("float64")
    mean = targets.mean(0)
    square, product = inputs[0].T @ inputs[0], inputs[0].T @ (targets - mean)
    solved = [np.linalg.solve(square + strength * np.eye(len(square)), product) for strength in STRENGTHS]

    def scored(weights: np.ndarray, place: int) -> float:
        outputs, y = inputs[place] @ weights + mean, (splits.train, splits.validation, splits.test)[place].y
        return data.scored(y, outputs if data.task == "classification" else outputs.reshape(y.shape))

    best = (max if data.direction == "max" else min)(solved, key=lambda weights: scored(weights, 1))
    return Baseline("the mean" if texts else "ridge regression", scored(best, 2))


def classes_of(splits: Splits) -> int:
    return max(int(part.y.max()) for part in splits[:3]) + 1
