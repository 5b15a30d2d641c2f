"""Private parts of fit: its data, its metrics, its logs."""

import gc
import inspect
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras.src.losses.losses import LossFunctionWrapper
from keras.src.trainers import data_adapters
from keras.src.trainers.data_adapters import array_slicing, get_data_adapter
from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter, can_convert_arrays
from keras.src.trainers.data_adapters.data_adapter import DataAdapter
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter
from keras.src.trainers.data_adapters.tf_dataset_adapter import TFDatasetAdapter
from keras.src.utils.python_utils import pythonify_logs

from kopt.keras_internals.types import KerasLoss, PrivateModel
from kopt.values.types import Config, Nest, Step, Variable


def data_adapter(x: Nest, y: Nest, sample_weight: Nest, *, shuffle: bool | Literal["batch"], **how: Any) -> DataAdapter:
    """Return Keras' adapter for any data that fit takes; raise what Keras raises for unequal lengths or bad weights.

    Only data with an order are shuffled: fit's default would warn of every dataset and generator.
    """
    ordered = isinstance(x, keras.utils.PyDataset) or can_convert_arrays((x, y, sample_weight))
    return get_data_adapter(x=x, y=y, sample_weight=sample_weight, shuffle=shuffle and ordered, **how)


def are_arrays(x: Nest, y: Nest, sample_weight: Nest) -> bool:
    """Return whether fit treats these as arrays, or nests of arrays."""
    return can_convert_arrays((x, y, sample_weight))


def is_data(x: Nest) -> bool:
    """Return whether fit accepts data of this kind other than arrays."""
    loaders = data_adapters.is_tf_dataset, data_adapters.is_torch_dataloader, data_adapters.is_grain_dataset
    kinds = DataAdapter, keras.utils.PyDataset, types.GeneratorType
    return isinstance(x, kinds) or any(is_loader(x) for is_loader in loaders)


def is_of_arrays(adapter: DataAdapter) -> bool:
    """Return whether an adapter's data are arrays."""
    return isinstance(adapter, ArrayDataAdapter)


def is_of_dataset(adapter: DataAdapter) -> bool:
    """Return whether an adapter's data are a tf.data.Dataset."""
    return isinstance(adapter, TFDatasetAdapter)


def is_of_py_dataset(adapter: DataAdapter) -> bool:
    """Return whether an adapter's data are a PyDataset, whose length may change from epoch to epoch."""
    return isinstance(adapter, PyDatasetAdapter)


def is_endless(adapter: DataAdapter) -> bool:
    """Return whether an adapter's data are a dataset of infinite cardinality."""
    if not is_of_dataset(adapter):
        return False
    cardinality = adapter._dataset.cardinality
    return int(cardinality() if callable(cardinality) else cardinality) == tf.data.INFINITE_CARDINALITY


def looks_at_data_first(model: PrivateModel) -> bool:
    """Return whether fit and evaluate draw a batch in advance, to build the model under its strategy."""
    return model._distribute_strategy is not None


def sparse_targets(model: PrivateModel, y: Nest) -> Iterator[tuple[np.ndarray, int, int | None]]:
    """Yield each target of a sparse categorical loss: labels, number of classes, and the label to ignore.

    Yield nothing for a model whose output shapes are unknown without data, such as a subclassed one.
    """
    compiled = model._compile_loss
    if compiled is None or not compiled.built or not isinstance(model, (keras.Sequential, keras.src.models.Functional)):
        return
    outputs = keras.tree.pack_sequence_as(compiled._y_pred_build_structure, model.outputs)
    for path, loss, _, name in compiled._flat_losses:
        if not is_sparse_crossentropy(loss):
            continue
        labels, output = y, outputs
        for key in path:
            output = output[key]
            labels = labels[name if isinstance(labels, Mapping) and key not in labels else key]
        classes = output.shape[loss._fn_kwargs.get("axis", -1)]
        if classes is not None:
            yield np.asarray(labels), classes, loss._fn_kwargs.get("ignore_class")


def is_sparse_crossentropy(loss: KerasLoss) -> bool:
    """Return whether a loss is Keras' sparse categorical cross-entropy, as a function or a class."""
    return isinstance(loss, LossFunctionWrapper) and loss.fn is keras.losses.sparse_categorical_crossentropy


