"""Selector: which parameters of a model, and set operations on such choices."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras

from kopt.keras_internals import has_weights, owned_variables
from kopt.values.checks import require
from kopt.values.fields import Value
from kopt.values.registry import Registry

__all__ = ["Parameter", "Selector", "parameters", "registry"]

registry: Registry["Selector"] = Registry("selectors")


class Parameter(NamedTuple):
    """A variable that a model can train, and where in the model it is.

    `path` is the names of the layers around it and its own, "block_1/dense/kernel", whatever the model is called;
    `layers` are those layers, from the model's own down to the one that made it, empty where only the variable is
    known, as in an optimizer; `depth` counts the layers that hold parameters, from the input on, of `depths`.
    """

    variable: Any
    path: str
    layers: tuple[Any, ...] = ()
    depth: int = 0
    depths: int = 0


def parameters(model: Any) -> list[Parameter]:
    """List the parameters of a built model, frozen ones included, shared ones once, from input to output.

    A layer is one depth with all that is in it (the kernels of an attention layer are at one depth); a model inside the
    model is entered. The order is that of the graph, or, in a subclassed model, that in which its layers were set.

    Args:
        model: A built Keras model.

    Returns:
        The parameters.

    Raises:
        ValueError: When the model is none, or is not built.

    Example:
        >>> layers = [keras.Input((2,)), keras.layers.Dense(3, name="a"), keras.layers.Dense(1, name="b")]
        >>> model = keras.Sequential(layers)
        >>> [(parameter.path, parameter.depth) for parameter in parameters(model)]
        [('a/kernel', 0), ('a/bias', 0), ('b/kernel', 1), ('b/bias', 1)]
    """
    require(isinstance(model, keras.Model), "model", "must be a Keras model", model)
    require(has_weights(model), "model", "must be built", model.name)
    owned = owned_variables(model)
    tops = [next((layer for layer in layers if not isinstance(layer, keras.Model)), model) for _, layers in owned]
    depths = {top: depth for depth, top in enumerate(dict.fromkeys(map(id, tops)))}
    return [
        Parameter(variable, path_in(model, layers, variable), layers, depths[id(top)], len(depths))
        for (variable, layers), top in zip(owned, tops)
    ]


def path_in(model: Any, layers: Sequence[Any], variable: Any) -> str:
    return "/".join([*(layer.name for layer in layers if layer is not model), variable.name])


class Selector(Value):
    """A set of a model's parameters, told by what they are; combine with `&`, `|` and `~`.

    Example:
        >>> from kopt import select
        >>> layers = [keras.Input((2,)), keras.layers.Dense(3, name="body"), keras.layers.Dense(1, name="head")]
        >>> model = keras.Sequential(layers)
        >>> [parameter.path for parameter in (select.kernels & ~select.path("head/*")).choose(model)]
        ['body/kernel']
    """

    @abstractmethod
    def holds(self, parameter: Parameter) -> bool:
        """Whether the parameter is in the set.

        Raises:
            ValueError: When that depends on layers, and the parameter's are not known.
        """

    def choose(self, model: Any) -> list[Parameter]:
        """The chosen parameters of a built model, shared ones once.

        Raises:
            ValueError: When the model is not built, or nothing is chosen.
        """
        chosen = [parameter for parameter in parameters(model) if self.holds(parameter)]
        require(bool(chosen), "selector", f"must choose something in model {model.name!r}", self)
        return chosen

    def choose_from(self, variables: Sequence[Any]) -> list[Any]:
        """The chosen ones of some variables, of which nothing else is known: for optimizers.

        Raises:
            ValueError: When nothing is chosen, or the choice depends on layers: `bind` it to the model first.
        """
        chosen = [variable for variable in variables if self.holds(Parameter(variable, variable.path))]
        require(bool(chosen), "selector", "must choose something among the optimizer's variables", self)
        return chosen

    def bind(self, model: Any) -> "Selector":
        """The same choice by the variables' own names, which optimizers can tell without the model.

        Raises:
            ValueError: When the model is not built, nothing is chosen, or a name stands for a variable that is not
                chosen as well.
        """
        names = tuple(dict.fromkeys(parameter.variable.path for parameter in self.choose(model)))
        for parameter in parameters(model):
            alone = parameter.variable.path not in names or self.holds(parameter)
            require(alone, "selector", f"must choose all variables named {parameter.variable.path!r} or none", self)
        return Named(names)

    def __and__(self, other: "Selector") -> "Selector":
        return Both(self, other)

    def __or__(self, other: "Selector") -> "Selector":
        return Either(self, other)

    def __invert__(self) -> "Selector":
        return Without(self)


@registry.register
class Both(Selector):
    """What two selectors both choose."""

    left: Selector
    right: Selector

    def holds(self, parameter: Parameter) -> bool:
        return self.left.holds(parameter) and self.right.holds(parameter)

    def __repr__(self) -> str:
        return f"({self.left!r} & {self.right!r})"


@registry.register
class Either(Selector):
    """What at least one of two selectors chooses."""

    left: Selector
    right: Selector

    def holds(self, parameter: Parameter) -> bool:
        return self.left.holds(parameter) or self.right.holds(parameter)

    def __repr__(self) -> str:
        return f"({self.left!r} | {self.right!r})"


@registry.register
class Without(Selector):
    """What a selector does not choose."""

    of: Selector

    def holds(self, parameter: Parameter) -> bool:
        return not self.of.holds(parameter)

    def __repr__(self) -> str:
        return f"~{self.of!r}"


@registry.register
class Named(Selector):
    """The variables of these names, Keras' `variable.path`: what `bind` gives."""

    names: tuple[str, ...]

    def holds(self, parameter: Parameter) -> bool:
        return parameter.variable.path in self.names
