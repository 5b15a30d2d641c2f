"""Selector: a set of parameters of a model, and the operations on such sets."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias, Union

import keras

from kopt.keras_internals import has_weights, owned_variables
from kopt.values.checks import require
from kopt.values.fields import Value
from kopt.values.registry import Registry
from kopt.values.types import Argument, KerasLayer, KerasModel, Variable

__all__ = ["Parameter", "Selector", "SelectorLike", "as_selector", "as_selectors", "parameters", "registry"]

registry: Registry["Selector"] = Registry("selectors")
SelectorLike: TypeAlias = Union["Selector", str]  # a selector, or the pattern of `select.path`


class Parameter(NamedTuple):
    """A variable that a model can train, and its place in the model.

    `path` joins the names of the layers around the variable and its own name, "block_1/dense/kernel", without the name
    of the model. `layers` are those layers, from the outermost to the one that made the variable; they are empty when
    only the variable is known, as in an optimizer. `depth` is the number of its layer among the `depths` layers that
    hold parameters, from the input on.
    """

    variable: Variable
    path: str
    layers: tuple[KerasLayer, ...] = ()
    depth: int = 0
    depths: int = 0


def parameters(model: KerasModel) -> list[Parameter]:
    """List the parameters of a built model from input to output: frozen ones too, shared ones once.

    A layer and all layers in it have one depth (so have the kernels of an attention layer); the layers of a model in
    the model have a depth each. The order is that of the graph, or, in a subclassed model, that of its attributes.

    Args:
        model: A built Keras model.

    Returns:
        The parameters.

    Raises:
        ValueError: When the model is not a Keras model, or is not built.

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


def path_in(model: KerasModel, layers: Sequence[KerasLayer], variable: Variable) -> str:
    return "/".join([*(layer.name for layer in layers if layer is not model), variable.name])


class Selector(Value):
    """A set of parameters of any model, given by their properties; combine sets by `&`, `|` and `~`.

    Wherever a selector is taken, a text with a "/" or a "*" is the pattern of `select.path`.

    Example:
        >>> from kopt import select
        >>> layers = [keras.Input((2,)), keras.layers.Dense(3, name="body"), keras.layers.Dense(1, name="head")]
        >>> model = keras.Sequential(layers)
        >>> [parameter.path for parameter in (select.kernels & ~select.path("head/*")).choose(model)]
        ['body/kernel']
    """

    @abstractmethod
    def holds(self, parameter: Parameter) -> bool:
        """Tell whether a parameter is in the set.

        Raises:
            ValueError: When the answer depends on layers, and those of the parameter are not known.
        """

    def choose(self, model: KerasModel) -> list[Parameter]:
        """Return the chosen parameters of a built model, shared ones once.

        Raises:
            ValueError: When the model is not built, or nothing is chosen.
        """
        chosen = [parameter for parameter in parameters(model) if self.holds(parameter)]
        require(bool(chosen), "selector", f"must choose something in model {model.name!r}", self)
        return chosen

    def choose_from(self, variables: Sequence[Variable]) -> list[Variable]:
        """Return the chosen variables among those of an optimizer, which knows no layers.

        Raises:
            ValueError: When nothing is chosen, or the choice depends on layers; then `bind` it to the model first.
        """
        chosen = [variable for variable in variables if self.holds(Parameter(variable, variable.path))]
        require(bool(chosen), "selector", "must choose something among the optimizer's variables", self)
        return chosen

    def bind(self, model: KerasModel) -> "Selector":
        """Return the same choice by the names of the variables, which an optimizer knows without the model.

        Raises:
            ValueError: When the model is not built, nothing is chosen, or a chosen variable has the name of one that
                is not chosen.
        """
        names = tuple(dict.fromkeys(parameter.variable.path for parameter in self.choose(model)))
        for parameter in parameters(model):
            alone = parameter.variable.path not in names or self.holds(parameter)
            require(alone, "selector", f"must choose all variables named {parameter.variable.path!r} or none", self)
        return Named(names)

    def __and__(self, other: SelectorLike) -> "Selector":
        return Both(self, as_selector(other, "selector"))

    def __or__(self, other: SelectorLike) -> "Selector":
        return Either(self, as_selector(other, "selector"))

    def __invert__(self) -> "Selector":
        return Without(self)


def as_selector(given: Argument, name: str = "to") -> Selector:
    """Return a selector; a text is the pattern of `select.path`.

    Args:
        given: A selector, or a pattern such as "base/*", with a "/" or a wildcard in it.
        name: The name of the argument in errors.

    Returns:
        The selector.

    Raises:
        ValueError: When it is neither.

    Example:
        >>> as_selector("base/*")
        path('base/*')

    Source:
        The patterns of `fnmatch`.
    """
    pattern = isinstance(given, str) and any(mark in given for mark in "/*?[")
    rule = "must be a selector, such as kopt.select.kernels, or a pattern of paths, such as 'base/*'"
    require(isinstance(given, Selector) or pattern, name, rule, given)
    return registry.make("path", given) if isinstance(given, str) else given


def as_selectors(given: Mapping[Argument, Argument], name: str) -> dict[Selector, Argument]:
    """Return a mapping with selectors as keys; texts among them are patterns of paths.

    Args:
        given: Selector or pattern -> anything.
        name: The name of the argument in errors.

    Returns:
        Selector -> the same, in the same order.

    Raises:
        ValueError: When a key is neither, or two keys are the same selector.

    Example:
        >>> as_selectors({"base/*": 0.1}, "rates")
        {path('base/*'): 0.1}

    Source:
        As `as_selector`.
    """
    require(isinstance(given, Mapping), name, "must be a mapping from selectors", given)
    found = {as_selector(one, f"a key of {name}"): value for one, value in given.items()}
    require(len(found) == len(given), name, "must have different selectors as keys", list(given))
    return found


@registry.register
class Both(Selector):
    """The parameters that two selectors both choose."""

    left: Selector
    right: Selector

    def holds(self, parameter: Parameter) -> bool:
        return self.left.holds(parameter) and self.right.holds(parameter)

    def __repr__(self) -> str:
        return f"({self.left!r} & {self.right!r})"


@registry.register
class Either(Selector):
    """The parameters that at least one of two selectors chooses."""

    left: Selector
    right: Selector

    def holds(self, parameter: Parameter) -> bool:
        return self.left.holds(parameter) or self.right.holds(parameter)

    def __repr__(self) -> str:
        return f"({self.left!r} | {self.right!r})"


@registry.register
class Without(Selector):
    """The parameters that a selector does not choose."""

    of: Selector

    def holds(self, parameter: Parameter) -> bool:
        return not self.of.holds(parameter)

    def __repr__(self) -> str:
        return f"~{self.of!r}"


@registry.register
class Named(Selector):
    """The variables whose `path` in Keras is among some names; `bind` returns it."""

    names: tuple[str, ...]

    def holds(self, parameter: Parameter) -> bool:
        return parameter.variable.path in self.names
