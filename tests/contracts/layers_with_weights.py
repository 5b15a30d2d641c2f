"""Every Keras layer that has weights to train, as a branch of one model; what a penalty does to each."""

import inspect
from typing import Any

import keras
from keras import layers

RUNNERS = ("JaxLayer", "FlaxLayer", "TFSMLayer", "TorchModuleWrapper")  # of other frameworks' models
# Layers whose weights are no parameters: a spectrum's fixed window, means and variances, vocabularies.
WITHOUT_PARAMETERS = ("Normalization", "STFTSpectrogram")

SEQUENCE, IMAGE, VOLUME, CLIP = (6, 4), (6, 6, 4), (4, 4, 4, 2), (3, 4, 4, 4, 2)
SAVED: dict[str, tuple[Any, tuple[int, ...]]] = {
    "BatchNormalization": (lambda: layers.BatchNormalization(), SEQUENCE),
    "Bidirectional": (lambda: layers.Bidirectional(layers.GRU(2)), SEQUENCE),
    "Conv1D": (lambda: layers.Conv1D(2, 2), SEQUENCE),
    "Conv1DTranspose": (lambda: layers.Conv1DTranspose(2, 2), SEQUENCE),
    "Conv2D": (lambda: layers.Conv2D(2, 2), IMAGE),
    "Conv2DTranspose": (lambda: layers.Conv2DTranspose(2, 2), IMAGE),
    "Conv3D": (lambda: layers.Conv3D(2, 2), VOLUME),
    "Conv3DTranspose": (lambda: layers.Conv3DTranspose(2, 2), VOLUME),
    "ConvLSTM1D": (lambda: layers.ConvLSTM1D(2, 2), IMAGE),
    "ConvLSTM2D": (lambda: layers.ConvLSTM2D(2, 2), VOLUME),
    "ConvLSTM3D": (lambda: layers.ConvLSTM3D(2, 2), CLIP),
    "Dense": (lambda: layers.Dense(2), SEQUENCE),
    "DepthwiseConv1D": (lambda: layers.DepthwiseConv1D(2), SEQUENCE),
    "DepthwiseConv2D": (lambda: layers.DepthwiseConv2D(2), IMAGE),
    "EinsumDense": (lambda: layers.EinsumDense("abc,cd->abd", (None, 2), bias_axes="d"), SEQUENCE),
    "Embedding": (lambda: layers.Embedding(5, 2), SEQUENCE),
    "GRU": (lambda: layers.GRU(2), SEQUENCE),
    "GRUCell": (lambda: layers.RNN(layers.GRUCell(2)), SEQUENCE),
    "GroupNormalization": (lambda: layers.GroupNormalization(2), SEQUENCE),
    "GroupedQueryAttention": (lambda: OnItself(layers.GroupQueryAttention(2, 2, 1)), SEQUENCE),
    "LSTM": (lambda: layers.LSTM(2), SEQUENCE),
    "LSTMCell": (lambda: layers.RNN(layers.LSTMCell(2)), SEQUENCE),
    "LayerNormalization": (lambda: layers.LayerNormalization(), SEQUENCE),
    "MultiHeadAttention": (lambda: OnItself(layers.MultiHeadAttention(2, 2)), SEQUENCE),
    "PReLU": (lambda: layers.PReLU(), SEQUENCE),
    "RNN": (lambda: layers.RNN([layers.GRUCell(2), layers.SimpleRNNCell(2)]), SEQUENCE),
    "ReversibleEmbedding": (lambda: layers.ReversibleEmbedding(5, 2), SEQUENCE),
    "SeparableConv1D": (lambda: layers.SeparableConv1D(2, 2), SEQUENCE),
    "SeparableConv2D": (lambda: layers.SeparableConv2D(2, 2), IMAGE),
    "SimpleRNN": (lambda: layers.SimpleRNN(2), SEQUENCE),
    "SimpleRNNCell": (lambda: layers.RNN(layers.SimpleRNNCell(2)), SEQUENCE),
    "SpectralNormalization": (lambda: layers.SpectralNormalization(layers.Dense(2)), SEQUENCE),
    "StackedRNNCells": (lambda: layers.RNN(layers.StackedRNNCells([layers.LSTMCell(2)])), SEQUENCE),
    "TimeDistributed": (lambda: layers.TimeDistributed(layers.Dense(2)), SEQUENCE),
}
# Layers that take no regularizer for their weights, so that none could be saved.
REFUSED: dict[str, tuple[Any, tuple[int, ...]]] = {
    "AdditiveAttention": (lambda: OnItself(layers.AdditiveAttention()), SEQUENCE),
    "Attention": (lambda: OnItself(layers.Attention(use_scale=True)), SEQUENCE),
    "RMSNormalization": (lambda: layers.RMSNormalization(), SEQUENCE),
}


class OnItself:
    """A layer of queries, keys and values, called with one tensor for all."""

    def __init__(self, layer: Any):
        self.layer = layer

    def __call__(self, x: Any) -> Any:
        return self.layer(x, x) if "value" in inspect.signature(self.layer.call).parameters else self.layer([x, x])


def branches(table: dict[str, tuple[Any, tuple[int, ...]]]) -> Any:
    """Return a model of all layers of a table side by side, over one input of each shape."""
    inputs = {shape: keras.Input(shape, name="x" + "x".join(map(str, shape))) for _, shape in table.values()}
    outputs = []
    for make, shape in table.values():
        outputs.append(keras.layers.Flatten()(make()(inputs[shape])))
    return keras.Model(list(inputs.values()), keras.layers.Concatenate()(outputs))


def with_weights() -> set[str]:
    """Return the names of Keras' layer classes that make weights, or hold layers that do."""
    wrapping = {"RNN", "StackedRNNCells", "Bidirectional", "TimeDistributed", "MultiHeadAttention"}
    wrapping |= {"GroupedQueryAttention", "SpectralNormalization"}
    found = set()
    for kind in vars(layers).values():
        if not inspect.isclass(kind) or not issubclass(kind, layers.Layer) or kind is layers.Layer:
            continue
        own = [one for one in kind.__mro__ if issubclass(one, layers.Layer) and one is not layers.Layer]
        if kind.__name__ in wrapping or any("self.add_weight(" in inspect.getsource(one) for one in own):
            found.add(kind.__name__)
    return found - {"Wrapper", *RUNNERS}
