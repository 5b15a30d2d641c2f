"""BatchLogs: the loss and the metrics of single batches, as they are."""

import numpy as np
import tensorflow as tf

from kopt.callbacks.base import registry
from kopt.callbacks.step_history import Place, StepHistory
from kopt.distribute import is_chief
from kopt.keras_internals import names_of_metrics
from kopt.training.arguments import is_count
from kopt.training.callback import Callback
from kopt.training.steps.update_hooks import Update
from kopt.values.checks import require
from kopt.values.types import CallbackState, KerasModel, Logs

__all__ = ["BatchLogs"]

ROWS, COLUMNS = 256, 16  # of the table in the program: batches between two looks at it; numbers of a batch


@registry.register
class BatchLogs(Callback):
    """Record the loss and the metrics of each batch, or of each `every`-th, alone: Keras' logs are running averages.

    The training program writes them into a table, which is read between its calls: of any number of steps, up to 256
    records. `history` has the columns "step", counted from 1 over the run, "loss", with penalties, and the metrics of
    one number; those of the whole batch on several replicas. The loss of a step that was skipped is there too.

    Args:
        every: Record one of `every` batches, >= 1.
        metrics: Whether to record metrics, which are computed once more for it; must be False beside micro-batches.
        file: A CSV file to write, or None.
        folder: A folder to write events for TensorBoard to, or None.

    Attributes:
        history: Name -> the values of the recorded batches.

    Raises:
        ValueError: When an argument is out of range; in fit, when the model has a train_step or metrics of its own, is
            not built, or has more than 15 metrics.

    Example:
        >>> import keras
        >>> layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
        >>> model = keras.Sequential([keras.Input((1,)), layer])
        >>> model.compile(keras.optimizers.SGD(0.0), "mse", metrics=["mae"])
        >>> batches, how = BatchLogs(), {"batch_size": 1, "shuffle": False, "verbose": 0}
        >>> _ = model.fit(np.ones((3, 1)), np.array([[1.0], [2.0], [3.0]]), callbacks=[batches], **how)
        >>> batches.history
        {'step': [1, 2, 3], 'loss': [1.0, 4.0, 9.0], 'mae': [1.0, 2.0, 3.0]}

    Source:
        The batch logs of tf.keras before 2.2, which were not averaged.
    """

    any_chunk = True
    spans_epochs = True

    def __init__(self, every: int = 1, *, metrics: bool = True, file: Place | None = None, folder: Place | None = None):
        super().__init__()
        require(is_count(every), "every", "must be a whole number >= 1", every)
        require(isinstance(metrics, bool), "metrics", "must be True or False", metrics)
        self.every, self.metrics, self.written = int(every), metrics, StepHistory(file, folder)
        self.needs = frozenset({"loss", "metrics"} if metrics else {"loss"})
        self.trace_key = self.every, metrics
        self.fresh, self.read = True, 0

    @property
    def history(self) -> dict[str, list[float]]:
        return self.written.columns

    def set_model(self, model: KerasModel) -> None:
        most = self.every * ROWS
        steps = model.steps_per_execution
        require(steps <= most, "steps_per_execution", f"must be at most {most} for BatchLogs({self.every})", steps)
        super().set_model(model)
        self.fresh, self.read = True, int(self.read_array("counts")[1])  # a user's loop may begin no epoch

    def build(self, model: KerasModel) -> None:
        """Make the table, and the numbers of batches that were seen and recorded."""
        self.add_array("rows", (ROWS, COLUMNS))
        self.add_array("counts", (2,), "int64")

    def reinstall(self) -> None:
        """Go on with the table after an optimizer was replaced."""
        before = dict(self.arrays)
        super().reinstall()
        for name, array in before.items():
            self.arrays[name].assign(array)

    def on_update(self, update: Update) -> None:
        """Write a row, at one of `every` batches."""
        numbers = [update.loss, *(update.metrics.values() if self.metrics else ())]
        require(
            len(numbers) < COLUMNS, "metrics", f"must be fewer than {COLUMNS}, or BatchLogs(metrics=False)", numbers
        )
        row = tf.stack([tf.cast(one, "float32") for one in numbers] + [tf.constant(0.0)] * (COLUMNS - len(numbers)))
        rows, (seen, count) = self.arrays["rows"], tf.unstack(tf.convert_to_tensor(self.arrays["counts"]))
        due, place = (seen + 1) % self.every == 0, count % ROWS
        here = due & (tf.range(ROWS, dtype="int64") == place)  # no lookup, whose index XLA's programs would check
        rows.assign(tf.where(here[:, tf.newaxis], row, tf.convert_to_tensor(rows)))
        self.arrays["counts"].assign(tf.stack([seen + 1, count + tf.cast(due, "int64")]))

    def steps_to_call(self) -> int:
        return self.every * ROWS

    def on_train_begin(self, logs: Logs = None) -> None:
        self.written.begin(is_chief(self.model.distribute_strategy))
        self.fresh = True

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        if self.fresh and self.epoch_index(epoch) == 0:
            self.arrays["counts"].assign([0, 0])
        if self.fresh:
            self.read = int(self.read_array("counts")[1])
        self.fresh = False

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self.take()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.take()

    def take(self) -> None:
        """Read the rows that are new."""
        seen, count = self.read_array("counts").tolist()
        if count == self.read:
            return
        lost = count - self.read - ROWS
        rule = f"must be called at least every {ROWS * self.every} batches for BatchLogs to act"
        require(lost <= 0, "on_train_batch_end", rule, f"{lost} lost records")
        places = np.arange(self.read, count)
        names = ["loss", *(names_of_metrics(self.model) if self.metrics else ())]
        steps = seen // self.every * self.every - self.every * (count - 1 - places)
        rows = self.read_array("rows")[places % ROWS]
        self.written.add({"step": steps.tolist()} | {name: rows[:, at].tolist() for at, name in enumerate(names)})
        self.read = count

    def get_state(self) -> CallbackState:
        return {"fresh": self.fresh, "read": self.read, "history": self.written.state()}

    def set_state(self, state: CallbackState) -> None:
        self.fresh, self.read = state["fresh"], state["read"]
        self.written.put_back(state["history"])

    def close(self) -> None:
        self.written.close()
        super().close()
