"""Keras optimizers: one that runs any rule, and one that adds weight decay to any other."""

from kopt.optimizers.decayed import Decayed
from kopt.optimizers.optimizer import Optimizer

__all__ = ["Decayed", "Optimizer"]
