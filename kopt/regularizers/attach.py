"""Regularizers on a model that is already built."""

from typing import Any

import keras

from kopt import select
from kopt.checks import require
from kopt.keras_internals import attention_of, rated_optimizers, retrace, set_attention_regularizer
from kopt.knobs import Knob, held_knob
from kopt.regularizers.base import Regularizer

__all__ = ["attach", "detach", "strength"]

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
    chosen = chosen_weights(model, to)
    for variable, layer in chosen:
        saved = hasattr(layer, attribute(variable, layer))
        require(saved, "to", f"must leave out {variable.path}: its layer saves no penalty", to)
    require_whole_attention(model, chosen, to)
    for variable, layer in chosen:
        put(variable, layer, regularizer, attention_of(model))
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
    found = [(variable, layer) for variable, layer in chosen_weights(model, to) if variable.regularizer is not None]
    require_whole_attention(model, found, to)
    for variable, layer in found:
        put(variable, layer, None, attention_of(model))
    retrace(model)
    return [variable.path for variable, _ in found]


def chosen_weights(model: Any, to: select.Selector) -> list[tuple[Any, Any]]:
    require(isinstance(model, keras.Model), "model", "must be a Keras model", model)
    require(isinstance(to, select.Selector), "to", "must be a selector, such as kopt.select.kernels", to)
    return to.choose(model)


def strength(model: Any) -> Knob:
    """Give the live factor of all weight penalties of a model, 1 at first: set it, or schedule it, without a retrace.

    penalty * factor, for what `attach` or the layers' own arguments have put on the weights. A compiled model's
    optimizer holds it, so that weights files and `kopt.load_model` bring it back; call this once more on a model that
    was loaded.

    Args:
        model: A built Keras model.

    Returns:
        The Knob; the same one at each call.

    Raises:
        ValueError: When the model is not built.

    Example:
        >>> import keras
        >>> from kopt.regularizers import L2
        >>> dense = keras.layers.Dense(1, kernel_initializer="ones", kernel_regularizer=L2(0.5))
        >>> model = keras.Sequential([keras.Input((2,)), dense])
        >>> model.compile("sgd", "mse")
        >>> strength(model).set(0.1)
        >>> float(model.losses[0])
        0.1...

    Source:
        Folklore: penalties that are phased in or out.
    """
    weights = chosen_weights(model, select.everything)
    found = [v.regularizer.factor for v, _ in weights if isinstance(v.regularizer, Factored)]
    with model.distribute_strategy.scope():
        knob = found[0] if found else own_factor(model)
    plain = [v for v, _ in weights if v.regularizer is not None and not isinstance(v.regularizer, Factored)]
    for variable in plain:
        variable.regularizer = Factored(variable.regularizer, knob)
    if plain:
        retrace(model)
    return knob


def own_factor(model: Any) -> Knob:
    """The factor that a compiled model's optimizer holds; one that nothing saves where there is no optimizer."""
    return held_knob(rated_optimizers(model.optimizer)[0], "kopt_penalty", 1.0) if model.compiled else Knob(1.0)


class Factored(keras.regularizers.Regularizer):
    """A weight's penalty times a live factor; the layer keeps the plain one, which is what files hold."""

    def __init__(self, of: Any, factor: Knob):
        self.of, self.factor = of, factor

    def __call__(self, weights: Any) -> Any:
        penalty = self.of(weights)
        return penalty * keras.ops.cast(self.factor.value, penalty.dtype)


def put(variable: Any, layer: Any, regularizer: Regularizer | None, attention: dict[int, Any]) -> None:
    """Set a weight's regularizer where it is trained by and where it is saved from."""
    factor = variable.regularizer.factor if isinstance(variable.regularizer, Factored) else None
    variable.regularizer = regularizer if factor is None or regularizer is None else Factored(regularizer, factor)
    setattr(layer, attribute(variable, layer), regularizer)
    if id(layer) in attention and hasattr(layer, attribute(variable, layer)):
        set_attention_regularizer(attention[id(layer)], variable.name, regularizer)


def attribute(variable: Any, layer: Any) -> str:
    """The attribute under which a layer saves a weight's regularizer."""
    if variable.name == "kernel" and hasattr(layer, "depthwise_regularizer"):
        return "depthwise_regularizer"
    return ATTRIBUTES.get(variable.name, f"{variable.name}_regularizer")


def require_whole_attention(model: Any, chosen: list[tuple[Any, Any]], to: select.Selector) -> None:
    """Refuse a part of an attention layer's kernels or biases: it saves one regularizer for them all."""
    attention, wanted = attention_of(model), {id(variable) for variable, _ in chosen}
    parents = {id(attention[id(layer)]) for _, layer in chosen if id(layer) in attention}
    names = {variable.name for variable, layer in chosen if id(layer) in attention}
    for variable, layer in select.everything.choose(model):
        inside = id(layer) in attention and id(attention[id(layer)]) in parents and variable.name in names
        whole = not inside or id(variable) in wanted
        require(whole, "to", f"must choose {variable.path} too: its attention layer saves one penalty for all", to)
