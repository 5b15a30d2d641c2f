"""What to look at before training: identifiers, constants, many categories, classes of few rows; and what to do."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from kopt.data.base import Data
from kopt.values.columns import WORDS
from kopt.values.texts import clipped

__all__ = ["class_warnings", "column_warnings"]

CONSTANT = 0.99  # the share of one value from which a column is near-constant
CATEGORIES = 50  # different texts of a column that become one-hot without a warning
FEW = 5  # rows of a class
IDENTIFIER = re.compile(r"(.*[_.\- ])?(id|uuid|guid|key|index|number|nr|no)", re.IGNORECASE)
SHOWN = 5  # classes that are named


def column_warnings(data: Data, columns: Mapping[str, Sequence[np.ndarray]]) -> tuple[str, ...]:
    """Return a sentence about each column by name that a model can do little with, and what to do.

    Args:
        data: The data set.
        columns: Name -> the column of each split.

    Returns:
        Sentences; none for data whose inputs are one array.

    Example:
        >>> from kopt.data import Digits
        >>> ids = [np.arange(20.0), np.arange(20.0, 30.0), np.arange(30.0, 40.0)]
        >>> column_warnings(Digits(), {"row_id": ids})
        ("'row_id' is another value in each row, as an identifier is: ignore=('row_id',)",)

    Source:
        Karpathy, A Recipe for Training Neural Networks, 2019: become one with the data.
    """
    found = []
    for name, parts in columns.items():
        column = np.concatenate(parts)
        source = data.name_in_source(name)
        if has_none(parts[0]):
            found += [f"{clipped(source)!r} has no value in the training split: ignore=({clipped(source)!r},)"]
        elif column.ndim == 1 and not name.endswith(WORDS) and not is_derived(source, name):
            found += warnings_of(source, column)
    return tuple(dict.fromkeys(found))


def has_none(column: np.ndarray) -> bool:
    """Return whether all values of a column are missing."""
    return column.ndim == 1 and bool(np.all(column == "" if column.dtype.kind == "O" else column != column))


def warnings_of(source: str, column: np.ndarray) -> list[str]:
    """Return what there is to say about a column."""
    called, texts = repr(clipped(source)), column.dtype.kind == "O"
    kinds, counts = counted(column)
    ignore = f"ignore=({called},)"
    if counts.max() >= CONSTANT * len(column):
        share = f"{100 * counts.max() / len(column):.1f} %"
        value = kinds[counts.argmax()]
        value = (clipped(value, 20) or "missing") if texts else f"{value:.4g}"
        return [f"{called} is {value} in {share} of the rows, which says little: {ignore}"]
    different = len(kinds) == len(column)
    whole = texts or bool(np.all(column == np.floor(column)))
    if different and whole and (texts or is_identifier(source, column)):
        return [f"{called} is another value in each row, as an identifier is: {ignore}"]
    if texts and len(kinds) > CATEGORIES:
        what = f"{called} has {len(kinds):,} different texts, an input each"
        return [f"{what}: join the rare ones, or {ignore}, or words=({called},)"]
    return []


def counted(column: np.ndarray) -> tuple[list, np.ndarray]:
    """Return the different values of a column, and how often each is there."""
    kinds, counts = np.unique(column.astype(str) if column.dtype.kind == "O" else column, return_counts=True)
    return kinds.tolist(), counts


def is_identifier(source: str, column: np.ndarray) -> bool:
    """Return whether different whole numbers number the rows: by their name, or because they leave out few numbers."""
    return bool(IDENTIFIER.fullmatch(source)) or float(column.max() - column.min()) < 2 * len(column)


def is_derived(source: str, name: str) -> bool:
    """Return whether an input is a part of a date: the year may be one, and the days may be others in each row."""
    return name.rpartition(".")[2] in ("year", "month", "weekday", "days", "hour") and source != name


def class_warnings(data: Data, targets: Sequence[np.ndarray]) -> tuple[str, ...]:
    """Return a sentence about the classes that have few rows.

    Args:
        data: The data set.
        targets: The targets of each split.

    Returns:
        One sentence, or none.

    Example:
        >>> from kopt.data import Digits
        >>> class_warnings(Digits(), [np.array([0] * 50 + [1] * 50 + [2])])
        ('fewer than 5 rows are there of class 2 (1), too few to learn and to test on: join or drop it',)

    Source:
        Folklore.
    """
    if data.task != "classification":
        return ()
    kinds, counts = np.unique(np.concatenate(targets), return_counts=True)
    labels = data.labels
    few = [
        f"{clipped(labels[int(kind)], 20) if labels else int(kind)} ({count})"
        for kind, count in zip(kinds, counts)
        if count < FEW
    ]
    if not few:
        return ()
    listed = ", ".join(few[:SHOWN]) + (f" and {len(few) - SHOWN} more" if len(few) > SHOWN else "")
    them = "it" if len(few) == 1 else "them"
    what = f"fewer than {FEW} rows are there of class{'' if them == 'it' else 'es'} {listed}"
    return (f"{what}, too few to learn and to test on: join or drop {them}",)
