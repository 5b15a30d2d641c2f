"""Private parts of fit: its data, its metrics, its logs."""

import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.trainers import data_adapters
from keras.src.trainers.data_adapters import array_slicing, get_data_adapter
from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter, can_convert_arrays
from keras.src.trainers.data_adapters.data_adapter import DataAdapter
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter
from keras.src.trainers.data_adapters.tf_dataset_adapter import TFDatasetAdapter
from keras.src.utils.python_utils import pythonify_logs


def data_adapter(x: Any, y: Any, sample_weight: Any, *, shuffle: Any, **how: Any) -> Any:
    """Keras' adapter for any data that fit takes. Refuses what Keras refuses: unequal lengths, bad weights.

    Shuffling is for data that have an order to change: fit's default would warn of every dataset and generator.
    """
    ordered = isinstance(x, keras.utils.PyDataset) or can_convert_arrays((x, y, sample_weight))
    return get_data_adapter(x=x, y=y, sample_weight=sample_weight, shuffle=shuffle and ordered, **how)


def are_arrays(x: Any, y: Any, sample_weight: Any) -> bool:
    """Return whether fit takes these for arrays, or nests of them."""
    return can_convert_arrays((x, y, sample_weight))


def is_data(x: Any) -> bool:
    """Return whether fit takes data of this kind, which is not arrays."""
    loaders = data_adapters.is_tf_dataset, data_adapters.is_torch_dataloader, data_adapters.is_grain_dataset
    kinds = DataAdapter, keras.utils.PyDataset, types.GeneratorType
    return isinstance(x, kinds) or any(is_loader(x) for is_loader in loaders)


def is_of_arrays(adapter: Any) -> bool:
    """Whether an adapter's data are arrays."""
    return isinstance(adapter, ArrayDataAdapter)


def is_of_dataset(adapter: Any) -> bool:
    """Return whether an adapter's data are a tf.data.Dataset."""
    return isinstance(adapter, TFDatasetAdapter)


def is_of_py_dataset(adapter: Any) -> bool:
    """Return whether an adapter's data are a PyDataset, whose length may change from epoch to epoch."""
    return isinstance(adapter, PyDatasetAdapter)


def is_endless(adapter: Any) -> bool:
    """Return whether an adapter's data are a dataset that says that it has no end."""
    if not is_of_dataset(adapter):
        return False
    cardinality = adapter._dataset.cardinality
    return int(cardinality() if callable(cardinality) else cardinality) == tf.data.INFINITE_CARDINALITY


def looks_at_data_first(model: Any) -> bool:
    """Return whether fit and evaluate draw a batch before the first, to build a model under a strategy."""
    return model._distribute_strategy is not None


def sparse_targets(model: Any, y: Any) -> Iterator[tuple[np.ndarray, int, int | None]]:
    """Yield each target of a sparse categorical loss: its labels, the number of classes, the label that is left out.

    Nothing of a model whose outputs have no shapes that are known without data, as a subclassed one's.
    """
    compiled = model._compile_loss
    if compiled is None or not compiled.built or not isinstance(model, (keras.Sequential, keras.src.models.Functional)):
        return
    outputs = keras.tree.pack_sequence_as(compiled._y_pred_build_structure, model.outputs)
    for path, loss, _, name in compiled._flat_losses:
        if getattr(loss, "fn", None) is not keras.losses.sparse_categorical_crossentropy:
            continue
        labels, output = y, outputs
        for key in path:
            output = output[key]
            labels = labels[name if isinstance(labels, Mapping) and key not in labels else key]
        classes = output.shape[loss._fn_kwargs.get("axis", -1)]
        if classes is not None:
            yield np.asarray(labels), classes, loss._fn_kwargs.get("ignore_class")


def tensors(adapter: Any) -> Any:
    """An array adapter's (x, y, sample_weight) as dense tensors in Keras' types, or None where one is not dense."""
    if not all(leaf is None or hasattr(leaf, "__array__") for leaf in tf.nest.flatten(adapter._inputs)):
        return None
    sliceable = array_slicing.convert_to_sliceable(adapter._inputs, target_backend="tensorflow")
    leaves = [getattr(leaf, "array", leaf) for leaf in tf.nest.flatten(sliceable)]
    dense = [leaf for leaf in leaves if leaf is not None]
    if any(isinstance(leaf, (tf.SparseTensor, tf.RaggedTensor)) or not hasattr(leaf, "__array__") for leaf in dense):
        return None
    converted = [leaf if leaf is None else tf.convert_to_tensor(leaf) for leaf in leaves]
    # As Keras does: tf.data would stack the tensors of a list into one.
    return keras.tree.lists_to_tuples(tf.nest.pack_sequence_as(sliceable, converted))


def validation_split(arrays: Any, share: float) -> tuple[Any, Any]:
    """Cut the last share off arrays, as fit does: the rest, and what was cut off."""
    return array_slicing.train_validation_split(arrays, validation_split=share)


def initial_epoch(model: Any, asked: int) -> int:
    """The epoch to start at: what a restoring callback says, else what was asked."""
    return model._initial_epoch or asked


def epoch_logs(model: Any, logs: Any) -> dict[str, Any]:
    """The logs of an epoch: the metrics' results, or what a model's own train_step returned last."""
    return dict(model._get_metrics_result_or_logs(logs))


def plain_logs(logs: Any) -> dict[str, Any]:
    """Logs as Python's numbers."""
    return pythonify_logs(logs)


def metrics_reset_in_graph(model: Any) -> bool:
    """Whether a program can reset a model's metrics: their methods are Keras' own, which do nothing else but assign."""
    flat = [inner for metric in model.metrics for inner in getattr(metric, "metrics", [metric])]
    own = type(model).reset_metrics is keras.Model.reset_metrics
    return own and all(type(metric).reset_state.__module__.startswith("keras.src.") for metric in flat)


def examples_counted(model: Any) -> Any:
    """The variable in which the metric "loss" counts an epoch's examples; 0 where the step tracks no loss."""
    return model._loss_tracker.count


def make_predict_function(model: Any) -> Callable[[Any], Any]:
    """Return Keras' function over lists of batches to predict; what the model keeps as its own stays."""
    kept = model.predict_function
    try:
        model.make_predict_function(force=True)
        return model.predict_function
    finally:
        model.predict_function = kept
