"""Content: what a checkpoint holds, arrays by name and a nest of plain values."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from kopt.values.types import Nest

__all__ = ["Content"]


@dataclasses.dataclass(frozen=True, eq=False)
class Content:
    """The arrays and the values of one checkpoint.

    Args:
        arrays: Arrays by name, of any numeric dtype; names may be any text, and are never paths of files.
        values: Nests by name, of dict (with text keys), list, tuple, bool, int, float, str, None, NumPy's arrays and
            scalars.

    Example:
        >>> Content({"dense/kernel": np.zeros((2, 3))}, {"epoch": 4}).values["epoch"]
        4
    """

    arrays: Mapping[str, np.ndarray]
    values: Mapping[str, Nest]
