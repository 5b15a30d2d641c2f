"""The state of Keras' own callbacks: which of their attributes a resumed run needs, and how they are put back."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from keras.src.utils import file_utils

from kopt.values.types import CallbackState, KerasCallback, Nest

__all__ = ["KINDS", "Kind", "kind_of", "keras_state", "set_keras_state", "has_more"]

OF_ALL = ("params", "_model")
MONITOR = ("monitor", "mode", "min_delta", "monitor_op", "verbose")


@dataclass(frozen=True)
class Kind:
    """The attributes of one of Keras' callbacks.

    Attributes:
        state: Those that training changes and that a resumed run needs.
        others: Those of arguments, and those that training makes anew or that only show something.
        known: Whether these are all that the callback may remember; a function that the user gives may remember more.
    """

    state: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    known: bool = True


SAVES = ("_batches_seen_since_last_saving", "_last_batch_seen")
KINDS: Mapping[type[keras.callbacks.Callback], Kind] = {
    keras.callbacks.BackupAndRestore: Kind(
        (*SAVES, "_current_epoch"),
        ("backup_dir", "save_freq", "double_checkpoint", "delete_checkpoint", "_weights_path", "_prev_weights_path")
        + ("_training_metadata_path", "_prev_training_metadata_path"),
    ),
    # And the rows of its file, which it empties when training begins.
    keras.callbacks.CSVLogger: Kind(("keys",), ("sep", "filename", "append", "append_header", "csv_file", "writer")),
    keras.callbacks.EarlyStopping: Kind(
        ("wait", "stopped_epoch", "best", "best_weights", "best_epoch"),
        (*MONITOR, "patience", "baseline", "restore_best_weights", "start_from_epoch"),
    ),
    keras.callbacks.History: Kind(("epoch", "history")),
    keras.callbacks.LambdaCallback: Kind(
        others=("on_epoch_begin", "on_epoch_end", "on_train_begin", "on_train_end")
        + ("on_train_batch_begin", "on_train_batch_end"),
        known=False,
    ),
    keras.callbacks.LearningRateScheduler: Kind(others=("schedule", "verbose")),  # the optimizer has the rate
    keras.callbacks.ModelCheckpoint: Kind(
        ("best", "_current_epoch", *SAVES), (*MONITOR, "filepath", "save_best_only", "save_weights_only", "save_freq")
    ),
    keras.callbacks.OrbaxCheckpoint: Kind(
        ("best", "_total_batches_seen", *SAVES),
        (*MONITOR, "directory", "save_best_only", "save_weights_only", "save_freq", "max_to_keep")
        + ("save_on_background", "checkpointer", "_async_futures", "_multihost_initialized"),
    ),
    keras.callbacks.ProgbarLogger: Kind(others=("seen", "progbar", "target", "verbose", "epochs", "_called_in_fit")),
    keras.callbacks.ReduceLROnPlateau: Kind(
        ("wait", "cooldown_counter", "best"), (*MONITOR, "factor", "min_lr", "patience", "cooldown")
    ),
    keras.callbacks.RemoteMonitor: Kind(others=("root", "path", "field", "headers", "send_as_json")),
    # Whether the model has the averages now; the optimizer has the other weights.
    keras.callbacks.SwapEMAWeights: Kind(("_ema_weights_in_model",), ("swap_on_epoch",)),
    # The numbers of its steps. Its events of steps that are trained again stand twice in its files.
    keras.callbacks.TensorBoard: Kind(
        ("_global_train_batch", "_global_test_batch", "_previous_epoch_iterations"),
        ("log_dir", "histogram_freq", "write_graph", "write_images", "write_steps_per_second", "update_freq")
        + ("embeddings_freq", "embeddings_metadata", "_start_batch", "_stop_batch", "_profiler_started")
        + ("_batch_trace_context", "_is_tracing", "_should_trace", "_train_accumulated_time", "_batch_start_time")
        + ("_epoch_start_time", "_summary_module", "_writers", "_prev_summary_state", "_log_write_dir", "_train_dir")
        + ("_val_dir", "_should_write_train_graph"),
    ),
    keras.callbacks.TerminateOnNaN: Kind(others=("raise_error",)),
}


def kind_of(callback: KerasCallback) -> Kind | None:
    """Return the kind of a Keras callback or of a subclass of one; None for other classes."""
    return next((KINDS[one] for one in type(callback).__mro__ if one in KINDS), None)


def has_more(callback: KerasCallback, kind: Kind) -> bool:
    """Return whether a callback of a kind has attributes that may be state and that the kind does not know."""
    return not kind.known or bool(vars(callback).keys() - {*OF_ALL, *kind.state, *kind.others})


def keras_state(callback: KerasCallback, kind: Kind) -> CallbackState:
    """Return the state of a callback of a kind."""
    state = {name: without_tensors(vars(callback).get(name)) for name in kind.state}
    return state | rows_of(callback) if isinstance(callback, keras.callbacks.CSVLogger) else state


def set_keras_state(callback: KerasCallback, kind: Kind, state: CallbackState) -> None:
    """Put back what `keras_state` returned, after `on_train_begin`, which resets it."""
    for name in kind.state:
        setattr(callback, name, state[name])
    if isinstance(callback, keras.callbacks.CSVLogger):
        set_rows(callback, state)


def without_tensors(value: Nest) -> Nest:
    """Return a value, as an array where it is a tensor."""
    return keras.ops.convert_to_numpy(value) if keras.ops.is_tensor(value) else value


def rows_of(logger: KerasCallback) -> CallbackState:
    """Return the bytes of a CSVLogger's file, and whether it has written to it in this run."""
    there = logger.csv_file is not None and tf.io.gfile.exists(logger.filename)
    if there and not logger.csv_file.closed:
        logger.csv_file.flush()
    content = tf.io.gfile.GFile(logger.filename, "rb").read() if there else b""
    return {"rows": np.frombuffer(content, "uint8"), "written": logger.writer is not None}


def set_rows(logger: KerasCallback, state: CallbackState) -> None:
    """Make a CSVLogger's file hold the rows that it had, each once, and append to it.

    A worker that does not call the logger has opened no file, and writes none.
    """
    if logger.csv_file is None:
        return
    logger.csv_file.close()
    with tf.io.gfile.GFile(logger.filename, "wb") as file:
        file.write(state["rows"].tobytes())
    logger.csv_file = file_utils.File(logger.filename, "a")
    if state["written"]:
        names = ["epoch", *logger.keys]
        logger.writer = csv.DictWriter(logger.csv_file, fieldnames=names, delimiter=logger.sep)
