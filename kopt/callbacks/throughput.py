"""Throughput: the speed of training, and the time that it waits for data."""

import time

import keras

from kopt.callbacks.base import registry
from kopt.keras_internals import examples_counted
from kopt.training.callback import Callback
from kopt.values.checks import require
from kopt.values.types import CallbackState, KerasModel, Logs, Variable

__all__ = ["Throughput"]


@registry.register
class Throughput(Callback):
    """Log the examples a second of each epoch, and the duration of a step.

    In an epoch's logs stand "examples_per_second" and "step_seconds", both of training alone, without validation. In
    `Loop` the step is split into "data_seconds", in which the program waited for the dataset (0 for arrays on the
    device), and "compute_seconds", the rest. The first epoch includes the time of compilation. A model with a
    train_step of its own that tracks no loss counts no examples: nan. Put it before callbacks that write logs.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> history = model.fit(np.eye(2), np.ones((2, 1)), callbacks=[Throughput()], verbose=0).history
        >>> sorted(history)
        ['examples_per_second', 'loss', 'step_seconds']

    Source:
        MLPerf's samples per second.
    """

    any_chunk = True
    spans_epochs = True
    wants_times = True

    def set_model(self, model: KerasModel) -> None:
        super().set_model(model)
        require(model.compiled, "model", "must be compiled for its examples to be counted", model.name)
        self.counter = examples_counted(model)
        self.start()

    @property
    def watched(self) -> dict[str, Variable]:
        """Return the number of examples of the epoch so far."""
        return {"examples": self.counter}

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.start()

    def start(self) -> None:
        """Start counting; a user's loop may call `on_epoch_end` alone."""
        self.started, self.steps, self.looked, self.before = time.perf_counter(), 0, False, self.counted()

    def get_state(self) -> CallbackState:
        seconds = time.perf_counter() - self.started  # of the epoch so far
        return {"seconds": seconds, "steps": self.steps, "before": self.before}

    def set_state(self, state: CallbackState) -> None:
        self.started = time.perf_counter() - state["seconds"]
        self.steps, self.before, self.looked = state["steps"], state["before"], False

    def counted(self) -> float:
        """Return the number of examples that the model has counted."""
        return float(keras.ops.convert_to_numpy(self.counter))

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self.steps = batch + 1

    def on_test_begin(self, logs: Logs = None) -> None:
        self.look()

    def on_test_end(self, logs: Logs = None) -> None:
        if self.in_mid_epoch:  # training goes on
            self.started, self.looked = time.perf_counter() - self.seconds, False

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.look()
        times = self.epoch_times()
        received = self.received is not None and self.received.values is not None
        examples = float(self.epoch_values()["examples"] if received else self.examples) or float("nan")
        seconds, steps = (self.seconds, self.steps) if times is None else (times.seconds, times.steps)
        self.start()
        if logs is None:
            return
        logs.update({"examples_per_second": examples / seconds, "step_seconds": seconds / (steps or float("nan"))})
        if times is not None and steps:
            waited = times.waited / steps
            logs.update({"data_seconds": waited, "compute_seconds": seconds / steps - waited})

    def look(self) -> None:
        """Read the clock and the examples when the training part of an epoch ends, before validation counts its own."""
        if not self.looked:
            self.seconds, counted = time.perf_counter() - self.started, self.counted()
            # A user's loop may not reset the metrics.
            self.examples, self.looked = counted - self.before if counted >= self.before else counted, True
