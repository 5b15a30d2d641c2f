"""Datasets of tf.data with splits of their own."""

from dataclasses import KW_ONLY

import numpy as np
import tensorflow as tf

from kopt.data.base import Baseline, Data, Inputs, Split, Splits, checksum, registry
from kopt.data.baselines import boosting, ridge
from kopt.data.coercion import as_inputs, as_targets, looks_like_classes
from kopt.tasks.task import PlainTask
from kopt.values.checks import require
from kopt.values.types import ArrayLike, Dataset

__all__ = ["Datasets", "tfdata"]

HELD: dict[str, tuple[Split, Split, Split]] = {}  # by sha256, because a value holds no arrays


@registry.register
class Datasets(Data):
    """The splits of a call of `data.tfdata`, by their sha256.

    Args:
        sha256: The sha256 of all examples.
        task: "classification", "regression" or "forecast".
        names: Names of the classes; empty for their numbers.

    Raises:
        ValueError: When loaded, when no such datasets were given in this process.

    Example:
        >>> Datasets("0" * 64).load()
        Traceback (most recent call last):
        ValueError: sha256 must be of datasets that data.tfdata was given in this process, got '00...00'.

    Source:
        Folklore: data are named by what they are.
    """

    sha256: str
    _: KW_ONLY
    task: PlainTask = "classification"
    names: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        return self.names

    def load(self) -> Splits:
        rule = "must be of datasets that data.tfdata was given in this process"
        require(self.sha256 in HELD, "sha256", rule, self.sha256)
        return Splits(*HELD[self.sha256], self.sha256)

    def columns_of(self, rows: ArrayLike) -> Inputs:
        return as_inputs(rows)

    def baseline(self, splits: Splits) -> Baseline:
        return boosting(self, splits) if isinstance(splits.train.x, dict) else ridge(self, splits)


def tfdata(
    train: Dataset, validation: Dataset, test: Dataset, *, task: PlainTask | None = None, names: tuple[str, ...] = ()
) -> Datasets:
    """Make a data set of three finite tf.data datasets of (x, y), for a recipe.

    Their examples are read once, and kept in memory until the process ends.

    Args:
        train: The dataset to train on, of batches or of single examples: of batches, when x and y have a first
            dimension in common or an unknown one.
        validation: The dataset to validate on.
        test: The dataset to test on.
        task: "classification", "regression" or "forecast"; None to choose by y, as `data.arrays` does.
        names: Names of the classes.

    Returns:
        The data set; `data.summary` describes it.

    Raises:
        ValueError: When a dataset is none, is empty, has no end, or has not (x, y).

    Example:
        >>> parts = [tf.data.Dataset.from_tensor_slices((np.ones((8, 2)), np.arange(8) % 2)) for _ in range(3)]
        >>> given = tfdata(parts[0].batch(4), parts[1], parts[2])
        >>> given.task, given.load().train.x.shape
        ('classification', (8, 2))

    Source:
        `keras.Model.fit`.
    """
    given = {"train": train, "validation": validation, "test": test}
    read = [arrays_of(dataset, name) for name, dataset in given.items()]
    y = np.concatenate([part.y for part in read])
    task = task or ("classification" if looks_like_classes(y) else "regression")
    targets, found = as_targets(y, task)
    require(names == () or len(names) == len(found), "names", f"must be {len(found)}, one a class", names)
    ends = np.cumsum([len(part.y) for part in read])[:2]
    parts = [Split(part.x, one) for part, one in zip(read, np.split(targets, ends))]
    columns = [list(part.x.values()) if isinstance(part.x, dict) else [part.x] for part in parts]
    names_of = [list(part.x) if isinstance(part.x, dict) else None for part in parts]
    structure = repr([names_of, [[(one.shape, one.dtype.str) for one in arrays] for arrays in columns]])
    digest = checksum(
        np.array([structure]), *(array for arrays, part in zip(columns, parts) for array in (*arrays, part.y))
    )
    HELD[digest] = parts[0], parts[1], parts[2]
    return Datasets(digest, task=task, names=names or found)


def arrays_of(dataset: Dataset, name: str) -> Split:
    """Return the examples of a dataset as arrays."""
    require(isinstance(dataset, tf.data.Dataset), name, "must be a tf.data.Dataset", dataset)
    spec = dataset.element_spec
    require(isinstance(spec, tuple) and len(spec) == 2, name, "must be of pairs of inputs and targets", spec)
    require(int(dataset.cardinality()) != tf.data.INFINITE_CARDINALITY, name, "must have an end", dataset)
    batched = dataset if is_batched(spec) else dataset.batch(256)
    batches = list(batched.as_numpy_iterator())
    require(bool(batches), name, "must not be empty", dataset)
    return Split(as_inputs(joined([x for x, _ in batches])), joined([y for _, y in batches]))


def is_batched(spec: tuple[ArrayLike, ArrayLike]) -> bool:
    """Return whether elements are batches: all parts have a first dimension, equal or unknown."""
    shapes = [one.shape for one in tf.nest.flatten(spec)]
    return all(shape.rank != 0 for shape in shapes) and len({shape[0] for shape in shapes}) == 1


def joined(batches: list[Inputs]) -> Inputs:
    """Return batches as one; texts of bytes as texts."""
    if isinstance(batches[0], dict):
        return {name: joined([batch[name] for batch in batches]) for name in batches[0]}
    whole = np.concatenate(batches)
    return np.array([text.decode("utf-8") for text in whole], object) if whole.dtype.kind in "OS" else whole
