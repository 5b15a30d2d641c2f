"""Run: what a training left."""

import pathlib
from typing import Any, NamedTuple

from kopt.values.fields import Named

__all__ = ["Run"]


class Run(NamedTuple):
    """A finished run: its folder, its recipe, a list a column of its history, and its results."""

    folder: pathlib.Path
    recipe: Named
    history: dict[str, list[float]]
    metrics: dict[str, Any]
