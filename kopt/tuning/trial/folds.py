"""Folds: the rows to train on and the rows to validate on."""

from typing import NamedTuple

import keras
import numpy as np

from kopt.tuning.space.seeded import seed_of
from kopt.values.checks import require
from kopt.values.types import ArrayLike, Nest

__all__ = ["Fold", "folds_of", "take"]


class Fold(NamedTuple):
    """Row numbers of one fold: those to train on and those to validate on."""

    train: np.ndarray
    validation: np.ndarray


def folds_of(y: Nest, folds: int, *, groups: ArrayLike | None = None, seed: int = 0) -> list[Fold]:
    """Split examples into folds, so that each example is validated on once.

    Folds are stratified: where the targets are classes (whole numbers, or one-hot rows), every fold has its share of
    each class. With groups, the examples of a group stay together, and the largest groups are placed first, each into
    the fold with the fewest examples.

    Args:
        y: Targets, or a nest of them, whose first leaf holds the classes.
        folds: The number of folds, >= 2.
        groups: The group of each example, a name or a number; None for no groups.
        seed: Seed of the shuffling within each class, >= 0.

    Returns:
        The folds.

    Raises:
        ValueError: When there are fewer examples or groups than folds, or `groups` has not one entry for each example.

    Example:
        >>> [fold.validation.tolist() for fold in folds_of([0, 0, 1, 1], 2)]
        [[0, 3], [1, 2]]

    Source:
        scikit-learn's StratifiedKFold and GroupKFold.
    """
    outputs = isinstance(y, (dict, tuple)) or isinstance(y, list) and all(np.ndim(one) for one in y)
    targets = np.asarray(keras.tree.flatten(y)[0] if outputs else y)
    if groups is None:
        require(len(targets) >= folds, "folds", f"must be <= {len(targets)}, the number of examples", folds)
        labels = class_of(targets)
        places = dealt(np.zeros(len(targets), int) if labels is None else labels, folds, seed)
    else:
        groups = np.asarray(groups)
        require(len(groups) == len(targets), "groups", f"must be {len(targets)}, one for each example", len(groups))
        names, group = np.unique(groups, return_inverse=True)
        require(len(names) >= folds, "folds", f"must be <= {len(names)}, the number of groups", folds)
        places = together(group, folds)
    return [Fold(np.flatnonzero(places != fold), np.flatnonzero(places == fold)) for fold in range(folds)]


def class_of(targets: np.ndarray) -> np.ndarray | None:
    """Return the class of each example, or None when the targets are no classes."""
    if targets.ndim == 2 and targets.shape[1] > 1 and np.isin(targets, (0, 1)).all() and (targets.sum(1) == 1).all():
        return targets.argmax(1)
    one = targets.reshape(len(targets), -1)
    return (
        np.unique(one[:, 0], return_inverse=True)[1] if one.shape[1] == 1 and targets.dtype.kind in "iubOSU" else None
    )


def dealt(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Return the fold of each example: shuffle each class, and deal one class after the other to the folds in turn."""
    random = np.random.default_rng(seed_of(seed, folds))
    order = np.concatenate([random.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)])
    places = np.empty(len(labels), int)
    places[order] = np.arange(len(labels)) % folds
    return places


def together(group: np.ndarray, folds: int) -> np.ndarray:
    """Return the fold of each example: the largest group first, each group into the fold with the fewest examples."""
    sizes, filled = np.bincount(group), np.zeros(folds, int)
    fold_of = np.empty(len(sizes), int)
    for one in np.argsort(-sizes, kind="stable"):
        fold_of[one] = np.argmin(filled)
        filled[fold_of[one]] += sizes[one]
    return fold_of[group]


def take(arrays: Nest, rows: np.ndarray) -> Nest:
    """Return some rows of arrays.

    Args:
        arrays: An array, a nest of them, or None.
        rows: Row numbers.

    Returns:
        The same nest.

    Example:
        >>> take({"a": np.array([1, 2, 3])}, np.array([2, 0]))
        {'a': array([3, 1])}
    """
    return None if arrays is None else keras.tree.map_structure(lambda one: np.asarray(one)[rows], arrays)
