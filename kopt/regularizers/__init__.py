"""Regularizers: what is added to the loss for the weights being what they are."""

from kopt.regularizers.attach import attach, detach, strength
from kopt.regularizers.base import Regularizer, registry
from kopt.regularizers.weights import L1, L1L2, L2

__all__ = ["L1", "L1L2", "L2", "Regularizer", "attach", "detach", "registry", "strength"]
