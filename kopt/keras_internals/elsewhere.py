"""A call of a model at other weights, of which nothing stays."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from kopt.keras_internals.resuming import global_seeds
from kopt.values.types import KerasModel, Tensor, Variable


def state_of(model: KerasModel) -> list[tuple[Variable, Tensor]]:
    """Return what a call of a model may change besides weights, as it is now: statistics and the seeds of layers."""
    variables = {id(one): one for one in [*model.non_trainable_variables, *global_seeds()]}
    return [(variable, tf.identity(variable)) for variable in variables.values()]


def elsewhere(
    weights: Sequence[Variable], values: Sequence[Tensor], state: Sequence[tuple[Variable, Tensor]]
) -> keras.StatelessScope:
    """Return a scope in which weights and state have other values, and what is changed is forgotten."""
    return keras.StatelessScope(state_mapping=[*zip(weights, values, strict=True), *state], collect_losses=True)
