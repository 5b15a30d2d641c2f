"""TimeBudget: training that ends when its time is up."""

import logging
import time

from kopt.callbacks.base import registry
from kopt.training.callback import Callback
from kopt.values.durations import seconds_of
from kopt.values.types import CallbackState, KerasModel, Logs

__all__ = ["TimeBudget"]

log = logging.getLogger("kopt")


@registry.register
class TimeBudget(Callback):
    """Stop training when a duration has passed, by the clock on the wall.

    It stops after an update, in the middle of an epoch, which is then validated and logged as any other; in `Loop` not
    later than a program call, 0.2 s, after the time is up. The time runs from the beginning of each fit.

    Args:
        budget: Seconds > 0, or words such as "30m", "1h30m", "90s", "2d".

    Raises:
        ValueError: When the budget is none of these.

    Example:
        >>> TimeBudget("1h30m").budget
        5400.0
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> how = {"epochs": 10**6, "callbacks": [TimeBudget(0.5)], "verbose": 0}
        >>> 0 < len(model.fit(np.eye(2), np.ones((2, 1)), **how).epoch) < 10**6
        True

    Source:
        Folklore; as SLURM's time limits.
    """

    any_chunk = True
    spans_epochs = True

    def __init__(self, budget: float | str):
        super().__init__()
        self.budget = seconds_of(budget, "budget")

    def set_model(self, model: KerasModel) -> None:
        """Start counting; a user's loop may not call `on_train_begin`."""
        super().set_model(model)
        self.on_train_begin()

    def on_train_begin(self, logs: Logs = None) -> None:
        self.end = time.monotonic() + self.budget
        self.said = False

    def get_state(self) -> CallbackState:
        return {"used": self.budget - (self.end - time.monotonic()), "said": self.said}

    def set_state(self, state: CallbackState) -> None:
        """Go on counting; the time between the two runs does not count."""
        self.end, self.said = time.monotonic() + self.budget - state["used"], state["said"]

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self.look()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.look()

    def look(self) -> None:
        if time.monotonic() >= self.end:
            self.model.stop_training = True
            if not self.said:
                log.info("stopped: the budget of %g s is spent", self.budget)
                self.said = True
