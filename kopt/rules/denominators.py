"""Adam divided by something else than the root of a mean of squares: AdaMax, AMSGrad, AdaBelief, Yogi."""

from keras import ops

from kopt.rules.base import Elementwise, TensorState, cast, missing_share, registry, running_mean
from kopt.rules.moments import adapted, decayed, positive, require_factors, require_sizes
from kopt.values.fields import Number
from kopt.values.types import Scalar, Tensor

__all__ = ["AMSGrad", "AdaBelief", "AdaMax", "Yogi"]


@registry.register
class AdaMax(Elementwise):
    """Adam by the largest gradient instead of the mean square.

    m = beta_1 * m + (1 - beta_1) * gradient; u = max(beta_2 * u, abs(gradient) + epsilon);
    update = -rate * (m / (1 - beta_1 ** count) / u + weight_decay * parameter). Without a decay no number moves by much
    more than rate. For gradients that are mostly 0, as those of embeddings; the usual rate is 2e-3.

    Args:
        beta_1: The factor of the running mean of the gradient, in [0, 1).
        beta_2: The factor of the largest gradient of the past, in [0, 1).
        epsilon: Added to the size of a gradient, >= 0.
        weight_decay: The share of a parameter that an update subtracts at rate 1, >= 0.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> from kopt.training import minimize
        >>> minimize(lambda w: (w - 3) ** 2, 0, AdaMax(), rate=0.1, steps=500).parameters.round(3)
        np.float32(3.0)

    Source:
        Kingma and Ba, Adam, 2015, algorithm 2, with epsilon as in PyTorch and optax and the decay of `optax.adamaxw`.
    """

    beta_1: Number = 0.9
    beta_2: Number = 0.999
    epsilon: Number = 1e-8
    weight_decay: Number = 0.0
    usual_rate = 2e-3
    keeps_infinity = True
    packs = True

    def check(self) -> None:
        require_factors(beta_1=self.beta_1, beta_2=self.beta_2)
        require_sizes(epsilon=self.epsilon, weight_decay=self.weight_decay)

    def init_one(self, parameter: Tensor) -> TensorState:
        return {"momentum": ops.zeros_like(parameter), "largest": ops.zeros_like(parameter)}

    def update_one(
        self, gradient: Tensor, state: TensorState, parameter: Tensor, rate: Scalar, count: Scalar
    ) -> tuple[Tensor, TensorState]:
        momentum = running_mean(state["momentum"], gradient, self.beta_1)
        size = ops.abs(gradient) + positive(self.epsilon, parameter)
        largest = ops.maximum(state["largest"] * cast(self.beta_2, parameter), size)
        update = momentum * (-rate / cast(missing_share(self.beta_1, count), parameter)) / largest
        return decayed(update, parameter, self.weight_decay, rate), {"momentum": momentum, "largest": largest}


@registry.register
class AMSGrad(Elementwise):
    """Adam by the largest mean square so far, so that steps never grow again.

    m = beta_1 * m + (1 - beta_1) * gradient; v = beta_2 * v + (1 - beta_2) * gradient ** 2; u = max(u, v);
    mean = m / (1 - beta_1 ** count); root = sqrt(u / (1 - beta_2 ** count));
    update = -rate * (mean / (root + epsilon) + weight_decay * parameter).
    For rare large gradients that Adam forgets; the usual rate is 1e-3.

    Args:
        beta_1: The factor of the running mean of the gradient, in [0, 1).
        beta_2: The factor of the running mean of the squared gradient, in [0, 1).
        epsilon: Added to the root after its correction, >= 0.
        weight_decay: The share of a parameter that an update subtracts at rate 1, >= 0.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> from kopt.training import minimize
        >>> minimize(lambda w: (w - 3) ** 2, 0, AMSGrad(), rate=0.1, steps=500).parameters.round(3)
        np.float32(3.0)

    Source:
        Reddi, Kale and Kumar, On the Convergence of Adam and Beyond, 2018, algorithm 2, with the corrections of Adam as
        `torch.optim.AdamW(amsgrad=True)`. optax takes the maximum of the corrected v, which is large at first, and ends
        up to 0.3 from it after 200 updates at rate 0.01, in which numbers move by 0.9; Keras adds its epsilon of 1e-7
        before the correction, 0.002.
    """

    beta_1: Number = 0.9
    beta_2: Number = 0.999
    epsilon: Number = 1e-8
    weight_decay: Number = 0.0
    keeps_infinity = True
    packs = True

    def check(self) -> None:
        require_factors(beta_1=self.beta_1, beta_2=self.beta_2)
        require_sizes(epsilon=self.epsilon, weight_decay=self.weight_decay)

    def init_one(self, parameter: Tensor) -> TensorState:
        return {name: ops.zeros_like(parameter) for name in ("momentum", "velocity", "largest")}

    def update_one(
        self, gradient: Tensor, state: TensorState, parameter: Tensor, rate: Scalar, count: Scalar
    ) -> tuple[Tensor, TensorState]:
        momentum = running_mean(state["momentum"], gradient, self.beta_1)
        velocity = running_mean(state["velocity"], ops.square(gradient), self.beta_2)
        largest = ops.maximum(state["largest"], velocity)
        update = adapted(momentum, largest, (self.beta_1, self.beta_2), self.epsilon, rate, count)
        state = {"momentum": momentum, "velocity": velocity, "largest": largest}
        return decayed(update, parameter, self.weight_decay, rate), state


