"""Selectors of parameters: by role, path, type of layer or depth, combined as sets.

Regularizers, weight decay, layer-wise rates, freezing and rules that treat matrices apart all take selectors.
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
