"""Scheduled: numbers other than the learning rate that follow a schedule."""

from typing import TypeAlias, cast

import keras
from keras import ops

from kopt.callbacks.base import optimizer_name, registry
from kopt.callbacks.clock import Clock, Unit, read, require_schedule, require_unit
from kopt.keras_internals import retrace, set_dropout
from kopt.optimizers import Optimizer
from kopt.schedules import Schedule
from kopt.state.knob import Knob
from kopt.training.callback import Callback
from kopt.training.steps.installing import own_step
from kopt.values.checks import require
from kopt.values.field_paths import number_paths
from kopt.values.field_paths import read as read_field
from kopt.values.types import CallbackState, KerasLayer, KerasModel, KerasOptimizer, Logs, Scalar, Tensor, Variable

__all__ = ["Scheduled"]

Target: TypeAlias = str | Knob | KerasLayer | Variable


@registry.register
class Scheduled(Callback):
    """Set a number by a schedule over the run: weight decay, momentum, penalties, dropout, or any scalar variable.

    A number of the rule of a kopt `Optimizer`, named by its path, follows inside the training program, exactly at every
    update, and is the rule's own again when training ends. All else is written once an epoch, before its first step: a
    scalar variable, a `Knob` such as `regularizers.strength(model)`, or the rate of a `Dropout` layer, which is the
    layer's own again when training ends. The value last used is in the logs.

    Args:
        target: A path into the rule ("momentum", "weight_decay", "beta_1"), a `keras.layers.Dropout` with a rate > 0, a
            `Knob`, or a scalar `keras.Variable`.
        schedule: The number over time.
        unit: What the schedule's time counts: "step" (updates), "epoch", or "run" (0 to 1 over the whole run).
        optimizer: The attribute of the model that is the optimizer whose rule, or updates, are meant, such as
            "d_optimizer"; needed where a model with a train_step of its own has several.

    Raises:
        ValueError: When an argument is of the wrong kind; in fit, when the optimizer's rule has no such number, there
            are several optimizers, or the number of steps an epoch is needed and not known.

    Example:
        >>> import keras, numpy as np
        >>> from kopt.optimizers import Optimizer
        >>> from kopt.rules import Momentum
        >>> from kopt.schedules import Linear
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(Optimizer(Momentum(), 0.1), "mse")
        >>> falling = Scheduled("momentum", Linear(0.9, end=0.5), unit="epoch")
        >>> history = model.fit(np.eye(2), np.ones((2, 1)), epochs=4, callbacks=[falling], verbose=0)
        >>> [round(value, 2) for value in history.history["momentum"]]
        [0.9, 0.8, 0.7, 0.6]

    Source:
        Smith, A Disciplined Approach to Neural Network Hyper-Parameters, 2018: cyclical momentum and weight decay.
    """

    def __init__(self, target: Target, schedule: Schedule, *, unit: Unit = "epoch", optimizer: str | None = None):
        super().__init__()
        self.optimizer = optimizer_name(optimizer)
        scalar = isinstance(target, (str, Knob)) or isinstance(target, keras.Variable) and target.shape == ()
        dropout = isinstance(target, keras.layers.Dropout) and target.rate > 0
        rule = "must be a path into the rule, a Dropout with a rate > 0, a Knob or a scalar variable"
        require(scalar or dropout, "target", rule, target)
        require_unit(unit)
        self.target = target
        require_schedule(schedule)
        self.schedule, self.unit = schedule, unit
        self.clock: Clock
        self.variable: Variable = None

    def set_model(self, model: KerasModel) -> None:
        """Install the schedule before the training function is made; keep that of the last fit when it is the same."""
        self.begun = self.measured = False
        super().set_model(model)

    def install(self) -> None:
        """Install the schedule in the optimizer's rule, or make the variable that is written once an epoch."""
        optimizer, model = self.only_optimizer(), self.model
        if isinstance(self.target, str):
            self.clock = self.rule_number(optimizer, self.target)
            return
        with model.distribute_strategy.scope():
            self.clock = Clock(self.schedule, self.unit, optimizer, "Scheduled")
            self.variable = self.variable_of_target()
        if isinstance(self.target, keras.layers.Dropout):
            set_dropout(self.target, self.variable)
            retrace(model)

    def rule_number(self, optimizer: KerasOptimizer, path: str) -> "RuleNumber":
        """Return the scheduled number of an optimizer's rule, installed unless it is there."""
        known = isinstance(optimizer, Optimizer)
        require(known, "optimizer", "must be a kopt Optimizer to schedule its rule", optimizer)
        ours = cast(Optimizer, optimizer)
        paths = number_paths(ours.rule)
        require(path in paths, "target", f"must be one of {paths}, the numbers of {ours.rule!r}", path)
        installed = ours.live.get(path)
        if not isinstance(installed, RuleNumber) or not installed.follows(self.schedule, self.unit):
            with self.model.distribute_strategy.scope():
                installed = RuleNumber(self.schedule, self.unit, ours, path)
            ours.live[path] = installed
            retrace(self.model)
        return installed

    def reinstall(self) -> None:
        """Continue the schedule with a new optimizer."""
        before = self.clock
        self.install()
        self.clock.go_on_from(before)

    def only_optimizer(self) -> KerasOptimizer:
        """Return the one optimizer whose updates are counted."""
        found = self.optimizers
        first, one = next(iter(found.values())), len(found) == 1 or not own_step(self.model)
        require(one, "optimizer", f"must name one of {sorted(found)}, whose updates are counted", self.optimizer)
        return first

    def on_train_begin(self, logs: Logs = None) -> None:
        if isinstance(self.target, str):
            owner = cast(Optimizer, self.clock.optimizer).live[self.target]
            require(owner is self.clock, "callbacks", f"must hold one that sets {self.target}", [owner, self.clock])
        self.clock.begin_run((self.params or {}).get("epochs"), (self.params or {}).get("steps"))
        self.begun = True

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        if not self.begun:
            self.on_train_begin()  # a user's loop may leave it out
        self.clock.begin_epoch(self.epoch_index(epoch))
        if not isinstance(self.target, str):
            self.variable.assign(self.clock.value(self.clock.updates()))

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        require(self.begun, "on_epoch_begin", "must be called before on_epoch_end for Scheduled to act", epoch)
        if own_step(self.model) and not self.measured:
            self.clock.measure_step(self.clock.steps)
        self.measured = True
        if logs is not None:
            if isinstance(self.target, str):
                name, used = self.target, self.clock.updates() - 1
            else:
                name, used = self.target.name, self.clock.epoch_start
            logs[name] = float(ops.convert_to_numpy(self.clock.value(used)))

    def get_state(self) -> CallbackState:
        value = None if isinstance(self.target, str) else float(ops.convert_to_numpy(self.variable))
        return {"clock": self.clock.get_state(), "measured": self.measured, "value": value}

    def set_state(self, state: CallbackState) -> None:
        self.clock.set_state(state["clock"])
        self.measured = state["measured"]
        if state["value"] is not None:
            self.variable.assign(state["value"])

    def close(self) -> None:
        """Let the rule or the layer have its own number again."""
        self.clock.active.set(0.0)
        if isinstance(self.target, keras.layers.Dropout):
            self.variable.assign(float(self.target.rate))  # for programs that were traced with it
            set_dropout(self.target, None)

    def variable_of_target(self) -> Variable:
        """Return the variable that is written once an epoch."""
        if isinstance(self.target, keras.layers.Dropout):
            return Knob(float(self.target.rate)).value
        return self.target.value if isinstance(self.target, Knob) else self.target


class RuleNumber(Clock):
    """A number of an optimizer's rule as a function of its updates so far.

    Args:
        schedule: The schedule.
        unit: The unit of its time.
        optimizer: The optimizer.
        path: The number's path in the rule.
    """

    def __init__(self, schedule: Schedule, unit: Unit, optimizer: Optimizer, path: str):
        super().__init__(schedule, unit, optimizer, "Scheduled")
        self.own = read_field(optimizer.rule, path)

    def __call__(self, updates: Scalar) -> Tensor:
        own = ops.convert_to_tensor(self.own, "float64")
        return ops.where(read(self.active) > 0, self.exact(updates), own)
