"""EpochTime: the duration of each epoch."""

import time

from kopt.callbacks.base import registry
from kopt.training.callback import Callback
from kopt.values.types import CallbackState, KerasModel, Logs

__all__ = ["EpochTime"]


@registry.register
class EpochTime(Callback):
    """Log the wall-clock seconds of each epoch, validation included, as "seconds".

    Put it before callbacks that should see it in the logs.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> history = model.fit(np.eye(2), np.ones((2, 1)), callbacks=[EpochTime()], verbose=0)
        >>> history.history["seconds"][0] > 0
        True

    Source:
        Folklore.
    """

    def set_model(self, model: KerasModel) -> None:
        """Start counting; a user's loop may call `on_epoch_end` alone."""
        super().set_model(model)
        self.started = time.perf_counter()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.started = time.perf_counter()

    def get_state(self) -> CallbackState:
        return {"seconds": time.perf_counter() - self.started}  # of the epoch so far

    def set_state(self, state: CallbackState) -> None:
        self.started = time.perf_counter() - state["seconds"]

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        now = time.perf_counter()
        if logs is not None:
            logs["seconds"] = now - self.started
        self.started = now
