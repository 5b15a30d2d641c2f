"""Schedules: what the learning rate, or any other number, is at time t."""

from kopt.schedules.base import Schedule, registry
from kopt.schedules.combine import Clip, Delay, Restart, Scaled, Then, Warmup
from kopt.schedules.cycles import CosineRestarts, OneCycle, Triangular
from kopt.schedules.decay import Constant, Exponential, InverseSqrt, InverseTime
from kopt.schedules.steps import Piecewise, Step
from kopt.schedules.timed import REX, Cosine, FlatCosine, Linear, Polynomial, Tanh, WarmupStableDecay

__all__ = [
    "REX",
    "Clip",
    "Constant",
    "Cosine",
    "CosineRestarts",
    "Delay",
    "Exponential",
    "FlatCosine",
    "InverseSqrt",
    "InverseTime",
    "Linear",
    "OneCycle",
    "Piecewise",
    "Polynomial",
    "Restart",
    "Scaled",
    "Schedule",
    "Step",
    "Tanh",
    "Then",
    "Triangular",
    "Warmup",
    "WarmupStableDecay",
    "registry",
]
