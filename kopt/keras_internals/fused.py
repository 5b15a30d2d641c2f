"""Keras' Adam and AdamW in fewer operations: those of its formula, or TensorFlow's kernel for them."""

import contextlib
import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tensorflow import raw_ops

from kopt.keras_internals.numbers import rated_optimizers
from kopt.keras_internals.types import PrivateOptimizer
from kopt.values.types import Scalar, Tensor, Variable

LARGEST = 0.9999  # in float32, 1 - beta of a larger one is more than 0.03 % off


@contextlib.contextmanager
def briefer_updates(optimizers: Iterable[PrivateOptimizer], kernel: bool) -> Iterator[None]:
    """Let those optimizers whose update is Keras' Adam update in fewer operations, in steps that are traced within.

    A variable's update by Keras is some forty operations, half of a step's, which take Python half of the time of
    tracing it. Its formula alone is some twenty, with the corrected rate computed once for all variables: they round as
    Keras' do, to the bit. The kernel is one, which goes over a variable once. It takes 1 - beta in float32, so that its
    velocities are as many times too large as that is (of 0.999, 1.3e-5 too small); rate and epsilon make up for it.

    Args:
        optimizers: Those of a model on one device, which may hold others.
        kernel: Whether float32 variables are updated by the kernel.
    """
    inner = {id(one): one for optimizer in optimizers for one in rated_optimizers(optimizer)}
    changed = [one for one in inner.values() if is_adam(one)]
    for one in changed:
        one.update_step = Update(one, kernel)
    try:
        yield
    finally:
        for one in changed:
            del one.update_step


def is_adam(optimizer: PrivateOptimizer) -> bool:
    """Return whether an optimizer's update is that of Keras' Adam, and nobody has changed it."""
    known = type(optimizer) in (keras.optimizers.Adam, keras.optimizers.AdamW)
    return known and not optimizer.amsgrad and "update_step" not in vars(optimizer)


class Numbers(NamedTuple):
    """The scalars of an update, of a variable's type."""

    rate: Tensor
    momentum: Tensor
    velocity: Tensor
    epsilon: Tensor


class Update:
    """The update of a variable by Keras' Adam, in place of its `update_step`.

    Args:
        optimizer: Adam or AdamW of Keras.
        kernel: Whether float32 variables are updated by TensorFlow's kernel.
    """

    def __init__(self, optimizer: PrivateOptimizer, kernel: bool):
        self.optimizer, self.otherwise = optimizer, optimizer.update_step
        self.kernel = kernel and max(optimizer.beta_1, optimizer.beta_2) <= LARGEST
        self.numbers: dict[tuple[tf.Graph, tf.DType], Numbers] = {}

    def __call__(self, gradient: Tensor, variable: Variable, learning_rate: Scalar) -> None:
        if tf.executing_eagerly() or not isinstance(gradient, tf.Tensor) or gradient.dtype != variable.dtype:
            self.otherwise(gradient, variable, learning_rate)
            return
        place = self.optimizer._get_variable_index(variable)
        slots = self.optimizer._momentums[place].value, self.optimizer._velocities[place].value
        update = self.by_kernel if self.kernel and variable.dtype == tf.float32 else self.by_formula
        update(gradient, variable, slots, self.numbers_here(variable.dtype, learning_rate))

    def numbers_here(self, dtype: tf.DType, learning_rate: Scalar) -> Numbers:
        """Return the scalars in the graph that is being traced, as Keras computes them for each variable."""
        key = tf.compat.v1.get_default_graph(), dtype
        if key not in self.numbers:
            optimizer = self.optimizer
            step, rate = tf.cast(optimizer.iterations + 1, dtype), tf.cast(learning_rate, dtype)
            momentum, velocity = (tf.pow(tf.cast(beta, dtype), step) for beta in (optimizer.beta_1, optimizer.beta_2))
            corrected = rate * tf.sqrt(1 - velocity) / (1 - momentum)
            rest = (1 - optimizer.beta_1, 1 - optimizer.beta_2, optimizer.epsilon)
            self.numbers[key] = Numbers(corrected, *(tf.constant(one, dtype) for one in rest))
        return self.numbers[key]

    def by_formula(self, gradient: Tensor, variable: Variable, slots: tuple[Variable, ...], numbers: Numbers) -> None:
        """Update by operations that are quick to trace: not one of them converts or looks at its arguments."""
        add, subtract, multiply = raw_ops.AddV2, raw_ops.Sub, raw_ops.Mul
        momentum, velocity = (raw_ops.ReadVariableOp(resource=slot.handle, dtype=slot.dtype) for slot in slots)
        change = multiply(x=subtract(x=gradient, y=momentum), y=numbers.momentum)
        momentum = add(x=momentum, y=change)
        change = multiply(x=subtract(x=raw_ops.Square(x=gradient), y=velocity), y=numbers.velocity)
        velocity = add(x=velocity, y=change)
        for slot, value in zip(slots, (momentum, velocity)):
            raw_ops.AssignVariableOp(resource=slot.handle, value=value)
        root = add(x=raw_ops.Sqrt(x=velocity), y=numbers.epsilon)
        change = raw_ops.RealDiv(x=multiply(x=momentum, y=numbers.rate), y=root)
        raw_ops.AssignSubVariableOp(resource=variable.handle, value=change)

    def by_kernel(self, gradient: Tensor, variable: Variable, slots: tuple[Variable, ...], numbers: Numbers) -> None:
        """Update by TensorFlow's kernel."""
        betas = self.optimizer.beta_1, self.optimizer.beta_2
        excess, squared = (float(np.float32(1) - np.float32(beta)) / (1 - beta) for beta in betas)
        zero = tf.zeros([], variable.dtype)  # the correction is in the rate
        raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=slots[0].handle,
            v=slots[1].handle,
            beta1_power=zero,
            beta2_power=zero,
            lr=numbers.rate * (math.sqrt(squared) / excess),
            beta1=betas[0],
            beta2=betas[1],
            epsilon=self.optimizer.epsilon * math.sqrt(squared),
            grad=gradient,
        )
