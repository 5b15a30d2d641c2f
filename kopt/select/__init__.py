"""Which parameters: kernels, biases, norms, embeddings, a path, a layer's type, a depth, and set operations on them.

One selector serves regularizers, weight decay, layer-wise rates, freezing, and rules that treat matrices differently.
"""

from kopt.select.base import Parameter, Selector, parameters, registry
from kopt.select.kinds import (
    biases,
    depth,
    depths,
    embeddings,
    everything,
    kernels,
    layers,
    norm_offsets,
    norm_scales,
    norms,
    path,
    recurrent_kernels,
)
from kopt.select.show import show

__all__ = [
    "Parameter",
    "Selector",
    "biases",
    "depth",
    "depths",
    "embeddings",
    "everything",
    "kernels",
    "layers",
    "norm_offsets",
    "norm_scales",
    "norms",
    "parameters",
    "path",
    "recurrent_kernels",
    "registry",
    "show",
]
