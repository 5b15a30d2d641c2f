"""Selectors of parameters: by role, path, type of layer or depth, combined as sets.

Regularizers, weight decay, layer-wise rates, freezing and rules that treat matrices apart all take selectors, or a text
in place of one: the pattern of `path`.
"""

from kopt.select.base import Parameter, Selector, SelectorLike, as_selector, as_selectors, parameters, registry
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
    "SelectorLike",
    "as_selector",
    "as_selectors",
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
