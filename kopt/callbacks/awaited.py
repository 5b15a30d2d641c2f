"""A metric that a callback waits for: validation may come every few epochs, and callbacks may log late."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from kopt.values.checks import require

log = logging.getLogger("kopt")


class Awaited:
    """A metric in the logs of epochs: absent ones are waited for, and those that have never come are refused.

    Args:
        name: The metric's.
    """

    def __init__(self, name: str):
        self.name = name
        self.begin()

    def begin(self, seen: bool = False) -> None:
        """Begin a run; `seen` says that the metric has been there in an earlier part of it."""
        self.seen, self.told = seen, False
        self.there: list[str] = []

    def found(self, epoch: int, logs: Mapping[str, Any]) -> float | None:
        """Return an epoch's value, or None where it is missing, which is logged once."""
        if logs.get(self.name) is not None:
            value = np.asarray(logs[self.name])
            require(value.ndim == 0, "monitor", "must be a metric of one number", f"{self.name} of shape {value.shape}")
            self.seen = True
            return float(value)
        self.there = sorted({*self.there, *logs})
        validated = any(name.startswith("val_") for name in logs)
        if not self.seen and not self.told and (validated or not self.name.startswith("val_")):
            said = "waiting for %r, which the logs of epoch %d lack; they hold %s"
            log.warning(said, self.name, epoch + 1, sorted(logs))
            self.told = True
        return None

    def require_seen(self, whole: bool) -> None:
        """Refuse, when training ends, a metric that has never come, though there were epochs that could have it.

        A run that was stopped before its first validation says nothing of a validation's metric.
        """
        missing = not self.seen and bool(self.there) and (self.told or whole)
        require(not missing, "monitor", f"must be one of {self.there}", self.name)
