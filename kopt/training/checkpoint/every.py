"""Every: how often checkpoints are written."""

import re
import time
from dataclasses import dataclass
from typing import Literal

from kopt.values.checks import require
from kopt.values.durations import seconds_of

__all__ = ["Every"]


@dataclass(frozen=True)
class Every:
    """How often checkpoints are written.

    Attributes:
        count: Seconds, steps or epochs, > 0.
        unit: What is counted.

    Example:
        >>> Every.of("30s"), Every.of("1000 steps"), Every.of("1 epoch")
        (Every(count=30.0, unit='seconds'), Every(count=1000, unit='steps'), Every(count=1, unit='epochs'))
    """

    count: float
    unit: Literal["seconds", "steps", "epochs"]

    @classmethod
    def of(cls, text: str) -> "Every":
        """Return what a text says.

        Args:
            text: A duration such as "30s" or "1h30m", "1000 steps" or "2 epochs".

        Raises:
            ValueError: When the text is none of these.
        """
        counted = re.fullmatch(r"([1-9]\d*) (step|epoch)s?", text) if isinstance(text, str) else None
        if counted:
            return cls(int(counted[1]), "steps" if counted[2] == "step" else "epochs")
        duration = isinstance(text, str) and re.fullmatch(r"(\d+(\.\d+)?[dhms])+", text)
        rule = "must be a duration such as '30s' or '1h30m', or a number such as '1000 steps' or '1 epoch'"
        require(bool(duration), "every", rule, text)
        return cls(seconds_of(text, "every"), "seconds")


class Due:
    """Whether a checkpoint is due, by the clock that no one sets back, by steps or by epochs.

    Args:
        every: How often one is.
    """

    def __init__(self, every: Every):
        self.every = every
        self.begin()

    def begin(self) -> None:
        """Begin to count anew."""
        self.since, self.steps, self.epochs = time.monotonic(), 0, 0

    def count(self, steps: int = 0, epochs: int = 0) -> bool:
        """Count steps and epochs; return whether a checkpoint is due."""
        self.steps, self.epochs = self.steps + steps, self.epochs + epochs
        counted = {"seconds": time.monotonic() - self.since, "steps": self.steps, "epochs": self.epochs}
        return counted[self.every.unit] >= self.every.count
