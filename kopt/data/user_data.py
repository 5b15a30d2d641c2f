"""Data of the user's: arrays in memory."""

from collections.abc import Mapping
from dataclasses import KW_ONLY
from typing import Any, NamedTuple

import numpy as np

from kopt.data.base import Baseline, Inputs, Splits, checksum, registry
from kopt.data.baselines import boosting, ridge
from kopt.data.coercion import Framed, as_inputs, as_plain, as_targets, looks_like_classes
from kopt.data.frames import table_of
from kopt.data.shuffled import Shuffled
from kopt.data.splitting import Cuts, SplitKind, require_apart, split_rows
from kopt.data.tables import Frame, frame
from kopt.tasks.task import PlainTask
from kopt.values.checks import require, unknown
from kopt.values.moved_names import moved_names
from kopt.values.types import ArrayLike

__all__ = ["Arrays", "arrays"]

__getattr__ = moved_names(__name__, {"CSV": "kopt.data.tables.CSV", "csv": "kopt.data.tables.csv"})

OPTIONS = ("validation", "test", "seed", "names", "examples", "split")
OF_FRAMES = ("missing", "dates", "words", "texts", "numbers", "ignore")


class Held(NamedTuple):
    """Arrays that the user gave: inputs, targets, and by what rows are split and must stay apart."""

    x: Inputs
    y: np.ndarray
    by: np.ndarray | None = None
    group: np.ndarray | None = None


HELD: dict[str, Held] = {}  # by sha256, because a value holds no arrays


@registry.register
class Arrays(Shuffled):
    """The arrays of a call of `data.arrays`, by their sha256; equal arrays are equal data.

    Args:
        sha256: The sha256 of the arrays.
        task: "classification", "regression" or "forecast".
        names: Names of the classes; empty for their numbers.
        split: How rows are split: see `data.arrays`.
        validation: The share of rows to validate on, in (0, 1).
        test: The share of rows to test on, in (0, 1 - validation).
        seed: Seed of the shuffle before the split.
        examples: Number of rows to use, for a quick try; None for all.

    Raises:
        ValueError: When an argument is out of range; when loaded, when no such arrays were given in this process.

    Example:
        >>> Arrays("0" * 64).load()
        Traceback (most recent call last):
        ValueError: sha256 must be of arrays that data.arrays(x, y) was given in this process, got '00...00'.

    Source:
        Folklore: data are named by what they are.
    """

    sha256: str
    _: KW_ONLY
    task: PlainTask = "classification"
    names: tuple[str, ...] = ()
    split: SplitKind = "random"

    @property
    def labels(self) -> tuple[str, ...]:
        return self.names

    def held(self) -> Held:
        rule = "must be of arrays that data.arrays(x, y) was given in this process"
        require(self.sha256 in HELD, "sha256", rule, self.sha256)
        return HELD[self.sha256]

    def rows(self) -> tuple[Inputs, np.ndarray, str]:
        return *self.held()[:2], self.sha256

    def columns_of(self, rows: ArrayLike) -> Inputs:
        return as_inputs(rows)

    def cuts(self, order: np.ndarray, y: np.ndarray) -> Cuts:
        held = self.held()
        values = y if held.by is None and self.split == "stratified" else held.by
        cuts = split_rows(order, self.split, values, validation=self.validation, test=self.test)
        if held.group is not None:
            require_apart(cuts, held.group, "group")
        return cuts

    def baseline(self, splits: Splits) -> Baseline:
        return boosting(self, splits) if isinstance(splits.train.x, dict) else ridge(self, splits)


