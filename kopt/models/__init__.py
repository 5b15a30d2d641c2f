"""Models: architectures as values that build themselves."""

from kopt.models.base import Model, registry
from kopt.models.convnet import ConvNet
from kopt.models.forecaster import ForecastMLP, ForecastTCN
from kopt.models.language import CharGRU, CharTransformer
from kopt.models.mlp import MLP
from kopt.models.of_keras import OfFunction, OfKeras, of_keras
from kopt.models.recommender import Autoencoder, Factorization, TwoTower
from kopt.models.text import TextBag, TextConv, TextTransformer

__all__ = [
    "Autoencoder",
    "CharGRU",
    "CharTransformer",
    "ConvNet",
    "Factorization",
    "ForecastMLP",
    "ForecastTCN",
    "MLP",
    "Model",
    "OfFunction",
    "OfKeras",
    "TextBag",
    "TextConv",
    "TextTransformer",
    "TwoTower",
    "of_keras",
    "registry",
]
