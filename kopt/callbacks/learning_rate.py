"""LearningRate: a schedule inside the training program."""

import contextlib
from typing import Any

import numpy as np
from keras import ops

from kopt import schedules
from kopt.callbacks.base import optimizer_name, registry
from kopt.callbacks.clock import Clock, Unit, read, require_schedule, require_unit
from kopt.keras_internals import LiveRate, called_with, install_rate, installed_rate, retrace
from kopt.schedules import Schedule
from kopt.state.knob import Knob, held_knob
from kopt.training.arguments import require_one_rate
from kopt.training.callback import Callback
from kopt.training.steps.installing import own_step
from kopt.values.checks import require
from kopt.values.types import CallbackState, KerasModel, KerasOptimizer, Logs, Scalar, Tensor, Variable

__all__ = ["LearningRate", "lower_rate", "multiplier"]


@registry.register
class LearningRate(Callback):
    """Set the learning rate by a schedule, exactly, at every update, in `model.fit` and in `kopt.fit`.

    rate = schedule(time in the run) * multiplier. The formula is traced into the training program: it holds for any
    `steps_per_execution`, counts updates where gradients are accumulated, and costs the host nothing per step. Put it
    before callbacks that should see "learning_rate" in an epoch's logs: the rate last used.

    It sets the rate of the named optimizer, or of every optimizer that the training step updates by: several when the
    model has a train_step of its own. When a callback compiles the model or replaces its optimizer, the schedule goes
    on with the new one. With several optimizers the logs also hold "learning_rate_<name>" for each.

    The rate lives in the optimizer's own variable, so files saved with and without this callback are alike. A run's
    time starts with its epoch 0: a second fit starts over, one with `initial_epoch` goes on. When training ends, the
    optimizer keeps the last rate. When `model.fit` raises, the schedule stays until `close()` or the next fit with this
    callback.

    Args:
        schedule: A schedule, or the name of one with its fields in `**fields`.
        unit: The unit of the schedule's time: "step" (updates), "epoch", or "run" (0 to 1 over the whole run). When the
            size of the data is unknown, an epoch counts as long as the one before; the first has one rate.
        per_step: Whether to keep the rate of every update of the run in the attribute `rates`.
        optimizer: The attribute of the model that is the optimizer, such as "d_optimizer"; None for all.
        **fields: Fields of the schedule that is named.

    Raises:
        ValueError: When an argument is out of range; in fit, when the optimizer was compiled with a schedule, when two
            callbacks set the rate, when the number of steps an epoch is needed and not known, or when the training
            step updates by none of the model's optimizers.

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

    any_chunk = True
    steers_rate = True

    def __init__(
        self,
        schedule: Schedule | str,
        *,
        unit: Unit = "step",
        per_step: bool = False,
        optimizer: str | None = None,
        **fields: Any,
    ):
        super().__init__()
        self.optimizer = optimizer_name(optimizer)
        if isinstance(schedule, str):
            schedule = schedules.registry.make(schedule, **fields)
            fields = {}
        require_schedule(schedule)
        require(not fields, "fields", "must be left out where a schedule is given", sorted(fields))
        require_unit(unit)
        self.schedule, self.unit, self.per_step = schedule, unit, per_step
        self.steered: dict[str, SteeredRate] = {}
        self.rates = np.zeros(0, "float32")
        self.begun = self.looked = self.measured = self.traced = False

    def set_model(self, model: KerasModel) -> None:
        """Install the schedule before the training function is made; keep that of the last fit when it is the same."""
        self.begun = self.looked = self.measured = self.traced = False
        super().set_model(model)

    def install(self) -> None:
        """Install the schedule in the optimizers."""
        self.steered = {name: self.steer(optimizer) for name, optimizer in self.optimizers.items()}

    def steer(self, optimizer: KerasOptimizer) -> "SteeredRate":
        """Return an optimizer's steered rate, installed unless it is there."""
        installed = installed_rate(optimizer)
        if installed is None or not installed.owner.follows(self.schedule, self.unit):
            with self.model.distribute_strategy.scope():
                steered = SteeredRate(self.schedule, self.unit, optimizer)
            installed = install_rate(optimizer, steered, steered)
            steered.live = installed
            retrace(self.model)
        installed.owner.counts_steps = self.per_step
        return installed.owner

    def reinstall(self) -> None:
        """Continue the schedule with new optimizers."""
        before = self.steered
        self.install()
        first = next(iter(before.values()))
        for name, steered in self.steered.items():
            steered.go_on_from(before.get(name, first))
        for one in before.values():
            if all(one is not steered for steered in self.steered.values()):
                one.active.set(0.0)
        self.looked = self.traced = False

    @property
    def spans_epochs(self) -> bool:  # type: ignore[override]
        """Whether Loop may run several epochs in one program: not when rates are read after each epoch."""
        return not self.per_step

    @property
    def watched(self) -> dict[str, Variable]:
        """Return the variables of the last update's rates, by the optimizers' names."""
        return {name: steered.live.variable.value for name, steered in self.steered.items()}

    def on_train_begin(self, logs: Logs = None) -> None:
        with contextlib.suppress(LookupError):  # a user's loop may call it without a list
            require_one_rate(called_with(self))
        for steered in self.steered.values():
            owner = installed_rate(steered.optimizer).owner  # type: ignore[union-attr]
            require(owner is steered, "callbacks", "must hold one that sets the learning rate", [owner, steered])
            steered.begin_run((self.params or {}).get("epochs"), (self.params or {}).get("steps"))
        self.rates = np.zeros(0, "float32")
        self.begun = True

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        if not self.begun:
            self.on_train_begin()  # a user's loop may leave it out
        for steered in self.steered.values():
            steered.begin_epoch(self.epoch_index(epoch))

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        if batch and not self.looked and self.traced:
            self.look(batch)
        self.traced = True

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        require(self.begun, "on_epoch_begin", "must be called before on_epoch_end for LearningRate to act", epoch)
        if not (self.looked and self.measured):
            self.look(next(iter(self.steered.values())).steps)
            self.measured = True  # from a whole epoch
        values = self.epoch_values()
        used = {name: steered for name, steered in self.steered.items() if steered.live.used}
        if self.per_step and used:
            first = next(iter(used.values()))
            self.rates = np.concatenate([self.rates, first.values_of_epoch() * float(first.multiplier)])
        if logs is not None:
            several = len(used) > 1 or self.optimizer is not None
            for place, name in enumerate(used):
                names = ["learning_rate"] * (place == 0) + [f"learning_rate_{name}"] * several
                logs.update({whole: float(values[name]) for whole in names if whole not in logs})

    def get_state(self) -> CallbackState:
        flags = {"looked": self.looked, "measured": self.measured, "traced": self.traced, "rates": self.rates}
        used = [name for name, steered in self.steered.items() if steered.live.used]
        return flags | {"used": used, "steered": {name: one.get_state() for name, one in self.steered.items()}}

    def set_state(self, state: CallbackState) -> None:
        there = sorted(state["steered"])
        require(
            there == sorted(self.steered), "optimizers", f"must be those of the state, {there}", sorted(self.steered)
        )
        self.looked, self.measured, self.traced = state["looked"], state["measured"], state["traced"]
        self.rates = np.asarray(state["rates"], "float32")
        for name, steered in self.steered.items():
            steered.set_state(state["steered"][name])
            steered.live.used = name in state["used"]  # before this process has traced the step

    def look(self, steps: int | None) -> None:
        """Find the optimizers that the traced training step applies, and how often a step applies each."""
        used = [steered for steered in self.steered.values() if steered.live.used]
        rule = f"must be one that the training step of {self.model.name!r} updates by, for LearningRate to act"
        require(bool(used) or not self.model.trainable_weights, "optimizer", rule, sorted(self.steered))
        if own_step(self.model) and not self.measured:
            for steered in used:
                steered.measure_step(steps)
        self.looked = True

    def close(self) -> None:
        """Let the optimizer keep its last rate."""
        for steered in self.steered.values():
            steered.active.set(0.0)


