"""The live strength of a model's penalties."""

import re
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from kopt import select
from kopt.checks import require
from kopt.keras_internals import rated_optimizers, retrace
from kopt.knobs import Knob, held_knob
from kopt.regularizers.places import Place, places

__all__ = ["Factored", "strength"]


@keras.saving.register_keras_serializable(package="kopt")
class Factored(keras.regularizers.Regularizer):
    """A penalty times a live factor. In a file it has the factor's value at the time.

    Args:
        of: The penalty.
        factor: The factor.
        name: Of the factor, in its optimizer.

    Example:
        >>> from kopt.regularizers import L2
        >>> float(Factored(L2(0.5), Knob(0.1), "kopt_penalty")([1.0, 3.0]))
        0.5
    """

    def __init__(self, of: Any, factor: Knob, name: str):
        self.of, self.factor, self.name = of, factor, name

    def __call__(self, weights: Any) -> Any:
        penalty = self.of(weights)
        return penalty * ops.cast(self.factor.value, penalty.dtype)

    def __repr__(self) -> str:
        return f"{self.of!r} * {float(self.factor):g}"

    def get_config(self) -> dict[str, Any]:
        """The penalty, the factor's value and its name."""
        of = keras.regularizers.serialize(self.of)
        return {"of": of, "factor": float(self.factor), "name": self.name}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Factored":
        """Build it back from `get_config`, with a factor of its own: `strength` makes it one for all again."""
        return cls(keras.regularizers.deserialize(config["of"]), Knob(config["factor"]), config["name"])


def strength(model: Any, to: select.Selector = select.everything) -> Knob:
    """Give the live factor of a model's weight penalties, 1 at first: set it, or schedule it, without a retrace.

    penalty * factor, for what `attach` or the layers' own arguments have put on the weights. Where several selections
    overlap, their factors multiply. A `.keras` file keeps the penalties as they are at the time. A compiled model's
    optimizer holds the Knob, so that weights files bring it back too; call this once more after loading a model.

    Args:
        model: A built Keras model.
        to: Which weights' penalties; all by default.

    Returns:
        The Knob; the same one at each call with the same selector.

    Raises:
        ValueError: When the model is not built, or none of the chosen weights has a penalty.

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
    found = [place for place in places(model, to) if place.regularizer is not None]
    require(bool(found), "to", "must choose weights that have a penalty", to)
    name = "kopt_penalty" + ("" if to == select.everything else "_" + re.sub(r"\W+", "_", repr(to)).strip("_"))
    there = [factored(place, name) for place in found]
    value = next((float(one.factor) for one in there if one is not None), 1.0)
    with model.distribute_strategy.scope():
        knob = held_knob(rated_optimizers(model.optimizer)[0], name, value) if model.compiled else Knob(value)
    knob = next((one.factor for one in there if one is not None and not model.compiled), knob)
    for place, one in zip(found, there):
        if one is None:
            place.put(Factored(place.regularizer, knob, name))
            retrace(model)
        elif one.factor is not knob:
            one.factor = knob
            retrace(model)
    return knob


def factored(place: Place, name: str) -> Factored | None:
    """What multiplies a place's penalty by the factor of that name."""
    layer = place.regularizer
    while isinstance(layer, Factored) and layer.name != name:
        layer = layer.of
    return layer if isinstance(layer, Factored) else None


def with_factors_of(old: Any, new: Any) -> Any:
    """A regularizer times the factors of the one that it replaces."""
    return Factored(with_factors_of(old.of, new), old.factor, old.name) if isinstance(old, Factored) else new
