"""Run: the record of a finished training."""

import pathlib
from typing import NamedTuple

from kopt.values.fields import Named
from kopt.values.types import Json

__all__ = ["Run"]


class Run(NamedTuple):
    """A finished run: its folder, its recipe, its history (name -> a value an epoch), and its results."""

    folder: pathlib.Path
    recipe: Named
    history: dict[str, list[float]]
    metrics: dict[str, Json]
