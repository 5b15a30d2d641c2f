"""The live strength of a model's penalties."""

import math
import re
from collections.abc import Mapping, MutableMapping

import keras
import numpy as np
from keras import ops

from kopt import select
from kopt.keras_internals import SavedState, rated_optimizers, retrace
from kopt.regularizers.places import PenaltyPlace, places
from kopt.regularizers.weights import from_terms, terms
from kopt.state.knob import Knob, held_knob
from kopt.values.checks import require
from kopt.values.types import ArrayLike, Config, KerasModel, Tensor

__all__ = ["Factored", "FactoredL1L2", "strength"]


@keras.saving.register_keras_serializable(package="kopt")
class Factored(keras.regularizers.Regularizer):
    """A penalty times a live factor; a file holds the value of the factor at the time of saving.

    Args:
        of: The penalty.
        factor: The factor.
        name: The name of the factor in its optimizer.

    Example:
        >>> from kopt.regularizers import L2
        >>> float(Factored(L2(0.5), Knob(0.1), "kopt_penalty")([1.0, 3.0]))
        0.5
    """

    def __init__(self, of: keras.regularizers.Regularizer, factor: Knob, name: str):
        self.of, self.factor, self.name = of, factor, name

    def __call__(self, weights: Tensor) -> Tensor:
        penalty = self.of(weights)
        return penalty * ops.cast(self.factor.value, penalty.dtype)

    def __repr__(self) -> str:
        return f"{self.of!r} * {float(self.factor):g}" if self.name else repr(self.of)

    def get_config(self) -> Config:
        """Return the penalty, the value of the factor and its name."""
        of = keras.regularizers.serialize(self.of)
        return {"of": of, "factor": float(self.factor), "name": self.name}

    @classmethod
    def from_config(cls, config: Config) -> "Factored":
        """Build it from its config, with a new factor; `strength` puts one factor in place of all of them."""
        return cls(keras.regularizers.deserialize(config["of"]), Knob(config["factor"]), config["name"])


class FactoredL1L2(SavedState, Factored):
    """L1, L2 or both, times live factors; the config of a layer holds the product as Keras' L1L2.

    The penalty without the factors, and each factor, are saved as arrays beside the weights of the layer; Keras without
    kopt does not read them.

    Args:
        of: The penalty.
        factor: The factor.
        name: The name of the factor in its optimizer; empty when only a config was read, which holds no factors.

    Example:
        >>> from kopt.regularizers import L2
        >>> FactoredL1L2(L2(0.5), Knob(0.5), "kopt_penalty").get_config()
        {'l1': 0.0, 'l2': 0.25}
    """

    def get_config(self) -> Config:
        """Return the arguments of `keras.regularizers.L1L2` for the present penalty."""
        base, factors = parts(self)
        l1, l2 = (term * math.prod(map(float, factors.values())) for term in base)
        return {"l1": l1, "l2": l2}

    @classmethod
    def from_config(cls, config: Config) -> "FactoredL1L2":
        """Build the penalty of a config; arrays in the file, if any, then split it into a penalty and factors."""
        return cls(from_terms(config["l1"], config["l2"]), Knob(1.0), "")

    def save_own_variables(self, store: MutableMapping[str, ArrayLike]) -> None:
        """Write the penalty without its factors, and each factor by its name."""
        base, factors = parts(self)
        store["terms"] = np.asarray(base)
        for name, factor in factors.items():
            store[name] = np.asarray(float(factor))

    def load_own_variables(self, store: Mapping[str, ArrayLike]) -> None:
        """Read the factors of this penalty by name; or, when only a config was read, the penalty and all factors."""
        written = {name: np.asarray(store[name]) for name in store.keys()}
        there = parts(self)[1]
        if not self.name and "terms" in written:
            inner: keras.regularizers.Regularizer = from_terms(*written.pop("terms").tolist())
            for name, value in written.items():
                inner = FactoredL1L2(inner, Knob(float(value)), name)
            self.of = inner.of if written else inner
            if written:
                self.factor, self.name = inner.factor, inner.name
        for name in there.keys() & written.keys():
            there[name].set(float(written[name]))


# By this name Keras without kopt finds its own class, which takes the same arguments.
FactoredL1L2.__name__ = "L1L2"
keras.saving.register_keras_serializable(package="kopt.live")(FactoredL1L2)


def parts(penalty: keras.regularizers.Regularizer) -> tuple[tuple[float, float], dict[str, Knob]]:
    """Return the terms of a penalty of L1 and L2 without its factors, and the factors by name."""
    factors: dict[str, Knob] = {}
    while isinstance(penalty, Factored):
        factors |= {penalty.name: penalty.factor} if penalty.name else {}
        penalty = penalty.of
    return terms(penalty) or (0.0, 0.0), factors


def strength(model: KerasModel, to: select.SelectorLike = select.everything) -> Knob:
    """Return the live factor of a model's weight penalties, 1 at first; set or schedule it without a retrace.

    penalty * factor, for the penalties that `attach` or the arguments of layers have put on the weights. Where several
    selections overlap, their factors multiply. Files keep penalties and factors; Keras without kopt loads L1, L2 and
    L1L2 times the factors at the time of saving. The optimizer of a compiled model holds the Knob. Call this again
    after loading a model; a clone starts from the present penalties with a factor of 1.

    Args:
        model: A built Keras model.
        to: The weights whose penalties to multiply; all by default.

    Returns:
        The Knob; every call with the same selector returns the same one.

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
    to = select.as_selector(to)
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
            place.put(times(place.regularizer, knob, name))
            retrace(model)
        elif one.factor is not knob:
            one.factor = knob
            place.put(place.regularizer)  # the weights of a loaded attention layer have copies of it
            retrace(model)
    return knob


def factored(place: PenaltyPlace, name: str) -> Factored | None:
    """Return the product with the factor of that name in the penalty of a place, or None."""
    layer = place.regularizer
    while isinstance(layer, Factored) and layer.name != name:
        layer = layer.of
    return layer if isinstance(layer, Factored) else None


def with_factors_of(
    old: keras.regularizers.Regularizer | None, new: keras.regularizers.Regularizer
) -> keras.regularizers.Regularizer:
    """Return a regularizer times the factors of the one that it replaces."""
    if not isinstance(old, Factored):
        return new
    inner = with_factors_of(old.of, new)
    return times(inner, old.factor, old.name) if old.name else inner


def times(penalty: keras.regularizers.Regularizer, factor: Knob, name: str) -> Factored:
    """Return a penalty times a factor, in a form that Keras without kopt can load when there is one."""
    plain = isinstance(penalty, FactoredL1L2) or terms(penalty) is not None
    return (FactoredL1L2 if plain else Factored)(penalty, factor, name)
