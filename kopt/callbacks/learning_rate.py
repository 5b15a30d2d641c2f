"""LearningRate: a schedule inside the training program."""

import logging
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from kopt import schedules
from kopt.callbacks.base import registry
from kopt.checks import require
from kopt.keras_internals import install_rate, installed_rate, rated_optimizers, retrace
from kopt.knobs import Knob, held_knob
from kopt.schedules import Schedule

__all__ = ["LearningRate", "multiplier"]

log = logging.getLogger("kopt")

Unit = Literal["step", "epoch", "run"]


@registry.register
class LearningRate(keras.callbacks.Callback):
    """Set the learning rate by a schedule, exactly, at every update, in `model.fit` and in `kopt.fit`.

    rate = schedule(time in the run) * multiplier. The formula is traced into the training program: it holds for any
    `steps_per_execution`, counts updates where gradients are accumulated, and costs the host nothing per step. Put it
    before callbacks that should see "learning_rate" in an epoch's logs: the rate last used.

    The rate lives in the optimizer's own variable, so files saved with and without this callback are alike. A run's
    time starts with its epoch 0: a second fit starts over, one with `initial_epoch` goes on. When training ends, the
    optimizer keeps the last rate. When `model.fit` raises, the schedule stays until `close()` or the next fit with this
    callback.

    Args:
        schedule: A schedule, or the name of one with its fields in `**fields`.
        unit: What the schedule's time counts: "step" (updates), "epoch", or "run" (0 to 1 over the whole run). With
            data of unknown size an epoch's length is that of the one before; the first is taken at its start.
        per_step: Whether to keep the rate of every update of the run in the attribute `rates`.
        **fields: Fields of the schedule that is named.

    Raises:
        ValueError: When an argument is out of range; in fit, when the optimizer was compiled with a schedule, when two
            callbacks set the rate, or when the number of steps an epoch is needed and not known.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("adam", "mse")
        >>> schedule = LearningRate("step", rate=0.1, decay=0.5, every=1, unit="epoch")
        >>> history = model.fit(np.eye(2), np.ones((2, 1)), epochs=3, callbacks=[schedule], verbose=0)
        >>> [round(rate, 4) for rate in history.history["learning_rate"]]
        [0.1, 0.05, 0.025]

    Source:
        `keras.callbacks.LearningRateScheduler`, which sets the rate from outside, once an epoch.
    """

    def __init__(self, schedule: Schedule | str, *, unit: Unit = "step", per_step: bool = False, **fields: Any):
        super().__init__()
        if isinstance(schedule, str):
            schedule = schedules.registry.make(schedule, **fields)
            fields = {}
        require(isinstance(schedule, Schedule), "schedule", "must be a kopt schedule or the name of one", schedule)
        require(not fields, "fields", "must be left out where a schedule is given", sorted(fields))
        require(unit in ("step", "epoch", "run"), "unit", "must be 'step', 'epoch' or 'run'", unit)
        self.schedule, self.unit, self.per_step = schedule, unit, per_step
        self.steered: list[SteeredRate] = []
        self.rates = np.zeros(0, "float32")

    def set_model(self, model: Any) -> None:
        """Install the schedule, before the training function is made; keep the last fit's where it is the same."""
        super().set_model(model)
        self.steered = []
        for optimizer in rated_optimizers(model.optimizer):
            installed = installed_rate(optimizer)
            if installed is None or not installed.owner.follows(self.schedule, self.unit):
                with model.distribute_strategy.scope():
                    steered = SteeredRate(self.schedule, self.unit, model, optimizer)
                installed = install_rate(optimizer, steered, steered)
                steered.variable = installed.variable
                retrace(model)
            self.steered.append(installed.owner)

    def on_train_begin(self, logs: Any = None) -> None:
        for steered in self.steered:
            owner = installed_rate(steered.optimizer).owner  # type: ignore[union-attr]
            require(owner is steered, "callbacks", "must hold one that sets the learning rate", [owner, steered])
            steered.begin_run(self.params["epochs"], self.params["steps"])
        self.rates = np.zeros(0, "float32")

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        for steered in self.steered:
            steered.begin_epoch(epoch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.per_step:
            self.rates = np.concatenate([self.rates, self.steered[0].rates_of_epoch()])
        if logs is not None:
            logs["learning_rate"] = self.steered[0].last()
            if len(self.steered) > 1:
                logs |= {f"learning_rate_{steered.optimizer.name}": steered.last() for steered in self.steered}

    def on_train_end(self, logs: Any = None) -> None:
        self.close()

    def close(self) -> None:
        """Leave the rate to the optimizer again, at its last value."""
        for steered in self.steered:
            steered.active.set(0.0)


class SteeredRate:
    """One optimizer's rate as a function of its updates so far, its clock in variables that programs read.

    time = base + (updates - origin) / unit_updates, set when a run begins and, where an epoch's length has to be
    learned, with each epoch.

    Args:
        schedule: The schedule.
        unit: What its time counts.
        model: The model that is trained.
        optimizer: The optimizer whose rate it is.
    """

    def __init__(self, schedule: Schedule, unit: Unit, model: Any, optimizer: Any):
        self.schedule, self.unit, self.model, self.optimizer = schedule, unit, model, optimizer
        self.active, self.multiplier = Knob(0.0), multiplier(optimizer)
        self.base, self.origin, self.unit_updates, self.run_units = (Knob(1.0, "float64") for _ in range(4))
        self.variable: Any = None
        self.steps: int | None = None
        self.epoch_start = 0
        self.started = False

    def __call__(self, updates: Any) -> Any:
        scheduled = self.scheduled(updates) * ops.convert_to_tensor(self.multiplier.value)
        return ops.where(read(self.active) > 0, scheduled, ops.convert_to_tensor(self.variable))

    def scheduled(self, updates: Any) -> Any:
        """The schedule's own value at a number of updates."""
        time = read(self.base) + (ops.cast(updates, "float64") - read(self.origin)) / read(self.unit_updates)
        return self.schedule.resolve(read(self.run_units))(ops.maximum(time, 0.0))

    def __repr__(self) -> str:
        return f"LearningRate({self.schedule!r}, unit={self.unit!r})"

    @property
    def runs_eagerly(self) -> bool:
        return self.model.run_eagerly

    @property
    def steers(self) -> bool:
        return float(self.active) > 0

    def follows(self, schedule: Schedule, unit: Unit) -> bool:
        return (self.schedule, self.unit) == (schedule, unit)

    def last(self) -> float:
        """The rate of the last update."""
        return float(self.variable.numpy())

    def updates(self) -> int:
        return int(ops.convert_to_numpy(self.optimizer.iterations))

    def rates_of_epoch(self) -> np.ndarray:
        """The rates of the updates since the epoch began."""
        rates = self.scheduled(np.arange(self.epoch_start, self.updates())) * float(self.multiplier)
        return ops.convert_to_numpy(rates)

    def begin_run(self, epochs: int, steps: int | None) -> None:
        """Take the run's length, in epochs and in batches an epoch where that is known; refuse what does not fit it."""
        opened = self.schedule.total is None
        needed = self.unit == "run" or (self.unit == "step" and opened)
        require(not needed or steps is not None, "steps_per_epoch", f"must be known for {self!r}", steps)
        self.steps, self.started = steps, False
        accumulated = self.optimizer.gradient_accumulation_steps or 1
        self.epoch_updates = float("inf") if steps is None else steps / accumulated
        run = {"step": epochs * self.epoch_updates, "epoch": float(epochs), "run": 1.0}[self.unit]
        self.unit_updates.set({"step": 1.0, "epoch": self.epoch_updates, "run": epochs * self.epoch_updates}[self.unit])
        if opened:
            self.schedule.resolve(run)  # refuses, before the first step, a run that is too short
            self.run_units.set(run)
        elif self.schedule.total not in (run, float("inf")) and run < float("inf"):
            log.info("%r lasts %g of the run's %g %ss", self, self.schedule.total, run, self.unit)
        self.run = run

    def begin_epoch(self, epoch: int) -> None:
        """Set the clock at the run's first epoch; at each, where the length of an epoch is only now known."""
        updates, self.epoch_start = self.updates(), self.updates() if not self.started else self.epoch_start
        learned = self.steps is None and self.unit == "epoch"
        if learned and self.started:
            self.unit_updates.set(updates - self.epoch_start)
        if learned or not self.started:
            self.base.set(self.time_at(epoch, updates))
            self.origin.set(updates)
        if not self.started and epoch == 0:
            self.multiplier.set(1.0)
        self.epoch_start, self.started = updates, True
        self.active.set(1.0)

    def time_at(self, epoch: int, updates: int) -> float:
        """The run's time when an epoch begins."""
        if self.unit == "epoch":
            return float(epoch)
        if self.steps is None:
            return 0.0 if epoch == 0 else float(updates)
        return epoch * self.epoch_updates / float(self.unit_updates)


def multiplier(optimizer: Any) -> Knob:
    """The number that an optimizer's scheduled rate is multiplied by: made once, saved with the optimizer.

    Args:
        optimizer: A Keras optimizer with a rate of its own.

    Returns:
        The Knob, 1 at first.

    Example:
        >>> import keras
        >>> float(multiplier(keras.optimizers.SGD(0.1)))
        1.0
    """
    return held_knob(optimizer, "kopt_multiplier", 1.0)


def read(knob: Knob) -> Any:
    return ops.convert_to_tensor(knob.value)
