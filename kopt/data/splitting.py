"""Splits of rows: by chance, stratified, by time, by group, or given by a column."""

from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from kopt.values.checks import require
from kopt.values.texts import clipped

__all__ = ["Cuts", "SplitKind", "require_apart", "split_rows"]

SplitKind: TypeAlias = Literal["random", "stratified", "time", "group", "given"]
GIVEN = ("train", "validation", "test")


class Cuts(NamedTuple):
    """The numbers of the rows of each split."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split_rows(
    order: np.ndarray, split: SplitKind, values: np.ndarray | None, *, validation: float, test: float
) -> Cuts:
    """Cut rows into three splits; which rows are tested on does not depend on the share of validation.

    - "random": the first rows of `order` are the test split, the next ones the validation split.
    - "stratified": the same within the rows of each value, so that each split has every value in the same share.
    - "time": the latest rows are the test split, the ones before the validation split; rows of one time stay together.
    - "group": all rows of a value are in one split; the shares are those of rows, as nearly as the groups allow.
    - "given": the values are "train", "validation" and "test".

    Args:
        order: The numbers of rows, shuffled by a seed.
        split: How to split.
        values: The value of each row by which it is split, by the number of the row; None for "random".
        validation: The share of rows to validate on, in (0, 1).
        test: The share of rows to test on, in (0, 1 - validation).

    Returns:
        The rows of each split.

    Raises:
        ValueError: When a split would be empty, or the values do not fit the way.

    Example:
        >>> when = np.array([3, 1, 2, 5, 4, 6])
        >>> [rows.tolist() for rows in split_rows(np.arange(6), "time", when, validation=0.2, test=0.4)]
        [[1, 2, 0], [4], [3, 5]]

    Source:
        `sklearn.model_selection`: StratifiedShuffleSplit, TimeSeriesSplit, GroupShuffleSplit.
    """
    require(split == "random" or values is not None, "by", f"must be given for split={split!r}", None)
    if split == "random" or values is None:
        tests, validations = round(test * len(order)), round(validation * len(order))
        cuts = Cuts(order[tests + validations :], order[tests : tests + validations], order[:tests])
    elif split == "given":
        cuts = given(order, values[order])
    else:
        cut = {"stratified": stratified, "time": by_time, "group": by_group}[split]
        cuts = cut(order, values[order], validation, test)
    for name, rows in zip(("test", "validation", "train"), reversed(cuts)):
        require(len(rows) > 0, f"the {name} split", "must not be empty", len(order))
    return cuts


def stratified(order: np.ndarray, values: np.ndarray, validation: float, test: float) -> Cuts:
    """Take rows at equal distances out of the rows sorted by value: of each value the share, up to one row."""
    codes = np.unique(values, return_inverse=True)[1]
    places = np.argsort(codes, kind="stable")
    tested = at_equal_distances(len(places), test)
    tests, others = places[tested], places[~tested]
    validated = at_equal_distances(len(others), validation / (1 - test))
    return Cuts(*(order[np.sort(part)] for part in (others[~validated], others[validated], tests)))


def at_equal_distances(count: int, share: float) -> np.ndarray:
    """Return which of some places are taken."""
    return np.diff(np.floor(np.arange(count + 1) * share + 0.5)) > 0


def by_time(order: np.ndarray, values: np.ndarray, validation: float, test: float) -> Cuts:
    """Cut rows in the order of their values; a cut within equal values moves to their first."""
    require(
        values.dtype.kind in "iufM", "by", "must be of a column of dates or numbers for split='time'", str(values[0])
    )
    places = np.argsort(values, kind="stable")
    ordered = values[places]
    tests, validations = round(test * len(order)), round(validation * len(order))
    ends = len(order) - tests, len(order) - tests - validations
    second, first = (int(np.searchsorted(ordered, ordered[min(end, len(order) - 1)])) for end in ends)
    return Cuts(order[places[:first]], order[places[first:second]], order[places[second:]])


def by_group(order: np.ndarray, values: np.ndarray, validation: float, test: float) -> Cuts:
    """Fill the test split, then the validation split, with whole groups in the order of their first rows."""
    kinds, first, codes, counts = np.unique(values, return_index=True, return_inverse=True, return_counts=True)
    require(len(kinds) >= 3, "by", "must be of a column of 3 groups or more", list(map(str, kinds)))
    groups = np.argsort(first)  # the rows are shuffled, and so are the groups
    # Groups larger than both other splits come last: they are trained on, and are not what little else is tested by.
    groups = groups[np.argsort(counts[groups] > max(validation, test) * len(order), kind="stable")]
    before = np.cumsum(counts[groups]) - counts[groups]
    middle = (before + counts[groups] / 2) / len(order)  # a group is where most of it is
    splits = np.where(middle < test, 2, np.where(middle < test + validation, 1, 0))
    for place, split in enumerate((2, 1)):  # however large the groups are, each split has one
        splits[place] = split if split not in splits else splits[place]
    of_row = splits[np.argsort(groups)][codes]
    return Cuts(*(order[of_row == split] for split in range(3)))


def given(order: np.ndarray, values: np.ndarray) -> Cuts:
    """Cut rows by the names of splits."""
    names = np.array([str(value).strip().lower() for value in values], object)
    other = sorted(set(names) - set(GIVEN))
    require(not other, "by", "must be of a column of train, validation and test for split='given'", other)
    return Cuts(*(order[names == name] for name in GIVEN))


def require_apart(cuts: Cuts, groups: np.ndarray, name: str) -> None:
    """Refuse splits of which two have rows of one group.

    Args:
        cuts: The rows of each split.
        groups: The group of each row, by the number of the row.
        name: The name of the groups in the error.

    Raises:
        ValueError: When a group is in two splits.

    Example:
        >>> rows = Cuts(np.array([0, 1]), np.array([2]), np.array([3]))
        >>> require_apart(rows, np.array(["a", "b", "a", "c"]), "patient")
        Traceback (most recent call last):
        ValueError: group must be of groups that are in one split each, ... got {'a': 'train and validation'}.
    """
    seen: dict[str, list[str]] = {}
    for split, rows in zip(GIVEN, cuts):
        for group in np.unique(groups[rows]):
            seen.setdefault(str(group), []).append(split)
    shared = {clipped(group): " and ".join(splits) for group, splits in seen.items() if len(splits) > 1}
    rule = f"must be of groups that are in one split each, or split='group' be given with by={clipped(name)!r}"
    require(not shared, "group", rule, shared)
