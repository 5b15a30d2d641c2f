"""Augmentation: random changes of examples in training, inside the training program."""

from kopt.augment.base import Augmentation, Then, registry
from kopt.augment.images import Crop, MixUp, RandAugment, Rotate, Shift
from kopt.augment.noise import Jitter, TokenDropout

__all__ = [
    "Augmentation",
    "Crop",
    "Jitter",
    "MixUp",
    "RandAugment",
    "Rotate",
    "Shift",
    "Then",
    "TokenDropout",
    "registry",
]
