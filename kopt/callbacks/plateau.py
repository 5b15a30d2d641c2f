"""ReduceOnPlateau: a lower rate when a metric stalls, beside any schedule."""

import math
from typing import Any

from kopt.callbacks.awaited import Awaited
from kopt.callbacks.base import optimizer_name, registry
from kopt.callbacks.learning_rate import lower_rate, rate_of
from kopt.keras_internals import PlateauCallback, applied_gradients, rate_variable
from kopt.state.knob import Knob, held_knob
from kopt.training.callback import Callback
from kopt.training.steps.installing import own_step
from kopt.values.checks import require
from kopt.values.types import CallbackState, KerasModel, Logs

__all__ = ["ReduceOnPlateau"]


@registry.register
class ReduceOnPlateau(Callback, PlateauCallback):
    """Multiply the learning rate by a factor when a metric has stopped improving; Keras' arguments and rules.

    After `patience` epochs without an improvement of more than `min_delta`, rate <- max(rate * factor, min_lr), and
    `cooldown` epochs pass before counting begins again. Under `LearningRate` the schedule goes on and its multiplier is
    lowered; otherwise the optimizer's rate is. The best value and both counters are saved with the optimizer, so that a
    resumed run (`initial_epoch`, BackupAndRestore) equals an uninterrupted one; a run from epoch 0 starts over. Epochs
    that do not log the metric, such as those without validation, are not counted.

    Args:
        monitor: A name in the logs.
        factor: The factor of the rate, in (0, 1).
        patience: Epochs without improvement to wait, >= 0.
        verbose: 1 to print each change.
        mode: "min", "max" or "auto".
        min_delta: The least improvement that counts, >= 0.
        cooldown: Epochs to rest after a change, >= 0.
        min_lr: The least rate, >= 0.
        optimizer: The attribute of the model that is the optimizer, such as "d_optimizer"; None for all that the
            training step updates by.

    Raises:
        ValueError: When an argument is out of range; in fit, when the optimizer was compiled with a schedule; at the
            end of training, when no epoch has logged the metric.

    Example:
        >>> import keras, numpy as np
        >>> from kopt.callbacks import LearningRate
        >>> from kopt.schedules import Constant
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> callbacks = [LearningRate(Constant(0.1)), ReduceOnPlateau("loss", factor=0.5, patience=1, min_delta=9)]
        >>> history = model.fit(np.eye(2), np.ones((2, 1)), epochs=4, callbacks=callbacks, verbose=0)
        >>> [round(rate, 4) for rate in history.history["learning_rate"]]
        [0.1, 0.1, 0.05, 0.025]

    Source:
        `keras.callbacks.ReduceLROnPlateau`.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        *,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
        optimizer: str | None = None,
    ):
        require(0 < factor < 1, "factor", "must be in (0, 1)", factor)
        require(mode in ("auto", "min", "max"), "mode", "must be 'auto', 'min' or 'max'", mode)
        counts = {"patience": patience, "min_delta": min_delta, "cooldown": cooldown, "min_lr": min_lr}
        for name, value in counts.items():
            require(value >= 0, name, "must be >= 0", value)
        self.knobs: dict[str, Knob] = {}
        how = {"monitor": monitor, "factor": factor, "verbose": verbose, "mode": mode}
        super().__init__(**how, **counts)
        self.optimizer = optimizer_name(optimizer)
        self.awaited, self.fresh, self.last = Awaited(monitor), True, -1
        self.given: dict[str, int] = {}

    def set_model(self, model: KerasModel) -> None:
        """Find or make the counters, which the optimizer holds."""
        self.fresh = True
        super().set_model(model)
        self.awaited.begin()
        self.given = {name: applied_gradients(one) for name, one in self.optimizers.items()}

    def install(self) -> None:
        """Find or make the counters."""
        optimizers = list(self.optimizers.values())
        for one in optimizers:
            rate_variable(one)  # refuses a schedule
        with self.model.distribute_strategy.scope():
            for name, start in (("best", math.nan), ("wait", 0.0), ("cooldown_counter", 0.0)):
                self.knobs[name] = held_knob(optimizers[0], f"kopt_plateau_{self.monitor}_{name}", start, "float64")

    def reinstall(self) -> None:
        """Continue the counters with a new optimizer."""
        before = {name: float(knob) for name, knob in self.knobs.items()}
        self.install()
        for name, value in before.items():
            self.knobs[name].set(value)
        self.given = {}

    def on_train_begin(self, logs: Logs = None) -> None:
        self.fresh = True
        self.awaited.begin()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.begin(epoch)

    def begin(self, epoch: int) -> None:
        """Start over at the first epoch of a run, or of a user's loop that does not call `on_train_begin`."""
        if self.fresh and self.epoch_index(epoch) == 0:
            self.best, self.wait, self.cooldown_counter = None, 0, 0
        if self.fresh:
            self.awaited.begin(seen=self.best is not None)
        self.fresh = False

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.begin(epoch)
        self.last, logs = epoch, {} if logs is None else logs
        current = self.awaited.found(epoch, logs)
        lowered = self.lowered()
        for name, optimizer in lowered.items():
            shown = "learning_rate" if len(lowered) == 1 else f"learning_rate_{name}"
            logs.setdefault(shown, rate_of(optimizer))
        if current is not None:
            self.count(epoch, current)

    def on_train_end(self, logs: Logs = None) -> None:
        self.awaited.require_seen(whole=self.last + 1 == (self.params or {}).get("epochs"))

    def get_state(self) -> CallbackState:
        """Return what the optimizer's counters are not: how far the run is, and whether it has logged the metric."""
        return {"fresh": self.fresh, "last": self.last, "given": self.given, "awaited": self.awaited.get_state()}

    def set_state(self, state: CallbackState) -> None:
        self.fresh, self.last, self.given = state["fresh"], state["last"], dict(state["given"])
        self.awaited.set_state(state["awaited"])

    def lowered(self) -> dict[str, Any]:
        """Return the optimizers with rates to lower: those that the training step updates by, or the one named."""
        if self.optimizer is not None or not own_step(self.model):
            return self.optimizers
        return {name: one for name, one in self.optimizers.items() if applied_gradients(one) > self.given.get(name, 0)}

    def lower_rates(self, epoch: int) -> bool:
        """Lower every rate; return False when all are at `min_lr` already."""
        optimizers = self.lowered()
        rule = f"must be one that the training step of {self.model.name!r} updates by, for ReduceOnPlateau to act"
        require(bool(optimizers), "optimizer", rule, sorted(self.optimizers))
        lowered = [name for name, optimizer in optimizers.items() if self.lower(optimizer)]
        for name in lowered if self.verbose > 0 else []:
            whose = f" of {name}" if len(optimizers) > 1 else ""
            print(f"\nEpoch {epoch + 1}: the learning rate{whose} is lowered by {self.factor}.")
        return bool(lowered)

    def lower(self, optimizer: Any) -> bool:
        """Lower one optimizer's rate; return False when it is at `min_lr` already."""
        rate = rate_of(optimizer)
        if rate <= self.min_lr:
            return False
        lower_rate(optimizer, max(self.factor, self.min_lr / rate))
        return True

    @property
    def best(self) -> float | None:
        value = float(self.knobs["best"]) if self.knobs else math.nan
        return None if math.isnan(value) else value

    @best.setter
    def best(self, value: Any) -> None:
        if self.knobs:
            self.knobs["best"].set(math.nan if value is None else float(value))

    @property
    def wait(self) -> int:
        return int(float(self.knobs["wait"])) if self.knobs else 0

    @wait.setter
    def wait(self, value: int) -> None:
        if self.knobs:
            self.knobs["wait"].set(value)

    @property
    def cooldown_counter(self) -> int:
        return int(float(self.knobs["cooldown_counter"])) if self.knobs else 0

    @cooldown_counter.setter
    def cooldown_counter(self, value: int) -> None:
        if self.knobs:
            self.knobs["cooldown_counter"].set(value)
