"""StopWhen: training that ends when a condition on several metrics holds."""

import logging

import numpy as np

from kopt.callbacks.base import registry
from kopt.callbacks.condition import Condition
from kopt.callbacks.condition_text import parse_condition
from kopt.keras_internals import called_with, has_own_metrics, has_own_test_step
from kopt.training.callback import Callback
from kopt.training.steps.installing import own_step
from kopt.values.checks import require
from kopt.values.types import CallbackState, Logs

__all__ = ["StopWhen"]

log = logging.getLogger("kopt")


@registry.register
class StopWhen(Callback):
    """Stop training at the end of an epoch, or after a `ValidateEvery`, when a condition on metrics holds.

    A comparison is about the newest value of a metric; a plateau about its values one after the other, each logged
    value counting once: those of epochs or, where a `ValidateEvery` in the same run gives the metric, of its
    validations. A metric must be in the logs of the first epoch, one of validation in those of the first epoch that is
    validated; it stands after the callbacks that log what it reads.

    Args:
        condition: A condition, such as `metric("val_loss").plateaus(3) & (metric("val_auc") > 0.9)`, or its text,
            "val_loss plateaus 3 and val_auc > 0.9", see `kopt.callbacks.condition_text`.

    Attributes:
        stopped: The number of the epoch in which training was stopped, from 0 on; None when it was not.

    Raises:
        ValueError: When the condition is none; in fit, when the logs lack a metric: after the first program call where
            it is known which metrics validation will have, else at the end of the epoch.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse", metrics=["mae"])
        >>> stop = StopWhen("loss plateaus 2 by 9 and mae < 100")
        >>> len(model.fit(np.eye(2), np.ones((2, 1)), epochs=9, callbacks=[stop], verbose=0).epoch)
        3

    Source:
        `keras.callbacks.EarlyStopping`, which looks at one metric.
    """

    any_chunk = True
    stopped: int | None = None

    def __init__(self, condition: Condition | str):
        super().__init__()
        self.condition = parse_condition(condition) if isinstance(condition, str) else condition
        rule = "must be a condition, such as metric('val_loss').plateaus(3), or its text"
        require(isinstance(self.condition, Condition), "condition", rule, condition)
        self.on_train_begin()

    def on_train_begin(self, logs: Logs = None) -> None:
        self.curves: dict[str, list[float]] = {name: [] for name in self.condition.metrics}
        self.by_step: set[str] = set()  # metrics that a ValidateEvery gives
        self.stopped, self.epoch, self.looked, self.warned = None, 0, False, False

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.epoch = self.epoch_index(epoch)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if not self.looked and logs:
            self.looked = True
            if self.params and self.foreseen():
                possible = sorted({*logs, *(f"val_{name}" for name in logs)})
                self.require_known([name for name in self.curves if name.startswith("val_")], possible)

    def on_validation(self, step: int, logs: Logs = None) -> None:
        self.by_step |= self.curves.keys() & set(logs or {})
        self.look(logs, self.by_step)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.epoch = self.epoch_index(epoch)
        if logs is None:  # of a user's loop
            return
        self.look(logs, set(self.curves) - self.by_step)
        unseen = [name for name, curve in self.curves.items() if not curve]
        if any(name.startswith("val_") for name in logs):
            self.require_known(unseen, sorted(logs))
        self.require_known([name for name in unseen if not name.startswith("val_")], sorted(logs))
        if unseen and not self.warned:
            log.warning("StopWhen waits for %s, which the logs of epoch %d lack", ", ".join(unseen), self.epoch + 1)
            self.warned = True

    def look(self, logs: Logs, names: set[str]) -> None:
        """Take the new values of metrics, and stop when the condition holds."""
        logs = logs or {}
        new = {name: np.asarray(logs[name]) for name in self.curves if name in names and name in logs}
        for name, value in new.items():
            require(value.ndim == 0, "condition", "must be about metrics of one number", f"{name} of {value.shape}")
            self.curves[name].append(float(value))
        if new and self.condition.holds(self.curves) and self.stopped is None:
            self.stopped, self.model.stop_training = self.epoch, True
            newest = ", ".join(f"{name} {curve[-1]:.4g}" for name, curve in self.curves.items() if curve)
            log.info("stopped in epoch %d: %r holds, with %s", self.epoch + 1, self.condition, newest)

    def foreseen(self) -> bool:
        """Return whether validation has the metrics of training: by Keras' own steps, and no user's callback logs."""
        others = [type(one).__module__.partition(".")[0] for one in called_with(self)]
        own = own_step(self.model) or has_own_test_step(self.model) or has_own_metrics(self.model)
        return not own and set(others) <= {"keras", "kopt"}

    def require_known(self, names: list[str], possible: list[str]) -> None:
        """Raise ValueError that names a metric that is none of those that there are."""
        for name in names:
            require(name in possible, "condition", f"must be about metrics of the logs, {possible}", name)

    def get_state(self) -> CallbackState:
        counts = {"stopped": self.stopped, "epoch": self.epoch, "looked": self.looked, "warned": self.warned}
        return {"curves": self.curves, "by_step": sorted(self.by_step), **counts}

    def set_state(self, state: CallbackState) -> None:
        self.curves = {name: list(state["curves"][name]) for name in self.condition.metrics}
        self.by_step, self.stopped, self.epoch = set(state["by_step"]), state["stopped"], state["epoch"]
        self.looked, self.warned = state["looked"], state["warned"]