def tensors(adapter: DataAdapter) -> Nest | None:
    """Return an array adapter's (x, y, sample_weight) as dense tensors in Keras' types; None when one is not dense."""
    if not all(leaf is None or hasattr(leaf, "__array__") for leaf in tf.nest.flatten(adapter._inputs)):
        return None
    sliceable = array_slicing.convert_to_sliceable(adapter._inputs, target_backend="tensorflow")
    leaves = [leaf.array if isinstance(leaf, array_slicing.Sliceable) else leaf for leaf in tf.nest.flatten(sliceable)]
    dense = [leaf for leaf in leaves if leaf is not None]
    if any(isinstance(leaf, (tf.SparseTensor, tf.RaggedTensor)) or not hasattr(leaf, "__array__") for leaf in dense):
        return None
    converted = [leaf if leaf is None else tf.convert_to_tensor(leaf) for leaf in leaves]
    # As Keras does: tf.data would stack the tensors of a list into one.
    return keras.tree.lists_to_tuples(tf.nest.pack_sequence_as(sliceable, converted))


def validation_split(arrays: Nest, share: float) -> tuple[Nest, Nest]:
    """Split arrays as fit does: return the rows before the last share, and the last share."""
    return array_slicing.train_validation_split(arrays, validation_split=share)


def initial_epoch(model: PrivateModel, asked: int) -> int:
    """Return the epoch to start at: the one that a restoring callback has set, else the one asked for."""
    return model._initial_epoch or asked


def start_at(model: PrivateModel, epoch: int | None) -> None:
    """Make fit, in its on_train_begin, begin with an epoch; None for the one that it is asked to begin with."""
    model._initial_epoch = epoch


def called_with(callback: keras.callbacks.Callback) -> list[keras.callbacks.Callback]:
    """Return the callbacks that a fit calls, a callback among them: Keras tells no callback of the others.

    Raises:
        LookupError: When no fit calls it.
    """
    # A list that calls it now is on the stack; all objects are looked through, in 0.07 s, where none is.
    found = lists_with(callback, calling_now())[:1] or lists_with(callback, gc.get_objects())
    if not found:
        raise LookupError(f"{type(callback).__name__} is in no list of callbacks")
    return list(found[-1])


def calling_now() -> Iterator[object]:
    """Yield the objects whose methods are being called, the innermost first."""
    frame = inspect.currentframe()
    while frame is not None:
        yield frame.f_locals.get("self")
        frame = frame.f_back


def lists_with(callback: keras.callbacks.Callback, objects: Iterable[object]) -> list[list[keras.callbacks.Callback]]:
    """Return the callbacks of each list of callbacks among objects that holds a callback."""
    lists = [one.callbacks for one in objects if isinstance(one, keras.callbacks.CallbackList)]
    return [one for one in lists if any(other is callback for other in one)]


def epoch_logs(model: PrivateModel, logs: Nest) -> Config:
    """Return the logs of an epoch: the metrics' results, or what a model's own train_step returned last."""
    return dict(model._get_metrics_result_or_logs(logs))


def plain_logs(logs: Nest) -> Config:
    """Return logs as Python's numbers."""
    return pythonify_logs(logs)


def metrics_reset_in_graph(model: PrivateModel) -> bool:
    """Return whether a program can reset a model's metrics: their methods are Keras', which only assign variables."""
    flat = [inner for metric in model.metrics for inner in (metric.metrics if hasattr(metric, "metrics") else [metric])]
    own = type(model).reset_metrics is keras.Model.reset_metrics
    return own and all(type(metric).reset_state.__module__.startswith("keras.src.") for metric in flat)


def examples_counted(model: PrivateModel) -> Variable:
    """Return the variable in which the metric "loss" counts an epoch's examples; 0 where the step tracks no loss."""
    return model._loss_tracker.count


def make_predict_function(model: PrivateModel) -> Step:
    """Return Keras' function that predicts lists of batches, and leave the model's own predict_function as it is."""
    kept = model.predict_function
    try:
        model.make_predict_function(force=True)
        return model.predict_function
    finally:
        model.predict_function = kept
