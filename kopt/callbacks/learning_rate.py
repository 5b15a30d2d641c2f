"""LearningRate: a schedule inside the training program."""

from typing import Any

import keras
import numpy as np
from keras import ops

from kopt import schedules
from kopt.callbacks.base import registry
from kopt.callbacks.clock import Clock, Unit, read, require_unit, schedule_of
from kopt.checks import require
from kopt.keras_internals import install_rate, installed_rate, rated_optimizers, retrace
from kopt.knobs import Knob, held_knob
from kopt.schedules import Schedule

__all__ = ["LearningRate", "lower_rate", "multiplier"]


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
        schedule = schedule_of(schedule)
        require(not fields, "fields", "must be left out where a schedule is given", sorted(fields))
        require_unit(unit)
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
            installed.owner.counts_steps = self.per_step
            self.steered.append(installed.owner)

    @property
    def spans_epochs(self) -> bool:
        """Whether Loop may run several epochs in one program: not where the rates of every step are read after each."""
        return not self.per_step

    @property
    def watched(self) -> dict[str, Any]:
        """The variables of the rates of the last update, by their names in the logs."""
        several = {f"learning_rate_{steered.optimizer.name}": steered.variable.value for steered in self.steered}
        return {"learning_rate": self.steered[0].variable.value} | (several if len(self.steered) > 1 else {})

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
            rates = self.steered[0].values_of_epoch() * float(self.steered[0].multiplier)
            self.rates = np.concatenate([self.rates, rates])
        if logs is not None:
            for name, variable in self.watched.items():
                if name not in logs:  # Loop's programs leave it there
                    logs[name] = float(variable.numpy())

    def on_train_end(self, logs: Any = None) -> None:
        self.close()

    def close(self) -> None:
        """Leave the rate to the optimizer again, at its last value."""
        for steered in self.steered:
            steered.active.set(0.0)


class SteeredRate(Clock):
    """One optimizer's rate as a function of its updates so far: the schedule times a multiplier.

    Args:
        schedule: The schedule.
        unit: What its time counts.
        model: The model that is trained.
        optimizer: The optimizer whose rate it is.
    """

    def __init__(self, schedule: Schedule, unit: Unit, model: Any, optimizer: Any):
        super().__init__(schedule, unit, optimizer, "LearningRate")
        self.model, self.multiplier = model, multiplier(optimizer)
        self.variable: Any = None

    def __call__(self, updates: Any) -> Any:
        scheduled = self.value(updates) * read(self.multiplier)
        return ops.where(read(self.active) > 0, scheduled, ops.convert_to_tensor(self.variable))

    @property
    def runs_eagerly(self) -> bool:
        return self.model.run_eagerly

    @property
    def steers(self) -> bool:
        return float(self.active) > 0

    def begin_epoch(self, epoch: int) -> None:
        if not self.started and epoch == 0:
            self.multiplier.set(1.0)
        super().begin_epoch(epoch)


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


def lower_rate(optimizer: Any, factor: float) -> None:
    """Multiply an optimizer's rate: by the multiplier of the schedule that steers it, else its own.

    Args:
        optimizer: A Keras optimizer with a rate of its own.
        factor: What to multiply by.

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
        optimizer.learning_rate = float(optimizer.learning_rate) * factor
