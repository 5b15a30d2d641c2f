"""LearningRate: a schedule inside the training program."""

from typing import Any, Literal

import keras
from keras import ops

from kopt import schedules
from kopt.checks import require
from kopt.keras_internals import inner_optimizer, install_rate, installed_rate, retrace
from kopt.knobs import Knob
from kopt.schedules import Schedule

__all__ = ["LearningRate"]

Unit = Literal["step", "epoch", "run"]


class LearningRate(keras.callbacks.Callback):
    """Set the learning rate by a schedule, exactly, at every update, in `model.fit` and in `kopt.fit`.

    rate = schedule((updates - updates at this run's start) / updates a unit) * multiplier. The formula is traced into
    the training program: it holds for any `steps_per_execution`, counts updates where gradients are accumulated, and
    costs the host nothing per step. Put it before callbacks that should see "learning_rate" in an epoch's logs: the
    rate last used.

    The rate lives in the optimizer's own variable, so files saved with and without this callback are alike. A run's
    time starts with its epoch 0: a second fit starts over, one with `initial_epoch` goes on. When training ends, the
    optimizer keeps the last rate; when it raises, the schedule stays installed until the next fit with this callback.

    Args:
        schedule: A schedule, or the name of one with its fields in `**fields`.
        unit: What the schedule's time counts: "step" (updates), "epoch", or "run" (0 to 1 over the whole run).
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

    def __init__(self, schedule: Schedule | str, *, unit: Unit = "step", **fields: Any):
        super().__init__()
        if isinstance(schedule, str):
            schedule = schedules.registry.make(schedule, **fields)
            fields = {}
        require(isinstance(schedule, Schedule), "schedule", "must be a kopt schedule or the name of one", schedule)
        require(not fields, "fields", "must be left out where a schedule is given", sorted(fields))
        require(unit in ("step", "epoch", "run"), "unit", "must be 'step', 'epoch' or 'run'", unit)
        self.schedule, self.unit = schedule, unit
        self.steered: SteeredRate

    def set_model(self, model: Any) -> None:
        """Install the schedule, before the training function is made; keep the last fit's where it is the same."""
        super().set_model(model)
        optimizer = inner_optimizer(model.optimizer)
        installed = installed_rate(optimizer)
        if installed is not None and installed.owner.follows(self.schedule, self.unit):
            self.steered = installed.owner
            return
        with model.distribute_strategy.scope():
            self.steered = SteeredRate(self.schedule, self.unit, model)
        self.steered.variable = install_rate(optimizer, self.steered, self.steered).variable
        optimizer.kopt_multiplier = self.steered.multiplier
        retrace(model)

    def on_train_begin(self, logs: Any = None) -> None:
        owner = installed_rate(self.model.optimizer).owner  # type: ignore[union-attr]
        require(owner is self.steered, "callbacks", "must hold one that sets the learning rate", [owner, self.steered])
        self.steered.begin_run(self.params["epochs"], self.params["steps"])
        self.started = False

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if not self.started:
            self.steered.begin_epoch(epoch)
            self.started = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if logs is not None:
            logs["learning_rate"] = float(self.steered.variable.numpy())

    def on_train_end(self, logs: Any = None) -> None:
        self.steered.active.set(0.0)


class SteeredRate:
    """The rate as a function of the updates so far, its clock in variables that programs read.

    Args:
        schedule: The schedule.
        unit: What its time counts.
        model: The model whose optimizer it steers.
    """

    def __init__(self, schedule: Schedule, unit: Unit, model: Any):
        self.schedule, self.unit, self.model = schedule, unit, model
        self.variable: Any = None
        self.active, self.multiplier = Knob(0.0), Knob(1.0, name="kopt_multiplier")
        self.origin, self.unit_updates, self.run_units = (Knob(1.0, "float64") for _ in range(3))

    def __call__(self, updates: Any) -> Any:
        time = (ops.cast(updates, "float64") - read(self.origin)) / read(self.unit_updates)
        scheduled = self.schedule.resolve(read(self.run_units))(ops.maximum(time, 0.0))
        return ops.where(read(self.active) > 0, scheduled * read(self.multiplier), ops.convert_to_tensor(self.variable))

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

    def begin_run(self, epochs: int, steps: int | None) -> None:
        """Set the clock's unit and the run's length.

        Args:
            epochs: The last epoch's number plus one.
            steps: Batches an epoch, None where it is not known.
        """
        needed = self.unit != "step" or self.schedule.total is None
        require(not needed or steps is not None, "steps_per_epoch", f"must be known for {self!r}", steps)
        accumulated = inner_optimizer(self.model.optimizer).gradient_accumulation_steps or 1
        self.epoch_updates = (steps or 0) / accumulated
        run_updates = epochs * self.epoch_updates
        length = {"step": 1.0, "epoch": self.epoch_updates, "run": run_updates}[self.unit]
        self.unit_updates.set(length)
        if self.schedule.total is None:
            # Refuses, before the first step, a run that is too short for the schedule.
            self.schedule.resolve(run_updates / length)
            self.run_units.set(run_updates / length)

    def begin_epoch(self, epoch: int) -> None:
        """Start the clock at the run's epoch 0, which may be some epochs ago."""
        updates = int(ops.convert_to_numpy(inner_optimizer(self.model.optimizer).iterations))
        self.origin.set(updates - epoch * self.epoch_updates if self.epoch_updates or epoch == 0 else 0.0)
        self.active.set(1.0)


def read(knob: Knob) -> Any:
    return ops.convert_to_tensor(knob.value)