class SteeredRate(Clock):
    """One optimizer's rate as a function of its updates so far: the schedule times a multiplier.

    Args:
        schedule: The schedule.
        unit: The unit of its time.
        optimizer: The optimizer that has the rate.
    """

    def __init__(self, schedule: Schedule, unit: Unit, optimizer: KerasOptimizer):
        super().__init__(schedule, unit, optimizer, "LearningRate")
        self.multiplier = multiplier(optimizer)
        self.live: LiveRate

    def __call__(self, updates: Scalar) -> Tensor:
        scheduled = self.value(updates) * read(self.multiplier)
        return ops.where(read(self.active) > 0, scheduled, ops.convert_to_tensor(self.live.variable))

    def go_on_from(self, before: "Clock") -> None:
        """Copy the time and the multiplier of an optimizer that was replaced in the middle of the run."""
        super().go_on_from(before)
        if isinstance(before, SteeredRate) and before is not self:
            self.multiplier.set(float(before.multiplier))

    @property
    def steers(self) -> bool:
        return float(self.active) > 0

    def begin_epoch(self, epoch: int) -> None:
        if not self.started and epoch == 0:
            self.multiplier.set(1.0)
        super().begin_epoch(epoch)


def multiplier(optimizer: KerasOptimizer) -> Knob:
    """Return the multiplier of an optimizer's scheduled rate: made once, saved with the optimizer.

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


def lower_rate(optimizer: KerasOptimizer, factor: float) -> None:
    """Multiply an optimizer's rate: by the multiplier of the schedule that steers it, else its own.

    Args:
        optimizer: A Keras optimizer with a rate of its own.
        factor: The factor of the rate, > 0.

    Example:
        >>> import keras
        >>> optimizer = keras.optimizers.SGD(0.5)
        >>> lower_rate(optimizer, 0.5)
        >>> float(optimizer.learning_rate)
        0.25
    """
    installed = installed_rate(optimizer)
    if installed is not None and installed.owner.steers:
        knob = multiplier(optimizer)
        knob.set(float(knob) * factor)
    else:
        optimizer.learning_rate = rate_of(optimizer) * factor


def rate_of(optimizer: KerasOptimizer) -> float:
    """Return the rate of an optimizer's last update, under any strategy."""
    return float(ops.convert_to_numpy(optimizer.learning_rate))
