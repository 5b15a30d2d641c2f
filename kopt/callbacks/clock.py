"""Clock: the time in a run, in variables that programs read."""

import logging
from typing import Literal

import keras
import numpy as np
from keras import ops

from kopt.keras_internals import applied_gradients
from kopt.schedules import Schedule
from kopt.state.knob import Knob
from kopt.values.checks import require
from kopt.values.types import CallbackState, KerasOptimizer, Scalar, Tensor

__all__ = ["Clock"]

log = logging.getLogger("kopt")

Unit = Literal["step", "epoch", "run"]
KNOBS = ("base", "origin", "unit_updates", "run_units", "active")


class Clock:
    """A schedule's value as a function of an optimizer's updates; variables hold the run's start and length.

    time = base + (updates - origin) / unit_updates; the three are set when a run begins and, where the length of an
    epoch must be learned, at each epoch. `active` is 0 outside a run.

    Args:
        schedule: The schedule.
        unit: The unit of its time: "step" (updates), "epoch", or "run" (0 to 1 over the whole run).
        optimizer: The optimizer whose updates are counted.
        name: The callback's name in errors.

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

    def __init__(self, schedule: Schedule, unit: Unit, optimizer: KerasOptimizer, name: str):
        self.schedule, self.unit, self.optimizer, self.name = schedule, unit, optimizer, name
        self.epoch_updates = 0.0  # until a run begins
        self.active = Knob(0.0)
        self.base, self.origin, self.unit_updates, self.run_units = (Knob(1.0, "float64") for _ in range(4))
        self.epochs: int | None = None
        self.steps: int | None = None
        self.counts_steps = True  # whether `epoch_start` is needed after the run's first epoch
        self.epoch_start = self.given = 0
        self.each_step = 1.0  # gradients that a training step gives the optimizer
        self.started = False

    def __repr__(self) -> str:
        return f"{self.name}({self.schedule!r}, unit={self.unit!r})"

    def follows(self, schedule: Schedule, unit: Unit) -> bool:
        """Return whether this is the clock of a schedule in a unit."""
        return (self.schedule, self.unit) == (schedule, unit)

    def value(self, updates: Scalar) -> Tensor:
        """Return the schedule's value at a number of updates, in Keras' float type."""
        return ops.cast(self.exact(updates), keras.config.floatx())

    def exact(self, updates: Scalar) -> Tensor:
        """Return the schedule's value at a number of updates in float64, to compute with before a cast."""
        return self.schedule.resolve(read(self.run_units)).formula(ops.maximum(self.time(updates), 0.0))

    def time(self, updates: Scalar) -> Tensor:
        """Return the time in the run at a number of updates."""
        return read(self.base) + (ops.cast(updates, "float64") - read(self.origin)) / read(self.unit_updates)

    def updates(self) -> int:
        """Return how many updates the optimizer has made."""
        return int(ops.convert_to_numpy(self.optimizer.iterations))

    def values_of_epoch(self) -> np.ndarray:
        """Return the schedule's values at the updates since the epoch began."""
        return ops.convert_to_numpy(self.value(np.arange(self.epoch_start, self.updates())))

    @property
    def accumulated(self) -> int:
        """The number of gradients that make an update."""
        return self.optimizer.gradient_accumulation_steps or 1

    def begin_run(self, epochs: int | None, steps: int | None) -> None:
        """Set the run's length in epochs and batches an epoch; refuse units that need an unknown one."""
        opened = self.schedule.total is None
        needed = self.unit == "run" or (self.unit == "step" and opened)
        require(not needed or steps is not None, "steps_per_epoch", f"must be known for {self!r}", steps)
        known = epochs is not None or not (needed or opened)
        require(known, "epochs", f"must be known for {self!r}, from a callback's set_params", epochs)
        self.epochs, self.steps, self.started, self.each_step = epochs, steps, False, 1.0
        self.epoch_updates = float("inf") if steps is None else steps / self.accumulated
        run_epochs = float("inf") if epochs is None else float(epochs)
        run_updates = run_epochs * self.epoch_updates
        run = {"step": run_updates, "epoch": run_epochs, "run": 1.0}[self.unit]
        self.unit_updates.set({"step": 1.0, "epoch": self.epoch_updates, "run": run_updates}[self.unit])
        if opened:
            self.schedule.resolve(run)  # refuses, before the first step, a run that is too short
            self.run_units.set(run)
        elif self.schedule.total not in (run, float("inf")) and run < float("inf"):
            log.info("%r lasts %g of the run's %g %ss", self, self.schedule.total, run, self.unit)

    def begin_epoch(self, epoch: int) -> None:
        """Set the clock at the run's first epoch; at each epoch when the length of an epoch is learned."""
        learned = self.steps is None and self.unit == "epoch"
        if self.started and not learned and not self.counts_steps:
            return
        given = applied_gradients(self.optimizer)
        if learned and self.started and given > self.given:  # an epoch may have made no update
            self.unit_updates.set((given - self.given) / self.accumulated)
        if learned or not self.started:
            self.base.set(self.time_at(epoch, given))
            self.origin.set(self.updates())
        self.epoch_start, self.given, self.started = self.updates(), given, True
        self.active.set(1.0)

    def time_at(self, epoch: int, given: int) -> float:
        """Return the run's time at the beginning of an epoch; `given` is the number of gradients so far."""
        if self.steps is None:
            return float(epoch) if self.unit == "epoch" else 0.0 if epoch == 0 else float(self.updates())
        # As in a run without a break, where what an epoch leaves over is part of the next one's first update.
        before = epoch * self.steps
        start = max(given - before, 0)
        return ((start + before) // self.accumulated - start // self.accumulated) / float(self.unit_updates)

    def measure_step(self, steps: int | None) -> None:
        """Measure how many gradients a step gives, over the steps since the run or the optimizer began."""
        if steps:
            self.each_step_gives((applied_gradients(self.optimizer) - self.given) / steps or 1.0)

    def each_step_gives(self, gradients: float) -> None:
        """Set how many gradients a training step gives the optimizer, when it is not one."""
        share, self.each_step = gradients / self.each_step, gradients
        if self.steps is None or share == 1.0:
            return
        self.epoch_updates *= share
        if self.unit != "step":
            self.unit_updates.set(float(self.unit_updates) * share)
            return
        self.base.set(float(self.base) * share)
        if self.schedule.total is None:
            self.run_units.set(float(self.run_units) * share)

    def go_on_from(self, before: "Clock") -> None:
        """Copy the time of a clock whose optimizer was replaced in the middle of the run."""
        before.active.set(0.0)
        if before is self or not before.epoch_updates:
            return
        self.counts_steps = before.counts_steps
        self.begin_run(before.epochs, before.steps)
        if before.started:
            self.each_step_gives(before.each_step)
            if before.steps is None:
                self.unit_updates.set(float(before.unit_updates) * before.accumulated / self.accumulated)
            self.base.set(float(before.time(before.updates())))
            self.origin.set(self.updates())
            self.epoch_start, self.given, self.started = self.updates(), applied_gradients(self.optimizer), True
            self.active.set(1.0)

    def get_state(self) -> CallbackState:
        """Return the time in the run, beside what the optimizer counts."""
        numbers = {name: float(getattr(self, name)) for name in KNOBS}
        names = ("epochs", "steps", "epoch_updates", "epoch_start", "given", "each_step", "started")
        return numbers | {name: getattr(self, name) for name in names}

    def set_state(self, state: CallbackState) -> None:
        """Go on from where `get_state` was called: when a run has begun that is as long, to the bit."""
        same = (state["epochs"], state["steps"]) == (self.epochs, self.steps)
        self.each_step_gives(state["each_step"])
        base, whole = state["base"], float(self.unit_updates)
        if same or self.steps is None:
            self.epoch_updates = state["epoch_updates"]
            self.unit_updates.set(state["unit_updates"])
            self.run_units.set(state["run_units"])
        elif self.unit == "run":
            base *= state["unit_updates"] / whole  # a share of a run of another length
        self.base.set(base)
        self.origin.set(state["origin"])
        self.active.set(state["active"])
        self.epoch_start, self.given, self.started = state["epoch_start"], state["given"], state["started"]


def require_unit(unit: object) -> None:
    """Raise ValueError when a unit is unknown."""
    require(unit in ("step", "epoch", "run"), "unit", "must be 'step', 'epoch' or 'run'", unit)


def require_schedule(schedule: Schedule) -> None:
    """Raise ValueError when a value is no schedule."""
    require(isinstance(schedule, Schedule), "schedule", "must be a kopt schedule or the name of one", schedule)


def read(knob: Knob) -> Tensor:
    """Return a Knob's value in the graph."""
    return ops.convert_to_tensor(knob.value)
