"""Keras optimizers: one that runs any rule, one named after each rule, and one that adds weight decay to any other."""

from collections.abc import Callable

from kopt.optimizers.decayed import Decayed
from kopt.optimizers.named import named, names
from kopt.optimizers.optimizer import Optimizer

__all__ = ["Decayed", "Optimizer"]
__all__ += names()


def __getattr__(name: str) -> Callable[..., Optimizer]:
    """Return the function that makes the optimizer of a rule, of one that is registered later too."""
    return named(name)


def __dir__() -> list[str]:
    """Return what users may use."""
    return sorted({"Decayed", "Optimizer", *names()})
