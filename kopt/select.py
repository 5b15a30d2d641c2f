"""Which parameters: kernels, biases, norms, embeddings, a path pattern, and set operations on them.

One selector serves regularizers, weight decay, layer-wise rates and freezing.
"""

import fnmatch
from abc import abstractmethod
from typing import Any, Literal

import keras

from kopt.checks import require
from kopt.fields import Value
from kopt.keras_internals import owned_variables
from kopt.registry import Registry

__all__ = ["Selector", "biases", "embeddings", "everything", "kernels", "norms", "path", "registry"]

registry: Registry["Selector"] = Registry("selectors")

NORMS = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.RMSNormalization,
)


class Selector(Value):
    """A set of a model's parameters, told by what they are; combine with `&`, `|` and `~`.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="head")], name="net")
        >>> [variable.path for variable, layer in (kernels & ~path("net/body/*")).choose(model)]
        ['net/head/kernel']
    """

    @abstractmethod
    def holds(self, variable: Any, layer: Any) -> bool:
        """Whether the layer's own variable is in the set."""

    def choose(self, model: Any) -> list[tuple[Any, Any]]:
        """The chosen parameters of a built model, each with the layer that owns it, shared ones once.

        Raises:
            ValueError: When the model is not built, or nothing is chosen.
        """
        require(model.built, "model", "must be built", model.name)
        chosen = [(variable, layer) for variable, layer in owned_variables(model) if self.holds(variable, layer)]
        require(bool(chosen), "selector", f"must choose something in model {model.name!r}", self)
        return chosen

    def __and__(self, other: "Selector") -> "Selector":
        return Both(self, other)

    def __or__(self, other: "Selector") -> "Selector":
        return Either(self, other)

    def __invert__(self) -> "Selector":
        return Without(self)


@registry.register
class Role(Selector):
    """Parameters by what they do in their layer."""

    role: Literal["kernels", "biases", "norms", "embeddings", "everything"]

    def holds(self, variable: Any, layer: Any) -> bool:
        return self.role in ("everything", role_of(variable, layer))

    def __repr__(self) -> str:
        return self.role


@registry.register
class Path(Selector):
    """Parameters whose whole path matches a glob pattern."""

    pattern: str

    def holds(self, variable: Any, layer: Any) -> bool:
        return fnmatch.fnmatchcase(variable.path, self.pattern)

    def __repr__(self) -> str:
        return f"path({self.pattern!r})"


@registry.register
class Both(Selector):
    """What two selectors both choose."""

    left: Selector
    right: Selector

    def holds(self, variable: Any, layer: Any) -> bool:
        return self.left.holds(variable, layer) and self.right.holds(variable, layer)

    def __repr__(self) -> str:
        return f"({self.left!r} & {self.right!r})"


@registry.register
class Either(Selector):
    """What at least one of two selectors chooses."""

    left: Selector
    right: Selector

    def holds(self, variable: Any, layer: Any) -> bool:
        return self.left.holds(variable, layer) or self.right.holds(variable, layer)

    def __repr__(self) -> str:
        return f"({self.left!r} | {self.right!r})"


@registry.register
class Without(Selector):
    """What a selector does not choose."""

    of: Selector

    def holds(self, variable: Any, layer: Any) -> bool:
        return not self.of.holds(variable, layer)

    def __repr__(self) -> str:
        return f"~{self.of!r}"


def role_of(variable: Any, layer: Any) -> str | None:
    """The role of a layer's own variable; recurrent, depthwise and pointwise kernels are kernels."""
    if isinstance(layer, NORMS):
        return "norms"
    for ending, role in {"kernel": "kernels", "bias": "biases", "embeddings": "embeddings"}.items():
        if variable.name.endswith(ending):
            return role
    return None


kernels = Role("kernels")
biases = Role("biases")
norms = Role("norms")
embeddings = Role("embeddings")
everything = Role("everything")


def path(pattern: str) -> Selector:
    """The parameters whose whole path matches a glob pattern.

    Args:
        pattern: As in `fnmatch`: "*" any text, "?" one character, "[ab]" one of these; over the path from the model's
            name on, "net/block_?/dense*/kernel".

    Returns:
        A selector.

    Example:
        >>> path("net/block_?/*") & ~biases
        (path('net/block_?/*') & ~biases)
    """
    return Path(pattern)
