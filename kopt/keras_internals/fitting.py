"""Private parts of fit: its data, its metrics, its logs."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras.src.trainers.data_adapters import array_slicing, get_data_adapter
from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter, can_convert_arrays
from keras.src.utils.python_utils import pythonify_logs


def data_adapter(x: Any, y: Any, sample_weight: Any, *, shuffle: Any, **how: Any) -> Any:
    """Keras' adapter for any data that fit takes. Refuses what Keras refuses: unequal lengths, bad weights.

    Shuffling is for data that have an order to change: fit's default would warn of every dataset and generator.
    """
    ordered = isinstance(x, keras.utils.PyDataset) or can_convert_arrays((x, y, sample_weight))
    return get_data_adapter(x=x, y=y, sample_weight=sample_weight, shuffle=shuffle and ordered, **how)


def is_of_arrays(adapter: Any) -> bool:
    """Whether an adapter's data are arrays."""
    return isinstance(adapter, ArrayDataAdapter)


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
    """Keras' function over lists of batches to predict; what the model keeps as its own stays."""
    kept = model.predict_function
    try:
        model.make_predict_function(force=True)
        return model.predict_function
    finally:
        model.predict_function = kept
