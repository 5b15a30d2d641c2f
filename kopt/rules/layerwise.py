"""Rules whose steps are as long as their tensors: LARS and LAMB; and NovoGrad, with one second moment a tensor."""

from typing import ClassVar

import tensorflow as tf
from keras import ops

from kopt.rules.axes import OfTensors
from kopt.rules.base import TensorState, cast, missing_share, registry, running_mean
from kopt.rules.moments import positive, require_factors, require_sizes
from kopt.rules.norms import length
from kopt.values.fields import Number
from kopt.values.types import Scalar, Tensor

__all__ = ["LAMB", "LARS", "NovoGrad"]


@registry.register
class LARS(OfTensors):
    """Momentum whose gradients are as long as their parameters: layer-wise adaptive rate scaling.

    Of tensors of rank 2 and more, whole and whatever their axes mean: ratio = trust * |parameter| /
    (|gradient| + weight_decay * |parameter|), 1 where one of both is 0; g = ratio * (gradient + weight_decay *
    parameter). Of vectors and scalars g = gradient, without decay. m = momentum * m + g; update = -rate * m or, with
    nesterov, -rate * (g + momentum * m).
    For large batches, with a warm-up of the rate; the usual rate is 0.3 for each 256 examples of a batch, and more in
    short trainings: 3 on the digits. State: 4 bytes a float32 parameter. Validation loss after 300 updates on the
    digits, best of three rates, median of three seeds: 0.083 of a perceptron and 0.105 of a convolutional net, of Adam
    0.037 and 0.052.

    Args:
        weight_decay: The strength of an L2 penalty, >= 0, as it enters the gradient; not decoupled.
        momentum: The factor of the running sum of gradients, in [0, 1).
        trust: The length of a gradient as a share of its parameter's, >= 0.
        nesterov: Whether to look ahead.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> from kopt.training import minimize
        >>> minimize(lambda w: (w - 3) ** 2, 0, LARS(momentum=0.5), rate=0.1, steps=100).parameters.round(3)
        np.float32(3.0)

    Source:
        You, Gitman and Ginsburg, Large Batch Training of Convolutional Networks, 2017, algorithm 1; as
        pytorch_optimizer: the rate after the momentum, vectors as they are. optax takes |gradient + weight_decay *
        parameter| for the sum of lengths, scales vectors too, and has the rate inside the momentum: 1.4e-1 off in 200
        steps on kernels with a scheduled rate.
    """

    weight_decay: Number = 0.0
    momentum: Number = 0.9
    trust: Number = 0.001
    nesterov: bool = False
    usual_rate: ClassVar[float] = 0.3

    def check(self) -> None:
        require_sizes(weight_decay=self.weight_decay)
        require_factors(momentum=self.momentum)
        require_sizes(trust=self.trust)

    def init_one(self, parameter: Tensor) -> TensorState:
        return {"momentum": ops.zeros_like(parameter)}

    def update_one(
        self, gradient: Tensor, state: TensorState, parameter: Tensor, rate: Scalar, count: Scalar
    ) -> tuple[Tensor, TensorState]:
        if len(parameter.shape) > 1:
            own, decay = length(parameter), cast(self.weight_decay, parameter)
            whole = length(gradient) + own * cast(self.weight_decay, own)
            ratio = tf.where((own > 0) & (whole > 0), cast(self.trust, own) * (own / whole), tf.ones_like(own))
            gradient = (gradient + parameter * decay) * ops.cast(ratio, parameter.dtype)
        factor = cast(self.momentum, parameter)
        momentum = state["momentum"] * factor + gradient
        step = gradient + momentum * factor if self.nesterov else momentum
        return -rate * step, {"momentum": momentum}


