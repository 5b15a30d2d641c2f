"""Clock: the time in a run, as programs read it."""

import logging
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from kopt.checks import require
from kopt.knobs import Knob
from kopt.schedules import Schedule

__all__ = ["Clock"]

log = logging.getLogger("kopt")

Unit = Literal["step", "epoch", "run"]


class Clock:
    """A schedule's value as a function of an optimizer's updates so far, the run's start and length in variables.

    time = base + (updates - origin) / unit_updates, set when a run begins and, where an epoch's length has to be
    learned, with each epoch. While no run is under way `active` is 0.

    Args:
        schedule: The schedule.
        unit: What its time counts: "step" (updates), "epoch", or "run" (0 to 1 over the whole run).
        optimizer: The optimizer whose updates are counted.
        name: What errors call it.

    Raises:
        ValueError: When the unit is unknown.

    Example:
        >>> import keras
        >>> from kopt.schedules import Linear
        >>> clock = Clock(Linear(1), "epoch", keras.optimizers.SGD(0.1), "example")
        >>> clock.begin_run(epochs=4, steps=10)
        >>> clock.begin_epoch(0)
        >>> float(clock.value(20))
        0.5
    """

    def __init__(self, schedule: Schedule, unit: Unit, optimizer: Any, name: str):
        self.schedule, self.unit, self.optimizer, self.name = schedule, unit, optimizer, name
        self.active = Knob(0.0)
        self.base, self.origin, self.unit_updates, self.run_units = (Knob(1.0, "float64") for _ in range(4))
        self.steps: int | None = None
        self.counts_steps = True  # whether `epoch_start` is needed after the run's first epoch
        self.epoch_start = 0
        self.started = False

    def __repr__(self) -> str:
        return f"{self.name}({self.schedule!r}, unit={self.unit!r})"

    def follows(self, schedule: Schedule, unit: Unit) -> bool:
        """Whether it is the clock of this schedule in this unit."""
        return (self.schedule, self.unit) == (schedule, unit)

    def value(self, updates: Any) -> Any:
        """The schedule's value at a number of updates, in Keras' float type."""
        return ops.cast(self.exact(updates), keras.config.floatx())

    def exact(self, updates: Any) -> Any:
        """The same in float64, for numbers that are computed with before they are cast."""
        time = read(self.base) + (ops.cast(updates, "float64") - read(self.origin)) / read(self.unit_updates)
        return self.schedule.resolve(read(self.run_units)).formula(ops.maximum(time, 0.0))

    def updates(self) -> int:
        """How many updates the optimizer has made."""
        return int(ops.convert_to_numpy(self.optimizer.iterations))

    def values_of_epoch(self) -> np.ndarray:
        """The values at the updates since the epoch began."""
        return ops.convert_to_numpy(self.value(np.arange(self.epoch_start, self.updates())))

    def begin_run(self, epochs: int, steps: int | None) -> None:
        """Take the run's length, in epochs and in batches an epoch where that is known; refuse what does not fit it."""
        opened = self.schedule.total is None
        needed = self.unit == "run" or (self.unit == "step" and opened)
        require(not needed or steps is not None, "steps_per_epoch", f"must be known for {self!r}", steps)
        self.steps, self.started = steps, False
        accumulated = self.optimizer.gradient_accumulation_steps or 1
        self.epoch_updates = float("inf") if steps is None else steps / accumulated
        run_updates = epochs * self.epoch_updates
        run = {"step": run_updates, "epoch": float(epochs), "run": 1.0}[self.unit]
        self.unit_updates.set({"step": 1.0, "epoch": self.epoch_updates, "run": run_updates}[self.unit])
        if opened:
            self.schedule.resolve(run)  # refuses, before the first step, a run that is too short
            self.run_units.set(run)
        elif self.schedule.total not in (run, float("inf")) and run < float("inf"):
            log.info("%r lasts %g of the run's %g %ss", self, self.schedule.total, run, self.unit)

    def begin_epoch(self, epoch: int) -> None:
        """Set the clock at the run's first epoch; at each, where the length of an epoch is only now known."""
        learned = self.steps is None and self.unit == "epoch"
        if self.started and not learned and not self.counts_steps:
            return
        updates = self.updates()
        if learned and self.started:
            self.unit_updates.set(updates - self.epoch_start)
        if learned or not self.started:
            self.base.set(self.time_at(epoch, updates))
            self.origin.set(updates)
        self.epoch_start, self.started = updates, True
        self.active.set(1.0)

    def time_at(self, epoch: int, updates: int) -> float:
        """The run's time when an epoch begins."""
        if self.unit == "epoch":
            return float(epoch)
        if self.steps is None:
            return 0.0 if epoch == 0 else float(updates)
        return epoch * self.epoch_updates / float(self.unit_updates)


def require_unit(unit: Any) -> None:
    require(unit in ("step", "epoch", "run"), "unit", "must be 'step', 'epoch' or 'run'", unit)


def schedule_of(schedule: Any) -> Schedule:
    require(isinstance(schedule, Schedule), "schedule", "must be a kopt schedule or the name of one", schedule)
    return schedule


def read(knob: Knob) -> Any:
    return ops.convert_to_tensor(knob.value)
