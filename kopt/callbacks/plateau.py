"""ReduceOnPlateau: a lower rate when a metric stalls, on top of whatever schedule runs."""

import math
from typing import Any

from kopt.callbacks.base import registry
from kopt.callbacks.learning_rate import lower_rate
from kopt.checks import require
from kopt.keras_internals import PlateauCallback, rated_optimizers
from kopt.knobs import Knob, held_knob

__all__ = ["ReduceOnPlateau"]


@registry.register
class ReduceOnPlateau(PlateauCallback):
    """Multiply the learning rate by a factor when a metric has stopped improving; Keras' arguments and rules.

    After `patience` epochs without an improvement of more than `min_delta`, rate <- max(rate * factor, min_lr), and
    `cooldown` epochs pass before counting begins again. Under `LearningRate` the schedule goes on and its multiplier is
    lowered; without, the optimizer's rate is. The best value and both counters are saved with the optimizer, so that a
    resumed run (`initial_epoch`, BackupAndRestore) is as an uninterrupted one; a run from epoch 0 starts over.

    Args:
        monitor: A name in the logs.
        factor: In (0, 1).
        patience: Epochs without improvement to wait, >= 0.
        verbose: 1 to print each change.
        mode: "min", "max" or "auto".
        min_delta: The least improvement that counts, >= 0.
        cooldown: Epochs to rest after a change, >= 0.
        min_lr: The least rate, >= 0.

    Raises:
        ValueError: When an argument is out of range; in fit, when the logs do not hold the metric.

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
    ):
        require(0 < factor < 1, "factor", "must be in (0, 1)", factor)
        require(mode in ("auto", "min", "max"), "mode", "must be 'auto', 'min' or 'max'", mode)
        counts = {"patience": patience, "min_delta": min_delta, "cooldown": cooldown, "min_lr": min_lr}
        for name, value in counts.items():
            require(value >= 0, name, "must be >= 0", value)
        self.knobs: dict[str, Knob] = {}
        super().__init__(
            monitor, factor, patience, verbose, mode, **{k: v for k, v in counts.items() if k != "patience"}
        )
        self.fresh = True

    def set_model(self, model: Any) -> None:
        """Find or make the counters, which the optimizer holds."""
        super().set_model(model)
        optimizer = rated_optimizers(model.optimizer)[0]
        with model.distribute_strategy.scope():
            for name, start in (("best", math.nan), ("wait", 0.0), ("cooldown_counter", 0.0)):
                self.knobs[name] = held_knob(optimizer, f"kopt_plateau_{self.monitor}_{name}", start, "float64")

    def on_train_begin(self, logs: Any = None) -> None:
        self.fresh = True

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self.fresh and epoch == 0:
            self.best, self.wait, self.cooldown_counter = None, 0, 0
        self.fresh = False

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        require(self.monitor in (logs or {}), "monitor", f"must be one of {sorted(logs or {})}", self.monitor)
        super().on_epoch_end(epoch, logs)

    def lower(self, optimizer: Any) -> bool:
        """Lower one optimizer's rate; False when it is at `min_lr` already."""
        rate = float(optimizer.learning_rate)
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
