"""Models: architectures as values that build themselves."""

from kopt.models.base import Model, registry
from kopt.models.convnet import ConvNet
from kopt.models.mlp import MLP

__all__ = ["ConvNet", "MLP", "Model", "registry"]
