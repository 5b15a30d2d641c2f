"""Adam with two running means of the gradient, one of them slow: AdEMAMix."""

from keras import ops

from kopt.rules.base import Elementwise, TensorState, cast, missing_share, registry, running_mean
from kopt.rules.moments import decayed, positive, require_factors, require_sizes, root_share
from kopt.values.checks import require
from kopt.values.fields import Number
from kopt.values.types import Scalar, Tensor

__all__ = ["AdEMAMix"]


@registry.register
class AdEMAMix(Elementwise):
    """Adam with a second, slow running mean of the gradient, which uses gradients of thousands of updates ago.

    m = beta_1 * m + (1 - beta_1) * gradient; slow = b * slow + (1 - b) * gradient;
    v = beta_2 * v + (1 - beta_2) * gradient ** 2; update = -rate * ((m / (1 - beta_1 ** count) + a * slow) /
    (sqrt(v / (1 - beta_2 ** count)) + epsilon) + weight_decay * parameter).
    Without a warm-up, a = alpha and b = beta_3. With one, share = min(count / warmup_steps, 1), a = share * alpha, and
    1 / log(b) goes from 1 / log(beta_1) to 1 / log(beta_3) in proportion to share, which makes the half-life linear.
    For long training, of 10,000 updates and more; a shorter one needs a smaller beta_3, as 0.999. The usual rate is
    1e-3.

    Args:
        beta_1: The factor of the fast running mean of the gradient, in [0, 1).
        beta_2: The factor of the running mean of the squared gradient, in [0, 1).
        beta_3: The factor of the slow running mean, in [0, 1).
        alpha: The weight of the slow running mean, >= 0; 4 to 10 in the paper.
        epsilon: Added to the root after its correction, >= 0.
        weight_decay: The share of a parameter that an update subtracts at rate 1, >= 0.
        warmup_steps: The updates after which alpha and beta_3 are reached, >= 1. None, as by default in the authors'
            code: from the first one. Give it: the paper sets it to all updates of the training, and is unstable
            without.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> from kopt.schedules import Linear
        >>> from kopt.training import minimize
        >>> rule = AdEMAMix(beta_3=0.99, warmup_steps=300)
        >>> minimize(lambda w: (w - 3) ** 2, 0, rule, rate=Linear(0.03), steps=1000).parameters.round(2)
        np.float32(3.0)

    Source:
        Pagliardini, Ablin and Grangier, The AdEMAMix Optimizer: Better, Faster, Older, 2024, algorithm 1 and the
        schedules of section 3, from beta_1, as pytorch_optimizer and the authors' PyTorch code. optax's and the
        authors' JAX code call schedules with a count from 0, so that the first gradient enters the slow mean with
        beta_1: up to 0.9 from it after 200 updates at rate 0.01 with warmup_steps=200, in which numbers move by 1.2.
    """

    beta_1: Number = 0.9
    beta_2: Number = 0.999
    beta_3: Number = 0.9999
    alpha: Number = 5.0
    epsilon: Number = 1e-8
    weight_decay: Number = 0.0
    warmup_steps: int | None = None
    keeps_infinity = True
    packs = True

    def check(self) -> None:
        require_factors(beta_1=self.beta_1, beta_2=self.beta_2, beta_3=self.beta_3)
        require_sizes(alpha=self.alpha, epsilon=self.epsilon, weight_decay=self.weight_decay)
        warmed = self.warmup_steps is None or self.warmup_steps >= 1
        require(warmed, "warmup_steps", "must be >= 1 or None", self.warmup_steps)

    def init_one(self, parameter: Tensor) -> TensorState:
        return {name: ops.zeros_like(parameter) for name in ("momentum", "slow", "velocity")}

    def of_slow(self, count: Scalar) -> tuple[Scalar, Scalar]:
        """Return the factor of the slow mean, and its weight, at an update."""
        if self.warmup_steps is None:
            return self.beta_3, self.alpha
        share = ops.minimum(ops.cast(count, "float64") / self.warmup_steps, 1.0)
        start, end = (ops.convert_to_tensor(beta, "float64") for beta in (self.beta_1, self.beta_3))
        first, last = (ops.log(ops.maximum(beta, 1e-300)) for beta in (start, end))
        factor = ops.exp(first * last / ((1 - share) * last + share * first))
        return ops.minimum(factor, end), self.alpha * share

    def update_one(
        self, gradient: Tensor, state: TensorState, parameter: Tensor, rate: Scalar, count: Scalar
    ) -> tuple[Tensor, TensorState]:
        factor, weight = self.of_slow(count)
        momentum = running_mean(state["momentum"], gradient, self.beta_1)
        slow = running_mean(state["slow"], gradient, factor)
        velocity = running_mean(state["velocity"], ops.square(gradient), self.beta_2)
        share = root_share(self.beta_2, count)
        of_mean = cast(share / missing_share(self.beta_1, count), parameter)
        step = momentum * (of_mean * -rate) + slow * (cast(share * weight, parameter) * -rate)
        update = step / (ops.sqrt(velocity) + positive(self.epsilon * share, parameter))
        state = {"momentum": momentum, "slow": slow, "velocity": velocity}
        return decayed(update, parameter, self.weight_decay, rate), state
