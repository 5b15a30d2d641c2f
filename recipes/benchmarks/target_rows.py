"""The rows of time_to_target: a training each, in a file of comma-separated values; and what some of them cost."""

import csv
import dataclasses
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from targets import Trial

__all__ = ["Cost", "Row", "Table"]

FIELDS = ["work", "rule", "track", "target", *(field.name for field in dataclasses.fields(Trial))]
FIELDS += ["best", "reached", "epochs", "updates", "seconds"]

Row = dict[str, Any]


class Table:
    """The rows of a file; a new one is written at once. New trials are trained together or one after the other."""

    def __init__(self, file: Path, together: bool = False):
        self.file, self.together, self.rows = file, together, list[Row]()
        if file.exists():
            with file.open(newline="") as lines:
                self.rows = [read(row) for row in csv.DictReader(lines)]

    def of(self, work: str, rule: str, track: str) -> list[Row]:
        """Return the rows of a rule on a work."""
        return [row for row in self.rows if (row["work"], row["rule"], row["track"]) == (work, rule, track)]

    def add(self, row: Row) -> None:
        """Keep a row, in the file too."""
        new = not self.file.exists()
        with self.file.open("a", newline="") as lines:
            writer = csv.DictWriter(lines, FIELDS)
            if new:
                writer.writeheader()
            seconds = "" if math.isnan(row["seconds"]) else row["seconds"]
            writer.writerow(row | {"changes": json.dumps(row["changes"]), "seconds": seconds})
        self.rows.append(row)


def read(row: Mapping[str, str]) -> Row:
    """Return a row of the file with its types."""
    numbers = {name: float(row[name]) for name in ("rate", "warm_up", "best", "seconds", "target") if row[name]}
    numbers.setdefault("seconds", math.nan)  # of a row that was run on a busy machine
    counts = {name: int(row[name]) for name in ("draw", "seed", "epochs", "updates")}
    target = {"target": None} if not row["target"] else {}
    return {
        **row,
        **numbers,
        **counts,
        **target,
        "changes": json.loads(row["changes"]),
        "reached": row["reached"] == "True",
    }


class Cost(NamedTuple):
    """The medians over seeds of what a rule took to the target; infinite where most seeds have not reached it."""

    updates: float
    seconds: float
    reached: int
    seeds: int

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Cost":
        """Return the cost of the trainings from several seeds."""
        if not rows:
            return cls(math.inf, math.inf, 0, 0)
        updates, seconds = (
            statistics.median(row[name] if row["reached"] else math.inf for row in rows)
            for name in ("updates", "seconds")
        )
        return cls(updates, seconds, sum(row["reached"] for row in rows), len(rows))

    def __str__(self) -> str:
        if math.isinf(self.updates):
            return f"not reached ({self.reached} of {self.seeds})"
        seconds = "" if not math.isfinite(self.seconds) else f", {self.seconds:.1f} s"
        return f"{self.updates:.0f} updates{seconds} ({self.reached} of {self.seeds})"