def arrays(
    x: ArrayLike,
    y: ArrayLike,
    *,
    task: PlainTask | None = None,
    by: ArrayLike | None = None,
    group: ArrayLike | None = None,
    **fields: Any,
) -> Arrays | Frame:
    """Make a data set of arrays, for a recipe; its name is the sha256 of the arrays.

    A copy of the arrays is kept until the process ends.

    Args:
        x: (n, ...) numbers, (n,) texts, or columns of either by name, (n,) each, as a dict or a pandas DataFrame.
        y: (n,) or (n, k). Texts, booleans and up to 20 different whole numbers are classes, numbered in sorted order;
            `labels` has their names. Other numbers are regression targets.
        task: "classification", "regression", or "forecast" for (n, k) coming values; None to choose by y.
        by: (n,), by which rows are split with `split`: see `kopt.data.splitting.split_rows`.
        group: (n,), whose values must not be in two splits, else the data are refused.
        **fields: `validation`, `test`, `seed`, `names`, `split`: see `Arrays`. For columns by name `missing`, `dates`,
            `words`, `texts`, `numbers`, `ignore` too: they are then the columns of a `data.frame`, with y as one more.

    Returns:
        The data set; `data.summary` describes it.

    Raises:
        ValueError: When x or y has another kind or shape, or they do not have the same number of rows, 30 or more.

    Example:
        >>> given = arrays(np.zeros((100, 4)), np.arange(100) % 3)
        >>> given.task, given.load().train.x.shape
        ('classification', (65, 4))

    Source:
        `keras.Model.fit`.
    """
    if isinstance(x, (Framed, Mapping)) and set(fields) & set(OF_FRAMES):
        return with_target(x, y, task, {"by": by, "group": group}, fields)
    for name in fields:
        if name not in OPTIONS:
            raise unknown("argument", name, OPTIONS)
    x, y = as_inputs(x), as_plain(y, "y")
    others = {name: as_plain(values, name) for name, values in (("by", by), ("group", group)) if values is not None}
    counts = sorted({len(column) for column in (x.values() if isinstance(x, dict) else [x])} | {len(y)})
    require(len(counts) == 1 and counts[0] >= 30, "x and y", "must have the same number of rows, >= 30", counts)
    for name, values in others.items():
        require(values.shape == (len(y),), name, "must be (n,), a value for each row of x", values.shape)
    task = task or ("classification" if looks_like_classes(y) else "regression")
    y, names = as_targets(y, task)
    given = tuple(fields.pop("names", names))
    require(len(set(given)) == len(names), "names", f"must be {len(names)} different ones, one a class", given)
    require_by(fields.get("split", "random"), task, others)
    digest = of_arrays(x, y, others)
    HELD[digest] = Held(x, y, **others)
    return Arrays(digest, **{"task": task, "names": given} | fields)


def require_by(split: SplitKind, task: PlainTask, others: Mapping[str, np.ndarray]) -> None:
    """Refuse a way of splitting without what it splits by, and the reverse."""
    if split == "stratified" and task == "classification":
        return
    fits = ("by" in others) == (split != "random")
    require(fits, "by", f"must be {'left out' if split == 'random' else 'given'} for split={split!r}", None)


def with_target(
    x: ArrayLike, y: ArrayLike, task: PlainTask | None, others: Mapping[str, ArrayLike], fields: dict[str, Any]
) -> Frame:
    """Return columns and targets as one frame."""
    table = table_of(x, "x")
    columns = dict(zip(table.names, table.columns))
    target = next(name for name in ("y", "target", "the target") if name not in columns)
    named = {name: given if isinstance(given, str) else f"split {name}" for name, given in others.items()}
    added = {named[name]: given for name, given in others.items() if not isinstance(given, (str, type(None)))}
    chosen = {name: named[name] for name, given in others.items() if given is not None}
    return frame({**columns, **added, target: as_plain(y, "y")}, target, task=task, **chosen, **fields)


def of_arrays(x: Inputs, y: np.ndarray, others: Mapping[str, np.ndarray]) -> str:
    """Return the sha256 of arrays with their names, shapes and types."""
    columns = list(x.items()) if isinstance(x, dict) else [(None, x)]
    every = [*columns, ("y", y), *others.items()]
    structure = repr([(name, column.shape, column.dtype.name) for name, column in every])
    return checksum(np.array([structure]), *(column for _, column in every))
