"""ProgressBar: a line an epoch while a model trains."""

import time

import numpy as np

from kopt.training.callback import Callback
from kopt.training.displays import display_for
from kopt.values.types import ArrayLike, CallbackState, KerasModel, Logs

__all__ = ["ProgressBar"]

SHOWN = 5  # of a metric's numbers, where it has several


class ProgressBar(Callback):
    """One line an epoch, below a live bar on a terminal; one output in a notebook; plain lines in files and pipes.

    Shows the epoch, the step, the loss and metrics so far, the learning rate where a callback before it logs one, the
    seconds since training began, examples a second (steps where the number of examples is not known) and about how many
    seconds are left. The last two are means over the epochs so far, validation included.

    Args:
        live: True for a bar, False for plain lines; None for what fits, see `displays.display_for`. A notebook's output
            has the lines of the last ten epochs, and is written anew five times a second at most.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="zeros")])
        >>> model.compile("sgd", "mse")
        >>> _ = model.fit(np.eye(2), np.ones((2, 1)), verbose=0, callbacks=[ProgressBar(live=False)])
        epoch 1/1  loss 1.0000  ...s  ... steps/s

    Source:
        `keras.callbacks.ProgbarLogger`; rich.
    """

    any_chunk = spans_epochs = chief_only = True
    training = False

    def __init__(self, live: bool | None = None):
        super().__init__()
        self.display = display_for(live)

    def set_model(self, model: KerasModel) -> None:
        """Start counting; a user's loop may call `on_epoch_end` alone."""
        super().set_model(model)
        self.begin()

    def begin(self) -> None:
        self.begun, self.epochs, self.steps, self.epoch_steps = time.perf_counter(), 0, 0, 0
        self.first: int | None = None

    def on_train_begin(self, logs: Logs = None) -> None:
        self.training = True
        self.begin()

    def param(self, name: str) -> int | None:
        """Return a number of `set_params`, None where it is not known."""
        return (self.params or {}).get(name)

    def title(self, epoch: int) -> str:
        epochs = self.param("epochs")
        return f"epoch {self.epoch_index(epoch) + 1}" + (f"/{epochs}" if epochs else "")

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.first = epoch if self.first is None else self.first
        self.epoch_steps = 0
        self.display.begin(self.title(epoch), self.param("steps"))

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self.epoch_steps = batch + 1
        steps = self.param("steps")
        done = self.epochs + (self.epoch_steps / steps if steps else 0.0)
        self.display.step(self.epoch_steps, f"{shown(logs)}  {self.speed(done)}")

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.epochs, self.steps = self.epochs + 1, self.steps + (self.epoch_steps or self.param("steps") or 0)
        self.epoch_steps = 0
        self.display.end(f"{self.title(epoch)}  {shown(logs)}  {self.speed(self.epochs)}")

    def get_state(self) -> CallbackState:
        seconds = time.perf_counter() - self.begun
        counts = {"epochs": self.epochs, "steps": self.steps, "epoch_steps": self.epoch_steps, "first": self.first}
        return {"seconds": seconds, **counts}

    def set_state(self, state: CallbackState) -> None:
        self.begun, self.first = time.perf_counter() - state["seconds"], state["first"]
        self.epochs, self.steps, self.epoch_steps = state["epochs"], state["steps"], state["epoch_steps"]

    def speed(self, epochs: float) -> str:
        """Return the time that so many epochs have taken, the speed, and the time that is left, as text."""
        seconds = time.perf_counter() - self.begun
        examples, whole = self.param("examples"), self.param("epochs")
        count, what = (epochs * examples, "examples") if examples else (self.steps + self.epoch_steps, "steps")
        left = (whole - (self.first or 0) - epochs) * seconds / epochs if epochs and whole else 0.0
        ending = f"  {left:.0f} s left" if left else ""
        return f"{seconds:.1f} s  {count / seconds:,.0f} {what}/s{ending}"

    def on_test_end(self, logs: Logs = None) -> None:
        if not self.training:
            print(f"evaluation  {shown(logs)}", flush=True)

    def on_train_end(self, logs: Logs = None) -> None:
        self.close()

    def close(self) -> None:
        """Leave lines only on the screen."""
        self.display.close()


def shown(logs: Logs) -> str:
    """Return logs as text, the loss first."""
    losses_first = sorted((logs or {}).items(), key=lambda item: item[0] != "loss")
    return "  ".join(f"{name} {written(value)}" for name, value in losses_first if name != "seconds")


def written(value: ArrayLike) -> str:
    """Return a metric's value as text: a number, or the first of several numbers, as F1Score has one a class."""
    values = np.asarray(value)
    if values.ndim:
        some = " ".join(map(written, values.ravel()[:SHOWN]))
        return f"[{some} ...]" if values.size > SHOWN else f"[{some}]"
    if values.dtype.kind not in "biuf":
        return str(value)
    return f"{values:.4f}" if abs(values) >= 0.01 else f"{values:.3g}"
