"""Keras' Adam and AdamW in fewer operations: those of its formula, or TensorFlow's kernel for them."""

import contextlib
import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tensorflow import raw_ops
from tensorflow.python.ops.control_flow_v2_func_graphs import ControlFlowFuncGraph

from kopt.keras_internals.numbers import rated_optimizers
from kopt.keras_internals.replaced import is_observed, replaced_updates
from kopt.keras_internals.types import PrivateOptimizer
from kopt.values.types import Scalar, Tensor, Variable

UPDATE = keras.optimizers.Adam.update_step
PARTS = ("update_step", "assign", "assign_add", "assign_sub")  # of an update that a user may have replaced
CLOSE = 2e-5  # how near to 1 - beta the kernel's must be, relatively: to go on with its velocities is as exact
LEAST = 0.1  # of a smaller beta_2 the velocity is what rounding leaves of its last value


@contextlib.contextmanager
def shorter_adam(optimizers: Iterable[PrivateOptimizer], kernel: bool) -> Iterator[None]:
    """Let those optimizers whose update is Keras' Adam update in fewer operations, in the graph that is being traced.

    A variable's update by Keras is some forty operations, which Python takes long to trace. Its formula alone is
    fourteen, and two reads, with the corrected rate computed once for all variables: they round as Keras' do, to the
    bit. The kernel is one, which goes over a variable once. It takes 1 - beta in float32, of 0.999 1.3e-5 too small.
    Rate and epsilon make up for that in the first updates; later, when as much is missing of what decays, a step is
    6e-6 too short.

    Args:
        optimizers: Those of a model on one device, which may hold others.
        kernel: Whether float32 variables are updated by the kernel; not in a function of the user's that is traced on
            the way, for it keeps its trace.
    """
    here = tf.compat.v1.get_default_graph()
    inner = {id(one): one for optimizer in optimizers for one in rated_optimizers(optimizer)}
    changed = [one for one in inner.values() if is_adam(one)]
    with replaced_updates({one: functools.partial(update_all, one, here if kernel else None) for one in changed}):
        yield


def is_adam(optimizer: PrivateOptimizer) -> bool:
    """Return whether an optimizer's update is that of Keras' Adam, by plain numbers, and nobody has changed it."""
    if type(optimizer) not in (keras.optimizers.Adam, keras.optimizers.AdamW) or optimizer.amsgrad:
        return False
    numbers = (optimizer.beta_1, optimizer.beta_2, optimizer.epsilon)
    hooked = "_backend_update_step" in vars(optimizer) and not is_observed(optimizer)
    return (
        type(optimizer).update_step is UPDATE
        and not hooked
        and not any(name in vars(optimizer) for name in PARTS)
        and all(type(one) in (int, float) for one in numbers)  # of NumPy's, Keras computes in float64
    )


def update_all(
    optimizer: PrivateOptimizer,
    here: tf.Graph | None,
    gradients: Sequence[Tensor],
    variables: Sequence[Variable],
    learning_rate: Scalar,
) -> None:
    """Make one update of all variables on one device, in place of Keras' `_backend_update_step`."""
    update = AdamUpdate(optimizer, here is not None and is_in(here))
    for gradient, variable in zip(gradients, variables):
        update(gradient, variable.value if isinstance(variable, keras.Variable) else variable, learning_rate)


def is_in(graph: tf.Graph) -> bool:
    """Return whether what is traced now is in a graph, its branches and loops, and in no function that it calls."""
    now = tf.compat.v1.get_default_graph()
    while now is not graph and isinstance(now, ControlFlowFuncGraph):
        now = now.outer_graph
    return now is graph


class Formula(NamedTuple):
    """Keras' update, by operations that are quick to trace: not one of them converts or looks at its arguments.

    Attributes:
        rate: The corrected rate.
        momentum: 1 - beta_1.
        velocity: 1 - beta_2.
        epsilon: What is added to roots.
    """

    rate: Tensor
    momentum: Tensor
    velocity: Tensor
    epsilon: Tensor

    @classmethod
    def of(cls, optimizer: PrivateOptimizer, rate: Tensor) -> "Formula":
        """Return the numbers of an optimizer's update at a corrected rate."""
        shares = (1 - optimizer.beta_1, 1 - optimizer.beta_2, optimizer.epsilon)
        return cls(rate, *(tf.constant(one, rate.dtype) for one in shares))

    def update(self, gradient: Tensor, variable: Variable, slots: tuple[Variable, Variable]) -> None:
        """Update a variable, its momentum and its velocity."""
        add, subtract, multiply = raw_ops.AddV2, raw_ops.Sub, raw_ops.Mul
        momentum, velocity = (raw_ops.ReadVariableOp(resource=slot.handle, dtype=slot.dtype) for slot in slots)
        change = multiply(x=subtract(x=gradient, y=momentum), y=self.momentum)
        momentum = add(x=momentum, y=change)
        change = multiply(x=subtract(x=raw_ops.Square(x=gradient), y=velocity), y=self.velocity)
        velocity = add(x=velocity, y=change)
        for slot, value in zip(slots, (momentum, velocity)):
            raw_ops.AssignVariableOp(resource=slot.handle, value=value)
        root = add(x=raw_ops.Sqrt(x=velocity), y=self.epsilon)
        change = raw_ops.RealDiv(x=multiply(x=momentum, y=self.rate), y=root)
        raw_ops.AssignSubVariableOp(resource=variable.handle, value=change)


