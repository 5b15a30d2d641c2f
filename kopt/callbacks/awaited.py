"""A metric that a callback waits for: validation may run every few epochs, and callbacks may log late."""

import logging
from collections.abc import Mapping

import numpy as np

from kopt.values.checks import require
from kopt.values.types import CallbackState, Tensor

log = logging.getLogger("kopt")


class Awaited:
    """A metric in the logs of epochs: it may be missing in some, and is refused when no epoch has logged it.

    Args:
        name: The metric's name.
    """

    def __init__(self, name: str):
        self.name = name
        self.begin()

    def begin(self, seen: bool = False) -> None:
        """Begin a run; `seen` says that an earlier part of the run has logged the metric."""
        self.seen, self.warned = seen, False
        self.logged: list[str] = []

    def get_state(self) -> CallbackState:
        """Return what the run's logs have held so far."""
        return {"seen": self.seen, "warned": self.warned, "logged": self.logged}

    def set_state(self, state: CallbackState) -> None:
        """Put back what `get_state` returned."""
        self.seen, self.warned, self.logged = state["seen"], state["warned"], list(state["logged"])

    def found(self, epoch: int, logs: Mapping[str, Tensor]) -> float | None:
        """Return an epoch's value, or None where it is missing, which is logged once."""
        if logs.get(self.name) is not None:
            value = np.asarray(logs[self.name])
            require(value.ndim == 0, "monitor", "must be a metric of one number", f"{self.name} of shape {value.shape}")
            self.seen = True
            return float(value)
        self.logged = sorted({*self.logged, *logs})
        validated = any(name.startswith("val_") for name in logs)
        if not self.seen and not self.warned and (validated or not self.name.startswith("val_")):
            said = "waiting for %r, which the logs of epoch %d lack; they hold %s"
            log.warning(said, self.name, epoch + 1, sorted(logs))
            self.warned = True
        return None

    def require_seen(self, whole: bool) -> None:
        """Raise ValueError when training ends and no epoch has logged the metric.

        A run that was stopped before its first validation may lack a metric of validation, unless it was `whole`.
        """
        missing = not self.seen and bool(self.logged) and (self.warned or whole)
        require(not missing, "monitor", f"must be one of {self.logged}", self.name)
