"""Progress: how far a run is, read from the file that `ProgressFile` writes."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from kopt.report.unfinished import json_in
from kopt.values.checks import is_number

__all__ = ["FILE", "Progress", "read_progress"]

FILE = "progress.json"
FIELDS = ("epoch", "epochs", "metric", "score", "best", "seconds", "left")


class Progress(NamedTuple):
    """How far a run is.

    Attributes:
        epoch: Number of epochs that are done.
        epochs: Number of epochs of the run.
        metric: The name of its score.
        score: The score on the validation split after the last epoch; None when there is none.
        best: The best one so far.
        seconds: How long it has trained.
        left: Seconds until its last epoch is done, by its last epochs; early stopping may end it before.
    """

    epoch: int
    epochs: int
    metric: str
    score: float | None
    best: float | None
    seconds: float
    left: float


def read_progress(folder: pathlib.Path) -> Progress | None:
    """Read how far a run is.

    Args:
        folder: The folder of the run, which may have its temporary name.

    Returns:
        The progress; None when there is no file, or a damaged one.

    Example:
        >>> read_progress(pathlib.Path("nowhere")) is None
        True
    """
    found = json_in(folder / FILE)
    if not isinstance(found, dict) or set(found) != set(FIELDS) or not isinstance(found["metric"], str):
        return None
    numbers: Sequence[object] = [found[name] for name in ("epoch", "epochs", "seconds", "left")]
    scores: Sequence[object] = [found[name] for name in ("score", "best") if found[name] is not None]
    return Progress(**found) if all(map(is_number, (*numbers, *scores))) else None
