"""SamplePredictions: what a model says of some examples, every few epochs."""

from collections.abc import Sequence
from typing import get_args

import keras
import numpy as np
import tensorflow as tf

from kopt.callbacks.base import registry
from kopt.callbacks.sample_tables import Table, in_columns, in_markdown_table, sample_table, written_on
from kopt.callbacks.step_history import Place
from kopt.keras_internals import forward
from kopt.tasks.task import Task
from kopt.training.arguments import is_count
from kopt.training.callback import Callback
from kopt.training.checkpoint.every import Every
from kopt.values.checks import require
from kopt.values.places import as_path
from kopt.values.types import CallbackState, KerasModel, Logs, Nest

__all__ = ["SamplePredictions"]

MOST = 100  # rows


@registry.register
class SamplePredictions(Callback):
    """Print what the model says of some rows, every few epochs, as a table by task.

    Classes have the truth, the predicted class and its probability; numbers and forecasts the truth, the prediction and
    the error; rankings the best items and how many are relevant; a language model goes on writing from each row. It
    looks at the weights as they are: put it after `Average`. A model in inference draws nothing, so that training
    stays as it is.

    Args:
        x: Inputs of 1 to 100 rows, as for the model; of a language model windows of tokens.
        y: Targets, as for fit; None without truth, as for a language model.
        task: "classification", "regression", "forecast", "ranking" or "language".
        every: How often, "1 epoch" or "5 epochs".
        labels: Names of classes or items, or the text of each token; tokens without are bytes of UTF-8.
        logits: Whether outputs of a classification are logits, as kopt's models', and not probabilities.
        length: The number of tokens that a language model writes, >= 1.
        folder: A folder to write the tables to for TensorBoard, as texts; None for none.

    Attributes:
        table: The last table: column -> texts.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
        >>> model.compile(keras.optimizers.SGD(0.0), "mse")
        >>> data = np.eye(2), np.array([[1.0], [3.0]])
        >>> _ = model.fit(*data, callbacks=[SamplePredictions(*data, task="regression")], verbose=0)
        epoch 1
        truth  prediction  error
        1      1           0
        3      1           -2

    Source:
        Karpathy, A Recipe for Training Neural Networks, 2019: "visualize prediction dynamics".
    """

    chief_only = True
    events: tf.summary.SummaryWriter | None = None

    def __init__(
        self,
        x: Nest,
        y: np.ndarray | None = None,
        *,
        task: Task,
        every: str = "1 epoch",
        labels: Sequence[str] = (),
        logits: bool = True,
        length: int = 80,
        folder: Place | None = None,
    ):
        super().__init__()
        require(task in get_args(Task), "task", f"must be one of {get_args(Task)}", task)
        found = Every.of(every)
        require(found.unit == "epochs", "every", "must be a number of epochs, such as '5 epochs'", every)
        require(is_count(length), "length", "must be a whole number >= 1", length)
        rows = {len(part) for part in keras.tree.flatten(x)}
        require(len(rows) == 1 and 1 <= min(rows) <= MOST, "x", f"must have 1 to {MOST} rows", sorted(rows))
        require(y is None or {len(y)} == rows, "y", "must have a target for each row of x", y)
        self.x = keras.tree.map_structure(np.asarray, x)
        self.y = None if y is None else np.asarray(y)
        self.task, self.every, self.labels, self.logits = task, int(found.count), tuple(labels), logits
        self.length = length
        self.folder = None if folder is None else as_path(folder, "folder")
        self.table: Table = {}

    def set_model(self, model: KerasModel) -> None:
        super().set_model(model)
        call = tf.function(lambda x: forward(model, x, training=False), autograph=False)
        self.outputs_of = lambda x: keras.ops.convert_to_numpy(call(keras.tree.map_structure(tf.constant, x)))

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        number = self.epoch_index(epoch) + 1
        if number % self.every:
            return
        if self.task == "language":
            self.table = written_on(self.outputs_of, self.x, self.length, self.labels)
        else:
            self.table = sample_table(self.task, self.outputs_of(self.x), self.y, self.labels, self.logits)
        print(f"epoch {number}\n{in_columns(self.table)}", flush=True)
        if self.folder is not None:
            self.events = self.events or tf.summary.create_file_writer(str(self.folder))
            with self.events.as_default():
                tf.summary.text("samples", in_markdown_table(self.table), step=number - 1)
            self.events.flush()

    def get_state(self) -> CallbackState:
        return {"table": self.table}

    def set_state(self, state: CallbackState) -> None:
        self.table = {name: list(cells) for name, cells in state["table"].items()}

    def close(self) -> None:
        if self.events is not None:
            self.events.close()
            self.events = None
        super().close()
