"""Layers and blocks that several models share."""

from abc import abstractmethod
from collections.abc import Sequence

import keras
import numpy as np
from keras import layers, ops

from kopt.values.registry import Registry
from kopt.values.types import Config, Tensor

__all__ = ["HideSeen", "Items", "OwnLayer", "PiecewiseLinear", "Positions", "registry", "transformer_block"]

registry: Registry["OwnLayer"] = Registry("layers")


class OwnLayer(keras.layers.Layer):
    """A layer that Keras does not have, and the same inference by layers and operations of Keras.

    Example:
        >>> PiecewiseLinear([0.0, 1.0, 4.0]).plain(keras.Input((1,))).shape
        (None, 2)
    """

    @abstractmethod
    def plain(self, inputs: Tensor) -> Tensor:
        """Return the outputs at inference of Keras' own layers, with the weights of this one."""


@registry.register
class Positions(OwnLayer):
    """A layer that adds a learned vector for each position: output = input + table[position].

    Args:
        length: The longest sequence.
        **arguments: Arguments of any Keras layer.

    Example:
        >>> Positions(8)(ops.zeros((2, 5, 3))).shape
        TensorShape([2, 5, 3])

    Source:
        Gehring et al., Convolutional Sequence to Sequence Learning, 2017; as in GPT-2.
    """

    def __init__(self, length: int, **arguments: object):
        super().__init__(**arguments)
        self.length, self.supports_masking = length, True

    def build(self, shape: Sequence[int]) -> None:
        """Create the table."""
        random = keras.initializers.RandomNormal(stddev=0.02)
        self.table = self.add_weight((self.length, shape[-1]), initializer=random, name="embeddings")

    def call(self, x: Tensor) -> Tensor:
        """Add the first rows of the table."""
        return x + ops.cast(self.table[: ops.shape(x)[1]], x.dtype)

    def plain(self, inputs: Tensor) -> Tensor:
        # Of what adds an array, only this layer hands on the mask of its input.
        table = ops.convert_to_numpy(self.table)[: inputs.shape[1]]
        return layers.Rescaling(1.0, table, dtype=self.dtype_policy, name=self.name)(inputs)

    def get_config(self) -> Config:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "length": self.length}


@registry.register
class PiecewiseLinear(OwnLayer):
    """Encodes a number by the share of each bin below it: output_k = (x - edge_k) / (edge_k+1 - edge_k), in [0, 1].

    A bin between two equal edges is a step. A linear layer over the output is a piecewise linear function. Encoders of
    tables have it in Keras' own operations; this layer loads the models that were saved before.

    Args:
        edges: Two or more edges of the bins, in rising order.
        **arguments: Arguments of any Keras layer.

    Example:
        >>> PiecewiseLinear([0.0, 1.0, 4.0])(ops.convert_to_tensor([[0.5], [2.5]])).numpy()
        array([[0.5, 0. ],
               [1. , 0.5]], dtype=float32)

    Source:
        Gorishniy, Rubachev and Babenko, On Embeddings for Numerical Features in Tabular Deep Learning, 2022, section
        3.2.
    """

    def __init__(self, edges: Sequence[float], **arguments: object):
        super().__init__(**arguments)
        self.edges = [float(edge) for edge in edges]

    def call(self, x: Tensor) -> Tensor:
        """Turn (n, 1) numbers into (n, bins)."""
        edges = ops.convert_to_tensor(self.edges, "float32")
        widths = ops.maximum(edges[1:] - edges[:-1], 1e-6)
        return ops.clip((ops.cast(x, "float32") - edges[:-1]) / widths, 0.0, 1.0)

    def plain(self, inputs: Tensor) -> Tensor:
        edges = np.asarray(self.edges, "float32")
        widths = np.maximum(edges[1:] - edges[:-1], np.float32(1e-6))
        return ops.clip(ops.divide(ops.subtract(ops.cast(inputs, "float32"), edges[:-1]), widths), 0.0, 1.0)

    def get_config(self) -> Config:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "edges": self.edges}


