"""Language models over bytes."""

from abc import abstractmethod
from dataclasses import KW_ONLY
from typing import ClassVar

import keras
import numpy as np
from keras import layers

from kopt.models.base import Model, registry
from kopt.models.layers import Positions, transformer_block
from kopt.tasks.task import Task
from kopt.values.checks import require
from kopt.values.fields import Number
from kopt.values.types import FieldValue, Tensor

__all__ = ["CharGRU", "CharTransformer", "Language"]


class Language(Model):
    """A model that predicts the next byte at every position of a window, from that byte and those before it.

    Args:
        length: Bytes of a window, >= 1; None in a recipe, whose data give it.
        width: Width of a byte's vector, >= 1.
        layers: Number of layers, >= 1.
        dropout: Share dropped in training, in [0, 1).

    Example:
        >>> CharGRU(16, width=8).build().output_shape
        (None, 16, 256)
    """

    length: int | None = None
    _: KW_ONLY
    width: int = 128
    layers: int = 2
    dropout: Number = 0.1
    outputs = 256
    from_data: ClassVar[tuple[str, ...]] = ("length",)

    @property
    def inputs(self) -> tuple[int, ...] | None:
        return None if self.length is None else (self.length,)

    @property
    def task(self) -> Task:
        return "language"

    def check(self) -> None:
        for name in ("length", "width", "layers"):
            require(getattr(self, name) is None or getattr(self, name) >= 1, name, "must be >= 1", getattr(self, name))
        require(0 <= self.dropout < 1, "dropout", "must be in [0, 1)", self.dropout)

    def sizes_in(self, x: np.ndarray, outputs: int) -> dict[str, FieldValue]:
        return {"length": x.shape[1]}

    def build(self) -> keras.Model:
        self.require_sizes("length")
        inputs = keras.Input((self.length,), dtype="int32")
        x = layers.Embedding(256, self.width)(inputs)
        # In float32 under any policy: bfloat16 is too coarse for a loss over 256 classes.
        logits = layers.Dense(256, dtype="float32")(self.features(x))
        return keras.Model(inputs, logits, name=type(self).__name__.lower())

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Turn (n, length, width) byte vectors into the inputs of the last layer, one a position."""


@registry.register
class CharGRU(Language):
    """Gated recurrent layers, as wide as a byte's vector.

    Args:
        length: Bytes of a window, >= 1; None in a recipe, whose data give it.
        width: Width of a byte's vector and of each layer, >= 1.
        layers: Number of layers, >= 1.
        dropout: Share dropped in training after each layer, in [0, 1).

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> CharGRU(16, width=8, layers=1).build().count_params()
        4784

    Source:
        Cho et al., Learning Phrase Representations, 2014; Karpathy, char-rnn, 2015.
    """

    suits = {("numbers", "language"): {}}

    def features(self, x: Tensor) -> Tensor:
        for _ in range(self.layers):
            x = layers.Dropout(self.dropout)(layers.GRU(self.width, return_sequences=True)(x))
        return x


@registry.register
class CharTransformer(Language):
    """Causal transformer blocks.

    Args:
        length: Bytes of a window, >= 1; None in a recipe, whose data give it.
        width: Width of a byte's vector, >= 1, a multiple of `heads`.
        layers: Number of blocks, >= 1.
        dropout: Share of each branch's output dropped in training, in [0, 1).
        heads: Number of attention heads, >= 1.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> CharTransformer(16, width=8, layers=1, heads=2).build().count_params()
        5368

    Source:
        Radford et al., Language Models are Unsupervised Multitask Learners, 2019; Karpathy, nanoGPT.
    """

    _: KW_ONLY
    heads: int = 4

    def check(self) -> None:
        super().check()
        require(
            self.heads >= 1 and self.width % self.heads == 0, "heads", f"must divide width = {self.width}", self.heads
        )

    def features(self, x: Tensor) -> Tensor:
        assert self.length is not None
        x = Positions(self.length)(x)
        for _ in range(self.layers):
            x = transformer_block(x, heads=self.heads, dropout=self.dropout, causal=True)
        return layers.LayerNormalization(epsilon=1e-5)(x)
