"""Private parts of models: their weights, penalties, metrics, how they are built and traced."""

import copyreg
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras.src.backend.tensorflow.trainer import TensorFlowTrainer
from keras.src.saving.keras_saveable import KerasSaveable

from kopt.keras_internals.types import KerasMetric, PrivateLayer, PrivateModel
from kopt.values.types import Batch, KerasModel, Tensor, Variable

ATTENTION = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)
# Keras names a layer's regularizer after the weight, without "kernel" where there are several.
REGULARIZERS = {
    "depthwise_kernel": "depthwise_regularizer",
    "pointwise_kernel": "pointwise_regularizer",
    "recurrent_kernel": "recurrent_regularizer",
}


def retrace(model: KerasModel) -> None:
    """Drop a model's traced train, test and predict functions, so that the next calls trace new ones."""
    model.train_function = model.test_function = model.predict_function = None


def flat_layers(model: PrivateModel) -> list[PrivateLayer]:
    """Return a model, its layers and all layers inside them."""
    return list(model._flatten_layers())


def has_weights(model: PrivateModel) -> bool:
    """Return whether all weights of a model exist: the model or, where it has no call method, each layer is built."""
    return model.built or len(model._layers) > 0 and all(layer.built for layer in flat_layers(model)[1:])


def owned_variables(model: PrivateModel) -> list[tuple[Variable, tuple[PrivateLayer, ...]]]:
    """Return every weight that a model can train, frozen ones included, once, with the layers around it.

    The last of these layers made the weight. The model itself is among them only for weights that it made. A wrapper
    that lists a weight of the layer inside it, as SpectralNormalization does, did not make the weight.
    """
    found: dict[int, tuple[Variable, tuple[PrivateLayer, ...]]] = {}
    seen: set[int] = set()

    def visit(layer: PrivateLayer, around: tuple[PrivateLayer, ...]) -> None:
        seen.add(id(layer))
        for variable in layer._trainable_variables:
            known = found.setdefault(id(variable), (variable, around or (layer,)))[1]
            if known in ((model,), around[: len(known)]):
                found[id(variable)] = (variable, around or (layer,))
        for inner in layer._layers:
            if id(inner) not in seen:
                visit(inner, (*around, inner))

    visit(model, ())
    return list(found.values())


def weight_penalties(model: PrivateModel) -> list[Tensor]:
    """Return the penalties of a model's regularized weights, without those of frozen weights."""
    return model._get_regularization_losses()


def add_metric(model: PrivateModel, metric: KerasMetric) -> None:
    """Add a metric to a model that is already compiled."""
    model._metrics.append(metric)


def remove_metric(model: PrivateModel, kind: type) -> None:
    """Remove the metrics of a type from a model."""
    model._metrics[:] = [metric for metric in model._metrics if not isinstance(metric, kind)]


def regularizer_place(layers: Sequence[PrivateLayer], name: str) -> tuple[PrivateLayer, str]:
    """Return the layer and the attribute that hold the regularizer of a weight of the last of some nested layers.

    An attention layer has one regularizer for all its kernels; a layer with an adapter has one for its weight and the
    adapter.
    """
    layer = layers[-1]
    attention = [one for one in layers if isinstance(one, ATTENTION)]
    if attention:
        private = f"_{name}_regularizer"  # MultiHeadAttention's; GroupQueryAttention has it without the underscore
        return attention[0], private if hasattr(attention[0], private) else private[1:]
    if name == "kernel" and hasattr(layer, "depthwise_regularizer"):
        return layer, "depthwise_regularizer"
    return layer, REGULARIZERS.get(name, f"{name}_regularizer")


class SavedState(KerasSaveable):
    """An attribute of a layer that saves arrays of its own in the model's files.

    Subclasses define `save_own_variables` and `load_own_variables`. Keras without the class skips these arrays.
    """

    def _obj_type(self) -> str:
        return "Loss"  # the plainest of the types that Keras' saving knows

    def __dir__(self) -> list[str]:
        """Return nothing: Keras' saving would look at these attributes for more to save."""
        return []

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle as a plain object does: Keras would write a model's file."""
        return copyreg.__newobj__, (type(self),), vars(self)  # type: ignore[attr-defined]


def build(model: PrivateModel, batch: Batch) -> None:
    """Build a model, its metrics and its optimizer from one batch (x, y, sample_weight) or its specs.

    Parts without a shape count as absent.
    """
    shaped = tf.nest.map_structure(lambda leaf: leaf if hasattr(leaf, "shape") else None, batch)
    with model.distribute_strategy.scope():
        model._symbolic_build(data_batch=shaped)


def is_trainer(model: object) -> bool:
    """Return whether an object compiles and fits as Keras models do: a Model, or a layer with Keras' trainer."""
    return isinstance(model, TensorFlowTrainer)


def has_own_train_step(model: KerasModel) -> bool:
    """Return whether a model's class overrides `train_step`, or somebody has set another on the model."""
    return "train_step" in vars(model) or type(model).train_step is not TensorFlowTrainer.train_step


def has_own_test_step(model: KerasModel) -> bool:
    """Return whether a model's class overrides `test_step`, or somebody has set another on the model."""
    return "test_step" in vars(model) or type(model).test_step is not TensorFlowTrainer.test_step


def has_own_metrics(model: KerasModel) -> bool:
    """Return whether a model's class overrides how metrics are computed, so that logs may hold anything."""
    kind = type(model)
    return any(
        getattr(kind, name) is not getattr(keras.Model, name) for name in ("compute_metrics", "get_metrics_result")
    )
