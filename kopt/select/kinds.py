"""Selectors by role, by path, by the type of a layer, and by depth."""

import fnmatch
import re
from typing import Literal

import keras
from keras.saving import get_registered_name

from kopt.select.base import Parameter, Selector, registry
from kopt.values.checks import require
from kopt.values.types import KerasLayer

__all__ = [
    "biases",
    "depth",
    "depths",
    "embeddings",
    "everything",
    "kernels",
    "layers",
    "norm_offsets",
    "norm_scales",
    "norms",
    "path",
    "recurrent_kernels",
]

# The names that Keras' layers give to the parameters of a role. A low-rank adapter's name contains its parameter's.
ROLES = {
    "kernels": r".*kernel",
    "recurrent_kernels": r"(.*_)?recurrent_kernel",
    "biases": r".*bias",
    "embeddings": r"(.*_)?embeddings",
    "norms": r"gamma|scale|beta",
    "norm_scales": r"gamma|scale",
    "norm_offsets": r"beta",
    "everything": r".*",
}
ADAPTER = re.compile(r"lora_(?P<of>.*)_[ab]")


@registry.register
class Role(Selector):
    """Parameters by their role in their layer, which their name tells."""

    role: Literal[
        "kernels", "recurrent_kernels", "biases", "embeddings", "norms", "norm_scales", "norm_offsets", "everything"
    ]

    def holds(self, parameter: Parameter) -> bool:
        return re.fullmatch(ROLES[self.role], adapted(parameter.variable.name)) is not None

    def __repr__(self) -> str:
        return self.role


@registry.register
class Path(Selector):
    """Parameters whose whole path matches a pattern."""

    pattern: str
    regex: bool = False

    def check(self) -> None:
        if self.regex:
            require(compiles(self.pattern), "pattern", "must be a regular expression", self.pattern)

    def holds(self, parameter: Parameter) -> bool:
        require_layers(self, parameter)
        pattern = self.pattern if self.regex else fnmatch.translate(self.pattern)
        return any(re.fullmatch(pattern, path) for path in (parameter.path, parameter.variable.path))

    def __repr__(self) -> str:
        return f"path({self.pattern!r}{', regex=True' if self.regex else ''})"


@registry.register
class LayerType(Selector):
    """Parameters of layers of some types, and of the layers in those."""

    types: tuple[str, ...]

    def check(self) -> None:
        require(len(self.types) > 0, "types", "must name a layer type", self.types)

    def holds(self, parameter: Parameter) -> bool:
        require_layers(self, parameter)
        kinds = {get_registered_name(kind) for layer in parameter.layers for kind in type(layer).__mro__}
        return not kinds.isdisjoint(self.types)

    def __repr__(self) -> str:
        return f"layers({', '.join(map(repr, self.types))})"


@registry.register
class Depths(Selector):
    """Parameters of layers from a first depth up to the one before `stop`."""

    start: int
    stop: int | None = None

    def holds(self, parameter: Parameter) -> bool:
        require_layers(self, parameter)
        return parameter.depth in range(*slice(self.start, self.stop).indices(parameter.depths))

    def __repr__(self) -> str:
        if self.stop == (self.start + 1 or None):
            return f"depth({self.start})"
        return f"depths({self.start}{'' if self.stop is None else f', {self.stop}'})"


kernels = Role("kernels")
recurrent_kernels = Role("recurrent_kernels")
biases = Role("biases")
embeddings = Role("embeddings")
norms = Role("norms")
norm_scales = Role("norm_scales")
norm_offsets = Role("norm_offsets")
everything = Role("everything")


def path(pattern: str, *, regex: bool = False) -> Selector:
    """Choose the parameters whose whole path matches a pattern.

    A path joins the names of the layers around a parameter and its own name, as `show` prints it:
    "block_1/dense/kernel". The pattern may match Keras' `variable.path` instead, which may begin with the model's name
    or leave out a model in the model.

    Args:
        pattern: A pattern of `fnmatch`: "*" is any text, "?" one character, "[ab]" one of these characters.
        regex: Whether the pattern is a regular expression instead.

    Returns:
        A selector.

    Raises:
        ValueError: When the regular expression does not compile.

    Example:
        >>> path("block_?/dense*/kernel") | path(r"head/(kernel|bias)", regex=True)
        (path('block_?/dense*/kernel') | path('head/(kernel|bias)', regex=True))
    """
    return Path(pattern, regex)


def layers(*types: type[KerasLayer] | str) -> Selector:
    """Choose the parameters of layers of some types, of their subclasses, and of the layers in those.

    Args:
        *types: Layer classes, or the names under which they are registered; Keras' own have the name of the class.

    Returns:
        A selector.

    Raises:
        ValueError: When there is no type, or one is neither a layer class nor a text.

    Example:
        >>> layers(keras.layers.LSTM, "Conv2D")
        layers('LSTM', 'Conv2D')
    """
    for kind in types:
        layer = isinstance(kind, str) or isinstance(kind, type) and issubclass(kind, keras.layers.Layer)
        require(layer, "types", "must be layer classes or their names", kind)
    return LayerType(tuple(kind if isinstance(kind, str) else get_registered_name(kind) for kind in types))


def depth(place: int) -> Selector:
    """Choose the parameters of the layer at a depth, by an index as of a list.

    Depth 0 is the layer with parameters that is nearest to the input; see `parameters`.

    Args:
        place: The depth; a negative one counts from the output.

    Returns:
        A selector.

    Raises:
        ValueError: When the depth is not a whole number.

    Example:
        >>> depth(0), depth(-1)  # the first layer, the last one
        (depth(0), depth(-1))
    """
    whole = isinstance(place, int) and not isinstance(place, bool)
    require(whole, "place", "must be a whole number", place)
    return Depths(place, place + 1 or None)


def depths(start: int, stop: int | None = None) -> Selector:
    """Choose the parameters of the layers at some depths, by a slice as of a list.

    Args:
        start: The first depth; a negative one counts from the output.
        stop: The depth after the last one; None for all depths from `start` on.

    Returns:
        A selector.

    Example:
        >>> depths(0, 3), depths(-2)  # the first three layers, the last two
        (depths(0, 3), depths(-2))
    """
    return Depths(start, stop)


def adapted(name: str) -> str:
    """Return "kernel" for "lora_kernel_a", the name of a low-rank adapter of it; any other name unchanged."""
    adapter = ADAPTER.fullmatch(name)
    return adapter["of"] if adapter else name


def require_layers(selector: Selector, parameter: Parameter) -> None:
    rule = "must be bound to the model, by .bind(model), for an optimizer, which knows no layers"
    require(bool(parameter.layers), "selector", rule, selector)


def compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True
