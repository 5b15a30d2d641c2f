"""What fit and evaluate refuse, before any work is done."""

from collections.abc import Collection
from typing import Any

import numpy as np

from kopt.checks import require


def require_fit(
    x: Any, batch_size: Any, verbose: Any, validation_split: Any, validation_freq: Any, counts: dict[str, Any]
) -> None:
    require(x is not None, "x", "must be given", x)
    require(batch_size in (None, "full") or is_count(batch_size), "batch_size", "must be >= 1 or 'full'", batch_size)
    for name, value in counts.items():
        require(value == 0 or is_count(value), name, "must be a whole number >= 0", value)
    require(verbose in ("auto", 0, 1, 2), "verbose", "must be 'auto', 0, 1 or 2", verbose)
    require(0 <= validation_split < 1, "validation_split", "must be in [0, 1)", validation_split)
    several = isinstance(validation_freq, Collection) and all(map(is_count, validation_freq))
    require(
        several or is_count(validation_freq), "validation_freq", "must be >= 1 or epochs from 1 on", validation_freq
    )


def require_sizes(**sizes: Any) -> None:
    for name, value in sizes.items():
        require(value is None or is_count(value), name, "must be a whole number >= 1", value)


def is_count(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and int(value) >= 1
