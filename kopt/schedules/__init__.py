"""Schedules: what the learning rate, or any other number, is at time t."""

from kopt.schedules.base import Schedule, registry
from kopt.schedules.combine import Scaled, Then, Warmup
from kopt.schedules.cosine import Cosine
from kopt.schedules.decay import Constant, Exponential
from kopt.schedules.steps import Step

__all__ = ["Constant", "Cosine", "Exponential", "Scaled", "Schedule", "Step", "Then", "Warmup", "registry"]
