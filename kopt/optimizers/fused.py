"""Fused: Adam, AdamW and NAdamW of a large tensor by one kernel of TensorFlow, in place."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from kopt.keras_internals import InPlace
from kopt.rules import Adam, AdamW, NAdamW, Rule
from kopt.rules.base import count_at, double, missing_share
from kopt.rules.moments import positive, root_share
from kopt.values.types import DType, Nest, Scalar, Tensor, Variable

__all__ = ["updated"]

LARGEST = 0.99999  # in float32, 1 - beta of a larger one is more than 0.3 % off, and 0 at last
FUSED = (Adam, AdamW, NAdamW)  # and no rule that is derived from them: its formula may be another


class Kernel(NamedTuple):
    """The numbers of an update by TensorFlow's kernel for Adam.

    momentum <- momentum + (gradient - momentum) * (1 - beta_1);
    velocity <- velocity + (gradient ** 2 - velocity) * (1 - beta_2);
    parameter <- parameter * (1 - share) - rate * ahead / (sqrt(velocity) + epsilon), where ahead is the momentum, or,
    with nesterov, beta_1 * momentum + (1 - beta_1) * gradient. Each operation of a formula goes over all numbers; the
    kernel goes over them once, which takes half of the time.
    """

    rate: Tensor
    beta_1: Tensor
    beta_2: Tensor
    epsilon: Tensor
    share: Tensor | None
    nesterov: bool

    def change(
        self, gradient: Tensor, slots: Mapping[str, int], parameter: Variable, state: Sequence[Variable]
    ) -> None:
        """Change a parameter and its state, which is at these places among all variables of the state."""
        if self.share is not None:
            parameter.assign_sub(parameter * self.share, read_value=False)
        zero = tf.zeros([], gradient.dtype)  # the correction is in the rate
        tf.raw_ops.ResourceApplyAdam(
            var=parameter.handle,
            m=state[slots["momentum"]].handle,
            v=state[slots["velocity"]].handle,
            beta1_power=zero,
            beta2_power=zero,
            lr=self.rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=bounded(gradient),
            use_nesterov=self.nesterov,
        )


def kernel_of(rule: Rule, parameter: Tensor, rate: Scalar, count: Scalar) -> Kernel | None:
    """Return the kernel of a rule's update of a parameter, or None where the rule has none.

    In float32 the kernel's 1 - 0.999 is 1.3e-5 too small, and so its first velocities: rate and epsilon are changed to
    make up for it.
    """
    if type(rule) not in FUSED or (isinstance(rule, NAdamW) and rule.corrected_ahead):
        return None
    assert isinstance(rule, (Adam, NAdamW))
    if any(isinstance(beta, float) and beta > LARGEST for beta in (rule.beta_1, rule.beta_2)):
        return None
    dtype = parameter.dtype
    beta_1, beta_2 = (tf.cast(double(beta), dtype) for beta in (rule.beta_1, rule.beta_2))
    momentum_excess, velocity_excess = (
        tf.cast(1 - taken, "float64") / (1 - double(beta))
        for taken, beta in ((beta_1, rule.beta_1), (beta_2, rule.beta_2))
    )
    if isinstance(rule, NAdamW):
        shrunk = root_share(rule.beta_2, count)
        correction, epsilon = shrunk / missing_share(rule.beta_1, count), double(rule.epsilon) * shrunk
    else:
        correction = rule.correction(count) if rule.corrected else double(1.0)
        epsilon = double(rule.epsilon)
    rooted = tf.sqrt(velocity_excess)
    return Kernel(
        tf.cast(tf.cast(rate, "float64") * correction * rooted / momentum_excess, dtype),
        beta_1,
        beta_2,
        positive(epsilon * rooted, parameter),
        share_of(rule, rate, dtype),
        isinstance(rule, NAdamW),
    )


def share_of(rule: Rule, rate: Scalar, dtype: DType) -> Tensor | None:
    """Return the share of a parameter that the decay takes, None for a rule without a decay."""
    decay = rule.weight_decay if isinstance(rule, (AdamW, NAdamW)) else 0.0
    if isinstance(decay, float) and decay == 0:
        return None
    return tf.cast(double(decay) * tf.cast(rate, "float64"), dtype)


def bounded(gradient: Tensor) -> Tensor:
    """Return a gradient whose squares are finite, and what is not finite as it is.

    An infinite square would make the kernel's velocity NaN at the next update, inf - inf. Where the sum of squares is
    finite, which one look at the gradient says, nothing is to be done.

    Example:
        >>> bounded(tf.constant([1.0, float("inf")])).numpy()
        array([ 1., inf], dtype=float32)
    """
    largest = math.sqrt(gradient.dtype.max) / 2

    def clipped() -> Tensor:
        within = tf.clip_by_value(gradient, -largest, largest)
        return tf.where(tf.math.is_finite(gradient), within, gradient)

    return tf.cond(tf.math.is_finite(tf.nn.l2_loss(gradient)), lambda: gradient, clipped)


def updated(
    rule: Rule,
    slots: Sequence[Mapping[str, int] | None],
    gradients: Sequence[Tensor],
    state: Nest,
    parameters: Sequence[Tensor],
    rate: Scalar,
    count: Scalar,
) -> tuple[list[Tensor | InPlace], Nest]:
    """Compute an update by a rule, where it may by a kernel that changes a parameter and its state in place.

    Args:
        rule: The rule.
        slots: For each parameter the places of its state among all variables of the state, by name; None where no
            kernel may change it.
        gradients: As for `Rule.update`.
        state: As for `Rule.update`.
        parameters: As for `Rule.update`.
        rate: As for `Rule.update`.
        count: As for `Rule.update`.

    Returns:
        For each parameter its update, or an `InPlace` that makes it; and the next state, which is the old one there.

    Example:
        >>> values = [tf.zeros(2), tf.zeros(3)]
        >>> slots, state = [None, {"momentum": 0, "velocity": 1}], Adam().init(values)
        >>> updates, _ = updated(Adam(), slots, values, state, values, 0.1, 1)
        >>> [type(update).__name__ for update in updates]
        ['EagerTensor', 'InPlace']

    Source:
        TensorFlow's kernel is of Kingma and Ba, Adam, 2015, in the order of section 2.
    """
    kernels = [
        None if slot is None else kernel_of(rule, parameter, rate, count_at(count, place))
        for place, (slot, parameter) in enumerate(zip(slots, parameters))
    ]
    rest = [place for place, kernel in enumerate(kernels) if kernel is None]
    if len(rest) == len(kernels):
        return rule.update(gradients, state, parameters, rate, count)

    def of_rest(values: Sequence[Tensor]) -> list[Tensor]:
        return [values[place] for place in rest]

    counts = of_rest(count) if isinstance(count, list) else count
    made, after = rule.update(of_rest(gradients), of_rest(state), of_rest(parameters), rate, counts)
    updates, states = dict(zip(rest, made)), {**dict(enumerate(state)), **dict(zip(rest, after))}
    for place, (kernel, slot, gradient) in enumerate(zip(kernels, slots, gradients)):
        if kernel is not None and slot is not None:
            updates[place] = InPlace(functools.partial(kernel.change, gradient, slot))
    return [updates[place] for place in range(len(kernels))], [states[place] for place in range(len(kernels))]
