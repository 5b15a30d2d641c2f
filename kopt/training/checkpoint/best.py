"""Best: whether an epoch is the best so far by a log."""

from kopt.tasks.directions import better
from kopt.values.types import Logs

__all__ = ["Best"]


class Best:
    """Remembers the best value of a log.

    Args:
        name: The log's name, such as "val_accuracy"; None for no log, which no epoch improves.

    Raises:
        ValueError: When nobody says whether more or less of it is better.

    Example:
        >>> best = Best("val_loss")
        >>> [best.improves({"val_loss": value}) for value in (1.0, 2.0, 0.5)]
        [True, False, True]
    """

    def __init__(self, name: str | None):
        self.name, self.direction = name, None if name is None else better(name)
        self.value: float | None = None

    def improves(self, logs: Logs) -> bool:
        """Return whether an epoch's logs are the best so far, and remember their value if so."""
        if self.name is None or not logs or self.name not in logs:
            return False
        value = float(logs[self.name])
        found = self.value is None or (value > self.value if self.direction == "max" else value < self.value)
        self.value = value if found else self.value
        return found
