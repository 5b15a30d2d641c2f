"""Names for objects whose private parts kopt uses: of these no type checker knows anything.

A function that uses a private part says so by its signature. All else takes the types of `kopt.values.types`.
"""

from typing import Any, TypeAlias

__all__ = [
    "CompiledLoss",
    "HyperParameter",
    "KerasLoss",
    "KerasMetric",
    "PrivateLayer",
    "PrivateModel",
    "PrivateOptimizer",
    "RandomState",
    "RateOwner",
    "WeightsStore",
]

PrivateModel: TypeAlias = Any  # a keras.Model
PrivateLayer: TypeAlias = Any  # a keras.layers.Layer
PrivateOptimizer: TypeAlias = Any  # a keras.optimizers.Optimizer
KerasLoss: TypeAlias = Any  # a keras.losses.Loss
KerasMetric: TypeAlias = Any  # a keras.metrics.Metric
CompiledLoss: TypeAlias = Any  # keras.src.trainers.compile_utils.CompileLoss
HyperParameter: TypeAlias = Any  # keras_tuner.engine.hyperparameters.HyperParameter, one definition
RandomState: TypeAlias = Any  # of a random generator: a tuple, or an array
RateOwner: TypeAlias = Any  # what installs a LiveRate; its attribute `steers` says whether it sets the rate now
WeightsStore: TypeAlias = Any  # the part of a weights file that is one object's, by names
