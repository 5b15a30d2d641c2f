"""Rules: how gradients become updates."""

from kopt.rules.adam import Adam, AdamW
from kopt.rules.base import Elementwise, Rule, registry
from kopt.rules.descent import GradientDescent, Momentum, Nesterov

__all__ = ["Adam", "AdamW", "Elementwise", "GradientDescent", "Momentum", "Nesterov", "Rule", "registry"]
