"""Keras optimizers: one that runs any rule, and weight decay around any other."""

from kopt.optimizers.decayed import Decayed
from kopt.optimizers.optimizer import Optimizer

__all__ = ["Decayed", "Optimizer"]