@registry.register
class AdaBelief(Elementwise):
    """Adam by how far gradients are from their mean: long steps where the mean foretells them.

    m = beta_1 * m + (1 - beta_1) * gradient; s = beta_2 * s + (1 - beta_2) * (gradient - m) ** 2 + epsilon;
    mean = m / (1 - beta_1 ** count); root = sqrt(s / (1 - beta_2 ** count));
    update = -rate * (mean / (root + epsilon) + weight_decay * parameter).
    For convolutional nets and generative ones where Adam generalizes worse than momentum; the usual rate is 1e-3.

    Args:
        beta_1: The factor of the running mean of the gradient, in [0, 1).
        beta_2: The factor of the running mean of the squared surprise, in [0, 1).
        epsilon: Added to the mean square at each update, and to its root, >= 0.
        weight_decay: The share of a parameter that an update subtracts at rate 1, >= 0.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> from kopt.training import minimize
        >>> minimize(lambda w: (w - 3) ** 2, 0, AdaBelief(), rate=0.1, steps=500).parameters.round(3)
        np.float32(3.0)

    Source:
        Zhuang et al., AdaBelief Optimizer: Adapting Stepsizes by the Belief in Observed Gradients, 2020, algorithm 2,
        with epsilon as in the authors' code and optax, and without the rectification of later versions of that code.
    """

    beta_1: Number = 0.9
    beta_2: Number = 0.999
    epsilon: Number = 1e-16
    weight_decay: Number = 0.0
    keeps_infinity = True
    packs = True

    def check(self) -> None:
        require_factors(beta_1=self.beta_1, beta_2=self.beta_2)
        require_sizes(epsilon=self.epsilon, weight_decay=self.weight_decay)

    def init_one(self, parameter: Tensor) -> TensorState:
        return {"momentum": ops.zeros_like(parameter), "surprise": ops.zeros_like(parameter)}

    def update_one(
        self, gradient: Tensor, state: TensorState, parameter: Tensor, rate: Scalar, count: Scalar
    ) -> tuple[Tensor, TensorState]:
        momentum = running_mean(state["momentum"], gradient, self.beta_1)
        surprise = running_mean(state["surprise"], ops.square(gradient - momentum), self.beta_2)
        surprise = surprise + positive(self.epsilon, parameter)
        update = adapted(momentum, surprise, (self.beta_1, self.beta_2), self.epsilon, rate, count)
        return decayed(update, parameter, self.weight_decay, rate), {"momentum": momentum, "surprise": surprise}


@registry.register
class Yogi(Elementwise):
    """Adam whose mean square changes by steps of the size of the new square, so that steps grow slowly.

    m = beta_1 * m + (1 - beta_1) * gradient;
    v = v - (1 - beta_2) * sign(v - gradient ** 2) * gradient ** 2;
    mean = m / (1 - beta_1 ** count); root = sqrt(v / (1 - beta_2 ** count));
    update = -rate * (mean / (root + epsilon) + weight_decay * parameter).
    For sparse gradients, where Adam's steps grow fast between two of them; the usual rate is 0.01.

    Args:
        beta_1: The factor of the running mean of the gradient, in [0, 1).
        beta_2: 1 - beta_2 is the share of a new square in v; beta_2 is in [0, 1).
        epsilon: Added to the root after its correction, >= 0.
        initial: What m and v start from, >= 0.
        weight_decay: The share of a parameter that an update subtracts at rate 1, >= 0.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> from kopt.training import minimize
        >>> minimize(lambda w: (w - 3) ** 2, 0, Yogi(), rate=0.1, steps=500).parameters.round(3)
        np.float32(3.0)

    Source:
        Zaheer et al., Adaptive Methods for Nonconvex Optimization, 2018, algorithm 2, with the start and the
        corrections of `optax.yogi`, which were TensorFlow's.
    """

    beta_1: Number = 0.9
    beta_2: Number = 0.999
    epsilon: Number = 1e-3
    initial: Number = 1e-6
    weight_decay: Number = 0.0
    usual_rate = 0.01
    keeps_infinity = True
    packs = True

    def check(self) -> None:
        require_factors(beta_1=self.beta_1, beta_2=self.beta_2)
        require_sizes(epsilon=self.epsilon, initial=self.initial, weight_decay=self.weight_decay)

    def init_one(self, parameter: Tensor) -> TensorState:
        start = ops.zeros_like(parameter) + cast(self.initial, parameter)
        return {"momentum": start, "velocity": start}

    def update_one(
        self, gradient: Tensor, state: TensorState, parameter: Tensor, rate: Scalar, count: Scalar
    ) -> tuple[Tensor, TensorState]:
        momentum, square = running_mean(state["momentum"], gradient, self.beta_1), ops.square(gradient)
        change = square * cast(1 - self.beta_2, parameter)
        # Not by sign(v - square), which is NaN when both are infinite.
        velocity = state["velocity"] + ops.where(ops.greater(state["velocity"], square), -change, change)
        update = adapted(momentum, velocity, (self.beta_1, self.beta_2), self.epsilon, rate, count)
        return decayed(update, parameter, self.weight_decay, rate), {"momentum": momentum, "velocity": velocity}
