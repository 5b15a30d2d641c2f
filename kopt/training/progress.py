"""What is shown while a model trains."""

import sys
import time
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

__all__ = ["ProgressBar"]


class ProgressBar(keras.callbacks.Callback):
    """One line an epoch: a live bar on a terminal, plain text elsewhere.

    Shows the epoch, the step, the loss and metrics so far, the learning rate where a callback before it logs one, and
    the seconds. It is content with any number of steps between two calls.

    Args:
        live: Whether to draw a bar; None for what the terminal can do.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="zeros")])
        >>> model.compile("sgd", "mse")
        >>> _ = model.fit(np.eye(2), np.ones((2, 1)), verbose=0, callbacks=[ProgressBar(live=False)])
        epoch 1/1  loss 1.0000  ...s

    Source:
        `keras.callbacks.ProgbarLogger`.
    """

    any_stretch = spans_epochs = chief_only = True
    training = False

    def __init__(self, live: bool | None = None):
        super().__init__()
        self.console = Console(file=sys.stdout)
        self.live = self.console.is_terminal if live is None else live
        self.bar: Progress | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        self.training = True

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.started, self.title = time.perf_counter(), f"epoch {epoch + 1}/{self.params['epochs']}"
        if self.live:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(20),
                MofNCompleteColumn(),
                TextColumn("{task.fields[logs]}"),
            )
            self.bar = Progress(*columns, TimeElapsedColumn(), console=self.console, transient=True)
            self.task = self.bar.add_task(self.title, total=self.params["steps"], logs="")
            self.bar.start()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.bar:
            self.bar.update(self.task, completed=batch + 1, logs=shown(logs))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.close()
        print(f"{self.title}  {shown(logs)}  {time.perf_counter() - self.started:.1f} s", flush=True)

    def on_test_end(self, logs: Any = None) -> None:
        if not self.training:
            print(f"evaluation  {shown(logs)}", flush=True)

    def on_train_end(self, logs: Any = None) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar off the screen."""
        if self.bar:
            self.bar.stop()
            self.bar = None


def shown(logs: Any) -> str:
    losses_first = sorted((logs or {}).items(), key=lambda item: item[0] != "loss")
    numbers = {name: float(value) for name, value in losses_first if name != "seconds"}
    return "  ".join(
        f"{name} {value:.4f}" if abs(value) >= 0.01 else f"{name} {value:.3g}" for name, value in numbers.items()
    )
