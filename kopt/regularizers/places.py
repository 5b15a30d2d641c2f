"""PenaltyPlace: an attribute in which a layer saves the regularizer of one or several weights."""

from collections.abc import Sequence
from typing import NamedTuple

from keras.regularizers import Regularizer as KerasRegularizer

from kopt.keras_internals import regularizer_place
from kopt.select import Parameter, Selector, SelectorLike, as_selector, parameters
from kopt.select.kinds import adapted
from kopt.values.checks import require
from kopt.values.moved_names import moved_names
from kopt.values.types import KerasLayer, KerasModel, Variable

__all__ = ["PenaltyPlace", "places"]
__getattr__ = moved_names(__name__, {"Place": "PenaltyPlace"})


class PenaltyPlace(NamedTuple):
    """A layer, the attribute in which it saves a regularizer, and the weights that share this regularizer."""

    layer: KerasLayer
    attribute: str
    parameters: tuple[Parameter, ...]

    @property
    def regularizer(self) -> KerasRegularizer | None:
        """The regularizer of the weights as the layer holds it; the weights of an attention layer may have copies."""
        used = self.parameters[0].variable.regularizer
        return None if used is None else getattr(self.layer, self.attribute, None) or used

    @property
    def weights(self) -> dict[str, Variable]:
        """The path of each weight within the layer -> the weight."""
        return {self.inner_path(parameter): parameter.variable for parameter in self.parameters}

    def inner_path(self, parameter: Parameter) -> str:
        inner = parameter.layers[parameter.layers.index(self.layer) + 1 :]
        return "/".join([*(layer.name for layer in inner), parameter.variable.name])

    def put(self, regularizer: KerasRegularizer | None) -> None:
        """Set the regularizer on the weights, for training, and on their layers, for saving."""
        setattr(self.layer, self.attribute, regularizer)
        for parameter in self.parameters:
            parameter.variable.regularizer = regularizer
            owner, attribute = regularizer_place(parameter.layers[-1:], adapted(parameter.variable.name))
            if hasattr(owner, attribute):
                setattr(owner, attribute, regularizer)


def places(model: KerasModel, to: SelectorLike) -> list[PenaltyPlace]:
    """Group the chosen weights of a model by the place that saves their regularizer.

    Args:
        model: A built Keras model.
        to: The weights.

    Returns:
        The places.

    Raises:
        ValueError: When nothing is chosen, or only some of the weights that share a place.

    Example:
        >>> import keras
        >>> from kopt import select
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="a")])
        >>> [place.attribute for place in places(model, select.everything)]
        ['kernel_regularizer', 'bias_regularizer']
    """
    to = as_selector(to)
    wanted = {id(parameter.variable) for parameter in to.choose(model)}
    found: dict[tuple[int, str], list[Parameter]] = {}
    layers: dict[int, KerasLayer] = {}
    for parameter in parameters(model):
        layer, attribute = regularizer_place(parameter.layers, adapted(parameter.variable.name))
        layers[id(layer)] = layer
        found.setdefault((id(layer), attribute), []).append(parameter)
    chosen = [(key, group) for key, group in found.items() if any(id(one.variable) in wanted for one in group)]
    for _, group in chosen:
        require_whole(group, wanted, to)
    return [PenaltyPlace(layers[owner], attribute, tuple(group)) for (owner, attribute), group in chosen]


def require_whole(group: Sequence[Parameter], wanted: set[int], to: Selector) -> None:
    missing = [parameter.path for parameter in group if id(parameter.variable) not in wanted]
    rule = f"must choose {', '.join(missing)} too: its layer saves one penalty for {len(group)} weights"
    require(not missing, "to", rule, to)
