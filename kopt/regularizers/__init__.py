"""Regularizers: weight penalties added to the loss."""

from kopt.regularizers.attach import attach, detach
from kopt.regularizers.base import Regularizer, get, registry
from kopt.regularizers.live import strength
from kopt.regularizers.structure import GroupLasso, Orthogonal
from kopt.regularizers.toward_start import TowardStart
from kopt.regularizers.weights import L1, L1L2, L2

__all__ = [
    "L1",
    "L1L2",
    "L2",
    "GroupLasso",
    "Orthogonal",
    "Regularizer",
    "TowardStart",
    "attach",
    "detach",
    "get",
    "registry",
    "strength",
]
