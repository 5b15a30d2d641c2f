"""Private parts of models: their weights, penalties, metrics, how they are built and traced."""

import copyreg
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras.src.backend.tensorflow.trainer import TensorFlowTrainer
from keras.src.saving.keras_saveable import KerasSaveable

ATTENTION = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)
# Keras names a layer's regularizer after the weight, without "kernel" where there are several.
REGULARIZERS = {
    "depthwise_kernel": "depthwise_regularizer",
    "pointwise_kernel": "pointwise_regularizer",
    "recurrent_kernel": "recurrent_regularizer",
}


def retrace(model: Any) -> None:
    """Make a model trace its train, test and predict functions anew at the next call."""
    model.train_function = model.test_function = model.predict_function = None


def flat_layers(model: Any) -> list[Any]:
    """A model's layers and theirs, itself the first."""
    return list(model._flatten_layers())


def has_weights(model: Any) -> bool:
    """Return whether all weights of a model exist: it is built or, without a call of its own, all its layers are."""
    return model.built or len(model._layers) > 0 and all(layer.built for layer in flat_layers(model)[1:])


def owned_variables(model: Any) -> list[tuple[Any, tuple[Any, ...]]]:
    """Every weight a model can train, frozen ones included, with the layers around it; shared ones once.

    The last of the layers made the weight; the model itself is left out, but for weights of its own. A wrapper that
    lists a weight of the layer inside it (SpectralNormalization does) did not make it.
    """
    found: dict[int, tuple[Any, tuple[Any, ...]]] = {}
    seen: set[int] = set()

    def visit(layer: Any, around: tuple[Any, ...]) -> None:
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


def weight_penalties(model: Any) -> list[Any]:
    """The penalties of a model's regularized weights, those that are frozen left out."""
    return model._get_regularization_losses()


def add_metric(model: Any, metric: Any) -> None:
    """Put a metric into the logs of a model that is built already."""
    model._metrics.append(metric)


def remove_metric(model: Any, kind: type) -> None:
    """Take the metrics of a type out of a model's logs."""
    model._metrics[:] = [metric for metric in model._metrics if not isinstance(metric, kind)]


def regularizer_place(layers: Sequence[Any], name: str) -> tuple[Any, str]:
    """The layer and the attribute that a weight's regularizer is saved by, for a weight of the last of some layers.

    An attention layer saves one for all its kernels, a layer with an adapter one for its weight and the adapter.
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
    """Something that a layer holds as an attribute and that saves arrays of its own in the model's files.

    Subclasses write `save_own_variables` and `load_own_variables`; Keras without the class skips those arrays.
    """

    def _obj_type(self) -> str:
        return "Loss"  # the plainest of the types that Keras' saving knows

    def __dir__(self) -> list[str]:
        """Do nothing: Keras' saving looks here for what else to save."""
        return []

    def __reduce__(self) -> Any:
        """Copy and pickle as any object: Keras would write a model's file."""
        return copyreg.__newobj__, (type(self),), vars(self)  # type: ignore[attr-defined]


def build(model: Any, batch: Any) -> None:
    """Build a model, its metrics and its optimizer from the shapes of one batch (x, y, sample_weight), or from specs.

    Parts that have no shape, such as those that the data lack, count as absent.
    """
    shaped = tf.nest.map_structure(lambda leaf: leaf if hasattr(leaf, "shape") else None, batch)
    with model.distribute_strategy.scope():
        model._symbolic_build(data_batch=shaped)


def is_trainer(model: Any) -> bool:
    """Whether it is compiled and trained as Keras models are, be it a Model or a layer with Keras' trainer."""
    return isinstance(model, TensorFlowTrainer)


def has_own_train_step(model: Any) -> bool:
    """Whether a model overrides `train_step`, or has had one set."""
    return "train_step" in vars(model) or type(model).train_step is not TensorFlowTrainer.train_step


def has_own_test_step(model: Any) -> bool:
    """Whether a model overrides `test_step`, or has had one set."""
    return "test_step" in vars(model) or type(model).test_step is not TensorFlowTrainer.test_step


def has_own_metrics(model: Any) -> bool:
    """Whether a step's logs may be something else than the results of the model's metrics."""
    kind = type(model)
    return any(
        getattr(kind, name) is not getattr(keras.Model, name) for name in ("compute_metrics", "get_metrics_result")
    )