class Kernel(NamedTuple):
    """TensorFlow's kernel for Adam: the same interface as `Formula`.

    Attributes:
        lr: The corrected rate, which makes up for the kernel's 1 - beta.
        beta1: The share of the momentum that stays.
        beta2: The share of the velocity that stays.
        epsilon: What is added to roots.
        beta1_power: Zero, for the correction is in the rate.
        beta2_power: Zero.
    """

    lr: Tensor
    beta1: Tensor
    beta2: Tensor
    epsilon: Tensor
    beta1_power: Tensor
    beta2_power: Tensor

    @classmethod
    def of(cls, optimizer: PrivateOptimizer, rate: Tensor) -> "Kernel":
        """Return the numbers of an optimizer's update at a corrected rate."""
        betas, (momentum, velocity) = (optimizer.beta_1, optimizer.beta_2), excesses(optimizer)
        lr, epsilon = rate * (math.sqrt(velocity) / momentum), optimizer.epsilon * math.sqrt(velocity)
        return cls(lr, *(tf.constant(one, rate.dtype) for one in (*betas, epsilon, 0.0, 0.0)))

    def update(self, gradient: Tensor, variable: Variable, slots: tuple[Variable, Variable]) -> None:
        """Update a variable, its momentum and its velocity."""
        momentum, velocity = (slot.handle for slot in slots)
        raw_ops.ResourceApplyAdam(var=variable.handle, m=momentum, v=velocity, grad=gradient, **self._asdict())


def excesses(optimizer: PrivateOptimizer) -> tuple[float, ...]:
    """Return how many times 1 - beta the kernel's is, of both betas."""
    return tuple(
        float(np.float32(1) - np.float32(beta)) / (1 - beta) if beta < 1 else math.inf
        for beta in (optimizer.beta_1, optimizer.beta_2)
    )


class AdamUpdate:
    """One update of variables by Keras' Adam, each in place of its `update_step`.

    Args:
        optimizer: Adam or AdamW of Keras.
        kernel: Whether float32 variables are updated by TensorFlow's kernel, if its numbers are near enough.
    """

    def __init__(self, optimizer: PrivateOptimizer, kernel: bool):
        self.optimizer = optimizer
        near = all(abs(excess - 1) <= CLOSE for excess in excesses(optimizer))
        self.kernel = kernel and near and optimizer.beta_2 >= LEAST
        self.numbers: dict[tf.DType, Formula | Kernel] = {}

    def __call__(self, gradient: Tensor, variable: Variable, learning_rate: Scalar) -> None:
        dense = isinstance(gradient, tf.Tensor) and gradient.dtype == variable.dtype
        if tf.executing_eagerly() or not dense or gradient.shape != variable.shape:
            self.optimizer.update_step(gradient, variable, learning_rate)
            return
        if variable.dtype not in self.numbers:
            self.numbers[variable.dtype] = self.numbers_of(variable.dtype, learning_rate)
        place = self.optimizer._get_variable_index(variable)
        slots = self.optimizer._momentums[place].value, self.optimizer._velocities[place].value
        self.numbers[variable.dtype].update(gradient, variable, slots)

    def numbers_of(self, dtype: tf.DType, learning_rate: Scalar) -> Formula | Kernel:
        """Return the numbers of the update of all variables of a type."""
        optimizer = self.optimizer
        step, rate = tf.cast(optimizer.iterations + 1, dtype), tf.cast(learning_rate, dtype)
        momentum, velocity = (tf.pow(tf.cast(beta, dtype), step) for beta in (optimizer.beta_1, optimizer.beta_2))
        corrected = rate * tf.sqrt(1 - velocity) / (1 - momentum)
        kind = Kernel if self.kernel and dtype == tf.float32 else Formula
        return kind.of(optimizer, corrected)
