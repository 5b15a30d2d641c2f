"""Folds against scikit-learn's, and by their law: every example is validated on once."""

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold

from kopt.tuning.trial.folds import folds_of

random = np.random.default_rng(0)


@pytest.mark.parametrize("folds", [2, 5])
@pytest.mark.parametrize(
    "y",
    [
        random.integers(0, 3, 53),
        random.integers(0, 2, (53, 1)),
        np.eye(4)[random.integers(0, 4, 53)],
        np.array(["a", "b"])[random.integers(0, 2, 53)],
    ],
    ids=["whole numbers", "a column", "one-hot", "names"],
)
def test_classes_are_dealt_evenly(y: np.ndarray, folds: int) -> None:
    found = folds_of(y, folds)
    assert sorted(np.concatenate([fold.validation for fold in found])) == list(range(53))
    labels = y.argmax(1) if y.ndim == 2 and y.shape[1] > 1 else y.reshape(-1)
    for label in np.unique(labels):
        shares = [int((labels[fold.validation] == label).sum()) for fold in found]
        assert max(shares) - min(shares) <= 1
    for fold in found:
        assert len(np.intersect1d(fold.train, fold.validation)) == 0
        assert len(fold.train) + len(fold.validation) == 53
    sizes = [len(fold.validation) for fold in found]
    assert max(sizes) - min(sizes) <= 1


def test_groups_stay_together_and_are_as_even_as_scikit_learns() -> None:
    groups = random.integers(0, 13, 200)
    found = folds_of(np.zeros(200), 4, groups=groups)
    assert sum(len(np.unique(groups[fold.validation])) for fold in found) == len(np.unique(groups))
    expected = [len(test) for _, test in GroupKFold(4).split(np.zeros(200), groups=groups)]
    assert sorted(len(fold.validation) for fold in found) == sorted(expected)


def test_numbers_are_dealt_at_random_and_the_seed_says_how() -> None:
    y = random.normal(size=40)
    first, same, other = (folds_of(y, 4, seed=seed)[0].validation.tolist() for seed in (0, 0, 1))
    assert first == same != other and first != list(range(10))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"y": [1, 2], "folds": 3}, "folds must be <= 2, the number of examples, got 3."),
        ({"y": [1, 2, 3], "folds": 3, "groups": [1, 1, 2]}, "folds must be <= 2, the number of groups, got 3."),
        ({"y": [1, 2, 3], "folds": 2, "groups": [1, 1]}, "groups must be 3, one for each example, got 2."),
    ],
)
def test_what_cannot_be_dealt_is_refused(given, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        folds_of(**given)
    assert str(caught.value) == message