@registry.register
class HideSeen(OwnLayer):
    """Sets the scores of items that a user already has to -1e9 at inference, so that new items are recommended.

    It computes in float32 under any policy, because -1e9 is out of the range of float16.

    Args:
        **arguments: Arguments of any Keras layer.

    Example:
        >>> HideSeen()([ops.ones((1, 2)), ops.convert_to_tensor([[1.0, 0.0]])]).numpy()
        array([[-1.e+09,  1.e+00]], dtype=float32)

    Source:
        Liang et al., Variational Autoencoders for Collaborative Filtering, 2018, section 4.2.
    """

    def __init__(self, **arguments: object):
        super().__init__(**{"dtype": "float32"} | arguments)

    def call(self, inputs: Sequence[Tensor], training: bool = False) -> Tensor:
        """Set the scores of seen items to -1e9, except in training."""
        scores, seen = inputs
        return scores if training else ops.where(seen > 0, -1e9, scores)

    def plain(self, inputs: Sequence[Tensor]) -> Tensor:
        scores, seen = inputs
        return ops.where(ops.greater(seen, 0), -1e9, ops.cast(scores, "float32"))


@registry.register
class Items(OwnLayer):
    """Scores of every item for a vector: output = vector . tower(table of items)^T / sqrt(width) + bias of the item.

    The tower is one dense layer, tanh(table W + b).

    Args:
        items: Number of items.
        **arguments: Arguments of any Keras layer.

    Example:
        >>> Items(7)(ops.ones((2, 4))).shape
        TensorShape([2, 7])

    Source:
        Covington, Adams and Sargin, Deep Neural Networks for YouTube Recommendations, 2016; Yi et al.,
        Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations, 2019.
    """

    def __init__(self, items: int, **arguments: object):
        super().__init__(**arguments)
        self.items = items

    def build(self, shape: Sequence[int]) -> None:
        """Create the table and the tower."""
        self.width = shape[-1]
        self.table = self.add_weight((self.items, self.width), initializer="glorot_uniform", name="embeddings")
        self.kernel = self.add_weight((self.width, self.width), initializer="glorot_uniform", name="kernel")
        self.tower_bias = self.add_weight((self.width,), initializer="zeros", name="tower_bias")
        self.bias = self.add_weight((self.items,), initializer="zeros", name="bias")

    def call(self, vectors: Tensor) -> Tensor:
        """Return the scores of all items."""
        towers = ops.tanh(ops.matmul(self.table, self.kernel) + self.tower_bias)
        return ops.matmul(vectors, ops.transpose(towers)) / self.width**0.5 + self.bias

    def plain(self, inputs: Tensor) -> Tensor:
        towers = ops.tanh(ops.matmul(self.table, self.kernel) + self.tower_bias)
        scores = layers.Dense(self.items, dtype=self.dtype_policy, name=self.name)
        found = scores(inputs)
        scores.set_weights([ops.transpose(towers) / self.width**0.5, self.bias])
        return found

    def get_config(self) -> Config:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "items": self.items}


def transformer_block(x: Tensor, *, heads: int, dropout: float, causal: bool) -> Tensor:
    """Apply one pre-norm transformer block: attention and a network of four times the width, each with a residual.

    Args:
        x: (n, length, width) Keras tensor.
        heads: Number of heads; they divide the width.
        dropout: Share of each branch's output dropped in training.
        causal: Whether a position sees only itself and those before it.

    Returns:
        A Keras tensor of the same shape.

    Example:
        >>> transformer_block(keras.Input((5, 8)), heads=2, dropout=0.1, causal=True).shape
        (None, 5, 8)

    Source:
        Vaswani et al., Attention Is All You Need, 2017; Xiong et al., On Layer Normalization in the Transformer
        Architecture, 2020, for the place of the normalization.
    """
    width = x.shape[-1]
    attention = layers.MultiHeadAttention(heads, width // heads)
    normed = layers.LayerNormalization(epsilon=1e-5)(x)
    x = x + layers.Dropout(dropout)(attention(normed, normed, use_causal_mask=causal))
    inner = layers.Dense(4 * width, "gelu")(layers.LayerNormalization(epsilon=1e-5)(x))
    return x + layers.Dropout(dropout)(layers.Dense(width)(inner))
