"""Regularizers on a model that is already built."""

from typing import Any

from kopt import select
from kopt.checks import require
from kopt.keras_internals import retrace
from kopt.regularizers.base import Regularizer

__all__ = ["attach", "detach"]

# Keras names a layer's regularizer after the weight, without "kernel" where there are several.
ATTRIBUTES = {
    "depthwise_kernel": "depthwise_regularizer",
    "pointwise_kernel": "pointwise_regularizer",
    "recurrent_kernel": "recurrent_regularizer",
}


def attach(model: Any, regularizer: Regularizer, to: select.Selector = select.kernels) -> list[str]:
    """Regularize the chosen weights of a built model, compiled and trained or not.

    The weight's own and the layer's regularizer are set, so that the penalty counts from the next step on and is saved
    with the model. What a weight had before is replaced. The train and test functions are traced once more.

    Args:
        model: A built Keras model.
        regularizer: The penalty.
        to: Which weights; kernels by default, so biases, norms and embeddings are left out.

    Returns:
        The paths of the weights that are regularized.

    Raises:
        ValueError: When the model is not built, nothing is chosen, or a layer could not save the penalty.

    Example:
        >>> import keras
        >>> from kopt.regularizers import L2
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="dense")], name="net")
        >>> attach(model, L2(0.1))
        ['net/dense/kernel']
        >>> detach(model)
        ['net/dense/kernel']

    Source:
        Keras takes regularizers only when layers are made; setting them later is silently ignored or lost on saving.
    """
    require(isinstance(regularizer, Regularizer), "regularizer", "must be a kopt regularizer", regularizer)
    chosen = to.choose(model)
    for variable, layer in chosen:
        require(
            hasattr(layer, attribute(variable)), "to", f"must leave out {variable.path}: its layer saves no penalty", to
        )
    for variable, layer in chosen:
        variable.regularizer = regularizer
        setattr(layer, attribute(variable), regularizer)
    retrace(model)
    return [variable.path for variable, _ in chosen]


def detach(model: Any, to: select.Selector = select.everything) -> list[str]:
    """Take regularizers away again, whoever set them.

    Args:
        model: A built Keras model.
        to: Which weights; all by default.

    Returns:
        The paths of the weights that were regularized.

    Raises:
        ValueError: When the model is not built.

    Example:
        >>> import keras
        >>> dense = keras.layers.Dense(3, kernel_regularizer="l2", name="a")
        >>> detach(keras.Sequential([keras.Input((2,)), dense], name="m"))
        ['m/a/kernel']

    Source:
        The reverse of `attach`.
    """
    found = [(variable, layer) for variable, layer in to.choose(model) if variable.regularizer is not None]
    for variable, layer in found:
        variable.regularizer = None
        setattr(layer, attribute(variable), None)
    retrace(model)
    return [variable.path for variable, _ in found]


def attribute(variable: Any) -> str:
    return ATTRIBUTES.get(variable.name, f"{variable.name}_regularizer")
