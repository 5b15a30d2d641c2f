"""Text classifiers: a bag of words, convolutions, a transformer."""

from abc import abstractmethod
from dataclasses import KW_ONLY
from typing import ClassVar, Literal

import keras
import tensorflow as tf
from keras import layers

from kopt.models.base import Model, registry
from kopt.models.layers import Positions, transformer_block
from kopt.values.checks import require
from kopt.values.fields import Number
from kopt.values.types import ArrayLike, Tensor

__all__ = ["Text", "TextBag", "TextConv", "TextTransformer"]


class Text(Model):
    """A classifier of texts: the encoder splits them into tokens and numbers these; 0 is padding.

    Args:
        outputs: Number of classes, >= 2; None in a recipe, whose data give it.
        vocabulary: Number of known tokens, the most frequent ones, >= 3.
        length: Tokens of a text that are read, >= 1; the rest is cut off.
        split: "words" in lower case without punctuation, or "characters", for Chinese.
        ngrams: The longest run of tokens that counts as a token, >= 1.
        width: Width of a token's vector, >= 1.
        dropout: Share dropped in training before the last layer, in [0, 1).

    Example:
        >>> TextBag(2, vocabulary=100, length=5).encoder(["So good, so good"])(tf.constant(["good  bad"])).numpy()
        array([[3, 1, 0, 0, 0]])
    """

    takes = ("texts",)
    from_data: ClassVar[tuple[str, ...]] = ("outputs",)
    outputs: int | None = None
    _: KW_ONLY
    vocabulary: int = 20_000
    length: int = 256
    split: Literal["words", "characters"] = "words"
    ngrams: int = 1
    width: int = 32
    dropout: Number = 0.5
    masked: ClassVar[bool] = True  # whether its layers ignore padding

    @property
    def inputs(self) -> tuple[int, ...]:
        return (self.length,)

    def check(self) -> None:
        require(self.outputs is None or self.outputs >= 2, "outputs", "must be >= 2", self.outputs)
        require(self.vocabulary >= 3, "vocabulary", "must be >= 3", self.vocabulary)
        for name in ("length", "ngrams", "width"):
            require(getattr(self, name) >= 1, name, "must be >= 1", getattr(self, name))
        require(0 <= self.dropout < 1, "dropout", "must be in [0, 1)", self.dropout)

    def encoder(self, x: ArrayLike) -> keras.Model:
        tokens = layers.TextVectorization(
            self.vocabulary,
            split="whitespace" if self.split == "words" else "character",
            ngrams=self.ngrams if self.ngrams > 1 else None,
            output_sequence_length=self.length,
        )
        tokens.adapt(tf.data.Dataset.from_tensor_slices(list(x)).batch(1024))
        texts = keras.Input((), dtype="string")
        return keras.Model(texts, tokens(texts), name="tokens")

    def build(self) -> keras.Model:
        self.require_sizes("outputs")
        inputs = keras.Input((self.length,), dtype="int64")
        x = layers.Embedding(self.vocabulary, self.width, mask_zero=self.masked)(inputs)
        x = layers.Dropout(self.dropout)(self.features(x))
        name = type(self).__name__.lower()
        return keras.Model(inputs, layers.Dense(self.outputs)(x), name=name)

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Turn (n, length, width) token vectors, with a mask, into (n, features)."""


@registry.register
class TextBag(Text):
    """The mean of the token vectors, a bag of words; with `ngrams=2` pairs of words count too. The first one to try.

    Args:
        outputs: Number of classes, >= 2; None in a recipe, whose data give it.
        vocabulary: Number of known tokens, the most frequent ones, >= 3.
        length: Tokens of a text that are read, >= 1; the rest is cut off.
        split: "words" in lower case without punctuation, or "characters", for Chinese.
        ngrams: The longest run of tokens that counts as a token, >= 1.
        width: Width of a token's vector, >= 1.
        dropout: Share dropped in training before the last layer, in [0, 1).

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> TextBag(2, vocabulary=1000, width=8).build().count_params()
        8018

    Source:
        Joulin et al., Bag of Tricks for Efficient Text Classification, 2017.
    """

    suits = {("texts", "classification"): {"ngrams": 2}}

    def features(self, x: Tensor) -> Tensor:
        return layers.GlobalAveragePooling1D()(x)


@registry.register
class TextConv(Text):
    """Convolutions over the token vectors and the maximum of each filter, which detects short runs of words.

    Args:
        outputs: Number of classes, >= 2; None in a recipe, whose data give it.
        vocabulary: Number of known tokens, the most frequent ones, >= 3.
        length: Tokens of a text that are read, >= 1; the rest is cut off.
        split: "words" in lower case without punctuation, or "characters", for Chinese.
        ngrams: The longest run of tokens that counts as a token, >= 1.
        width: Width of a token's vector, >= 1.
        dropout: Share dropped in training before the last layer, in [0, 1).
        filters: Number of filters of each size, >= 1.
        sizes: The widths of filters in tokens, each >= 1.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> TextConv(2, vocabulary=1000, width=8, filters=4, sizes=(2, 3)).build().count_params()
        8186

    Source:
        Kim, Convolutional Neural Networks for Sentence Classification, 2014.
    """

    _: KW_ONLY
    masked = False
    filters: int = 64
    sizes: tuple[int, ...] = (2, 3, 4)

    def check(self) -> None:
        super().check()
        require(self.filters >= 1, "filters", "must be >= 1", self.filters)
        require(len(self.sizes) >= 1 and min(self.sizes) >= 1, "sizes", "must be >= 1 each, one or more", self.sizes)

    def features(self, x: Tensor) -> Tensor:
        found = [
            layers.GlobalMaxPooling1D()(layers.Conv1D(self.filters, size, activation="relu", padding="same")(x))
            for size in self.sizes
        ]
        return layers.Concatenate()(found) if len(found) > 1 else found[0]


@registry.register
class TextTransformer(Text):
    """Transformer blocks over token vectors and positions, and the mean of their outputs: words in context.

    Args:
        outputs: Number of classes, >= 2; None in a recipe, whose data give it.
        vocabulary: Number of known tokens, the most frequent ones, >= 3.
        length: Tokens of a text that are read, >= 1; the rest is cut off.
        split: "words" in lower case without punctuation, or "characters", for Chinese.
        ngrams: The longest run of tokens that counts as a token, >= 1.
        width: Width of a token's vector, >= 1, a multiple of `heads`.
        dropout: Share dropped in training in every branch and before the last layer, in [0, 1).
        blocks: Number of blocks, >= 1.
        heads: Number of attention heads, >= 1.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> TextTransformer(2, vocabulary=1000, width=8, blocks=1, heads=2, length=16).build().output_shape
        (None, 2)

    Source:
        Vaswani et al., Attention Is All You Need, 2017.
    """

    _: KW_ONLY
    blocks: int = 1
    heads: int = 2

    def check(self) -> None:
        super().check()
        require(self.blocks >= 1, "blocks", "must be >= 1", self.blocks)
        require(
            self.heads >= 1 and self.width % self.heads == 0, "heads", f"must divide width = {self.width}", self.heads
        )

    def features(self, x: Tensor) -> Tensor:
        x = Positions(self.length)(x)
        for _ in range(self.blocks):
            x = transformer_block(x, heads=self.heads, dropout=self.dropout, causal=False)
        return layers.GlobalAveragePooling1D()(layers.LayerNormalization(epsilon=1e-5)(x))
