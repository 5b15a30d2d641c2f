"""Private parts of fit: its data, its validation, its logs."""

from typing import Any

import keras
import tensorflow as tf
from keras.src.backend.tensorflow.trainer import TFEpochIterator
from keras.src.trainers.data_adapters import array_slicing, get_data_adapter
from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter
from keras.src.trainers.data_adapters.data_adapter_utils import unpack_x_y_sample_weight


def array_adapter(x: Any, y: Any, sample_weight: Any, batch_size: Any, shuffle: Any, class_weight: Any) -> Any | None:
    """Keras' adapter where the data are arrays, else None. Refuses what Keras refuses: unequal lengths, bad weights."""
    if any(isinstance(leaf, tf.data.Dataset) for leaf in tf.nest.flatten(x)) or not all(
        hasattr(leaf, "__array__") for leaf in tf.nest.flatten(x)
    ):
        return None
    adapter = get_data_adapter(
        x=x, y=y, sample_weight=sample_weight, batch_size=batch_size, shuffle=shuffle, class_weight=class_weight
    )
    return adapter if isinstance(adapter, ArrayDataAdapter) else None


def tensors(adapter: Any) -> Any:
    """An array adapter's (x, y, sample_weight) as dense tensors in Keras' types, or None where one is not dense."""
    sliceable = array_slicing.convert_to_sliceable(adapter._inputs, target_backend="tensorflow")
    leaves = [getattr(leaf, "array", leaf) for leaf in tf.nest.flatten(sliceable)]
    dense = [leaf for leaf in leaves if leaf is not None]
    if any(isinstance(leaf, (tf.SparseTensor, tf.RaggedTensor)) or not hasattr(leaf, "__array__") for leaf in dense):
        return None
    converted = [leaf if leaf is None else tf.convert_to_tensor(leaf) for leaf in leaves]
    # As Keras does: tf.data would stack the tensors of a list into one.
    return keras.tree.lists_to_tuples(tf.nest.pack_sequence_as(sliceable, converted))


def epoch_iterator(model: Any, **arguments: Any) -> Any:
    """Keras' iterable over an epoch's (first step, last step, iterator), for any data that fit takes."""
    return TFEpochIterator(
        distribute_strategy=model.distribute_strategy, steps_per_execution=model.steps_per_execution, **arguments
    )


def validation_split(arrays: Any, share: float) -> tuple[Any, Any]:
    """Cut the last share off arrays, as fit does: the rest, and what was cut off."""
    return array_slicing.train_validation_split(arrays, validation_split=share)


def initial_epoch(model: Any, asked: int) -> int:
    """The epoch to start at: what a restoring callback says, else what was asked."""
    return model._initial_epoch or asked


def epoch_logs(model: Any, logs: Any) -> dict[str, Any]:
    """The logs of an epoch: the metrics' results, or what a model's own train_step returned last."""
    return dict(model._get_metrics_result_or_logs(logs))


def begin_validation(model: Any, data: Any, *, batch_size: int | None, steps: int | None) -> None:
    """Make the validation data's iterator, kept from one epoch to the next; refuses what Keras refuses."""
    x, y, sample_weight = unpack_x_y_sample_weight(data)
    model._eval_epoch_iterator = epoch_iterator(
        model, x=x, y=y, sample_weight=sample_weight, batch_size=batch_size, steps_per_epoch=steps, shuffle=False
    )


def run_validation(model: Any, data: Any, callbacks: Any, **arguments: Any) -> dict[str, Any]:
    """Evaluate on the validation data by the iterator of `begin_validation`."""
    x, y, sample_weight = unpack_x_y_sample_weight(data)
    logs = model.evaluate(
        x=x,
        y=y,
        sample_weight=sample_weight,
        callbacks=callbacks,
        return_dict=True,
        _use_cached_eval_dataset=True,
        **arguments,
    )
    return {f"val_{name}": value for name, value in logs.items()}


def end_validation(model: Any) -> None:
    """Drop the validation data's iterator."""
    model._eval_epoch_iterator = None