@registry.register
class LAMB(OfTensors):
    """Adam whose steps are as long as their parameters: layer-wise adaptive moments for large batches.

    m = beta_1 * m + (1 - beta_1) * gradient; v = beta_2 * v + (1 - beta_2) * gradient ** 2; M = m / (1 - beta_1 **
    count); V = v / (1 - beta_2 ** count); step = M / (sqrt(V) + epsilon) + weight_decay * parameter;
    update = -rate * |parameter| / |step| * step, with the ratio 1 where one of both lengths is 0.
    Lengths are those of whole tensors, whatever their axes mean. For large batches, with a warm-up; the usual rate is
    1e-3 to 1e-2: the share of a tensor that an update changes. State: 8 bytes a float32 parameter. Validation loss
    after 300 updates on the digits, best of three rates, median of three seeds: 0.040 of a perceptron and 0.054 of a
    convolutional net, of Adam 0.037 and 0.052.

    Args:
        beta_1: The factor of the running mean of the gradient, in [0, 1).
        beta_2: The factor of the running mean of the squared gradient, in [0, 1).
        epsilon: Added to the root, >= 0.
        weight_decay: The share of a parameter that is added to its step, >= 0; the length of the step does not grow by
            it, so that it is not AdamW's.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> from kopt.training import minimize
        >>> from kopt.schedules import Linear
        >>> minimize(lambda w: (w - 3) ** 2, 1, LAMB(), rate=Linear(0.1), steps=300).parameters.round(1)
        np.float32(3.0)

    Source:
        You et al., Large Batch Optimization for Deep Learning: Training BERT in 76 minutes, 2020, algorithm 2 with phi
        the identity, as optax and Keras (which has no decay); pytorch_optimizer bounds |parameter| by 10 and divides
        all gradients by their common length: 9.7e-1 off in 200 steps.
    """

    beta_1: Number = 0.9
    beta_2: Number = 0.999
    epsilon: Number = 1e-6
    weight_decay: Number = 0.0
    usual_rate: ClassVar[float] = 1e-3

    def check(self) -> None:
        require_factors(beta_1=self.beta_1, beta_2=self.beta_2)
        require_sizes(epsilon=self.epsilon, weight_decay=self.weight_decay)

    def init_one(self, parameter: Tensor) -> TensorState:
        return {"momentum": ops.zeros_like(parameter), "velocity": ops.zeros_like(parameter)}

    def update_one(
        self, gradient: Tensor, state: TensorState, parameter: Tensor, rate: Scalar, count: Scalar
    ) -> tuple[Tensor, TensorState]:
        momentum = running_mean(state["momentum"], gradient, self.beta_1)
        velocity = running_mean(state["velocity"], ops.square(gradient), self.beta_2)
        first, second = (cast(missing_share(beta, count), parameter) for beta in (self.beta_1, self.beta_2))
        step = (momentum / first) / (ops.sqrt(velocity / second) + positive(self.epsilon, parameter))
        step = step + parameter * cast(self.weight_decay, parameter)
        own, whole = length(parameter), length(step)
        ratio = tf.where((own > 0) & (whole > 0), own / whole, tf.ones_like(own))
        return -rate * ops.cast(ratio, parameter.dtype) * step, {"momentum": momentum, "velocity": velocity}


@registry.register
class NovoGrad(OfTensors):
    """Momentum of gradients that are divided by the running mean of their length: one second moment a tensor.

    v = |gradient| ** 2 at first, then beta_2 * v + (1 - beta_2) * |gradient| ** 2;
    m = beta_1 * m + gradient / (sqrt(v) + epsilon) + weight_decay * parameter; update = -rate * m.
    Lengths are those of whole tensors, whatever their axes mean. Robust in the rate and for large batches; the usual
    rate is 1e-3 to 1e-2. State: 4 bytes a float32 parameter, and 4 a tensor. Validation loss after 300 updates on the
    digits, best of three rates, median of three seeds: 0.062 of a perceptron and 0.073 of a convolutional net, of Adam
    0.037 and 0.052.

    Args:
        beta_1: The factor of the running sum of normalized gradients, in [0, 1).
        beta_2: The factor of the running mean of the squared length, in [0, 1).
        epsilon: Added to the root, >= 0.
        weight_decay: The share of a parameter that is added to its normalized gradient, >= 0: inside the momentum, so
            that it is 1 / (1 - beta_1) times AdamW's.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> from kopt.training import minimize
        >>> from kopt.schedules import Linear
        >>> minimize(lambda w: (w - 3) ** 2, 0, NovoGrad(), rate=Linear(0.05), steps=500).parameters.round(2)
        np.float32(3.0)

    Source:
        Ginsburg et al., Training Deep Networks with Stochastic Gradient Methods with Layer-wise Adaptive Moments, 2019,
        algorithm 1, as optax, with its defaults; the paper's are 0.95 and 0.98.
    """

    beta_1: Number = 0.9
    beta_2: Number = 0.25
    epsilon: Number = 1e-6
    weight_decay: Number = 0.0
    usual_rate: ClassVar[float] = 1e-3

    def check(self) -> None:
        require_factors(beta_1=self.beta_1, beta_2=self.beta_2)
        require_sizes(epsilon=self.epsilon, weight_decay=self.weight_decay)

    def init_one(self, parameter: Tensor) -> TensorState:
        return {"momentum": ops.zeros_like(parameter), "velocity": tf.zeros_like(length(parameter))}

    def update_one(
        self, gradient: Tensor, state: TensorState, parameter: Tensor, rate: Scalar, count: Scalar
    ) -> tuple[Tensor, TensorState]:
        square = tf.square(length(gradient))
        velocity = tf.where(ops.equal(count, 1), square, running_mean(state["velocity"], square, self.beta_2))
        root = ops.cast(tf.sqrt(velocity), parameter.dtype) + positive(self.epsilon, parameter)
        new = gradient / root + parameter * cast(self.weight_decay, parameter)
        momentum = state["momentum"] * cast(self.beta_1, parameter) + new
        return -rate * momentum, {"momentum": momentum, "velocity": velocity}
