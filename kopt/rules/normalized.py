"""Momentum of gradients that are divided by their size first: LaProp and ADOPT."""

from keras import ops

from kopt.rules.base import Elementwise, TensorState, cast, missing_share, registry, running_mean
from kopt.rules.moments import decayed, positive, require_factors, require_sizes, root_share
from kopt.values.fields import Number
from kopt.values.types import Scalar, Tensor

__all__ = ["ADOPT", "LaProp"]


@registry.register
class LaProp(Elementwise):
    """Momentum of gradients that are divided by the root of their mean square.

    v = beta_2 * v + (1 - beta_2) * gradient ** 2;
    m = beta_1 * m + (1 - beta_1) * gradient / (sqrt(v / (1 - beta_2 ** count)) + epsilon);
    update = -rate * (m / (1 - beta_1 ** count) + weight_decay * parameter). Steps stay bounded for any pair of factors,
    where Adam's are not for beta_1 > sqrt(beta_2). For noisy gradients and small beta_2; the usual rate is 4e-4.

    Args:
        beta_1: The factor of the running mean of divided gradients, in [0, 1).
        beta_2: The factor of the running mean of the squared gradient, in [0, 1).
        epsilon: Added to the root after its correction, >= 0.
        weight_decay: The share of a parameter that an update subtracts at rate 1, >= 0.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> from kopt.training import minimize
        >>> minimize(lambda w: (w - 3) ** 2, 0, LaProp(), rate=0.1, steps=500).parameters.round(3)
        np.float32(3.0)

    Source:
        Ziyin, Wang and Ueda, LaProp: Separating Momentum and Adaptivity in Adam, 2020, algorithm 1. The authors' code
        and pytorch_optimizer keep the rate within m, where a change of it acts late: with a warm-up and a cosine they
        end up to 0.03 from it after 200 updates at rate 0.01, in which numbers move by 0.9.
    """

    beta_1: Number = 0.9
    beta_2: Number = 0.999
    epsilon: Number = 1e-15
    weight_decay: Number = 0.0
    usual_rate = 4e-4
    keeps_infinity = True
    packs = True

    def check(self) -> None:
        require_factors(beta_1=self.beta_1, beta_2=self.beta_2)
        require_sizes(epsilon=self.epsilon, weight_decay=self.weight_decay)

    def init_one(self, parameter: Tensor) -> TensorState:
        return {"momentum": ops.zeros_like(parameter), "velocity": ops.zeros_like(parameter)}

    def update_one(
        self, gradient: Tensor, state: TensorState, parameter: Tensor, rate: Scalar, count: Scalar
    ) -> tuple[Tensor, TensorState]:
        velocity = running_mean(state["velocity"], ops.square(gradient), self.beta_2)
        share = root_share(self.beta_2, count)
        divided = gradient / (ops.sqrt(velocity) + positive(self.epsilon * share, parameter))
        newest = divided * cast((1 - self.beta_1) * share, parameter)
        momentum = state["momentum"] * cast(self.beta_1, parameter) + newest
        update = momentum * (-rate / cast(missing_share(self.beta_1, count), parameter))
        state = {"momentum": momentum, "velocity": velocity}
        return decayed(update, parameter, self.weight_decay, rate), state


@registry.register
class ADOPT(Elementwise):
    """Momentum of gradients that are divided by the root of the mean square of earlier ones, and clipped.

    limit = (count - 1) ** 0.25; divided = clip(gradient / max(sqrt(v), epsilon), -limit, limit);
    m = beta_1 * m + (1 - beta_1) * divided; update = -rate * (m + weight_decay * parameter); then
    v = beta_2 * v + (1 - beta_2) * gradient ** 2. The first update only sets v to gradient ** 2, and decays. It
    converges for any beta_2, since a gradient is not divided by its own size. The usual rate is 1e-3.

    Args:
        beta_1: The factor of the running mean of divided gradients, in [0, 1).
        beta_2: The factor of the running mean of the squared gradient, in [0, 1).
        epsilon: The least root, >= 0.
        weight_decay: The share of a parameter that an update subtracts at rate 1, >= 0.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> from kopt.schedules import Linear
        >>> from kopt.training import minimize
        >>> minimize(lambda w: (w - 3) ** 2, 0, ADOPT(), rate=Linear(0.1), steps=500).parameters.round(2)
        np.float32(3.0)

    Source:
        Taniguchi et al., ADOPT: Modified Adam Can Converge with Any beta2 with the Optimal Rate, 2024, algorithm 2 with
        the limit of its experiments, as optax and the authors' first code. Others end up to so far from it after 200
        updates at rate 0.01, in which numbers move by 1.2: pytorch_optimizer, whose limit is count ** 0.25, 0.01; the
        authors' later code, which has no limit but a large epsilon at first, 1.1.
    """

    beta_1: Number = 0.9
    beta_2: Number = 0.9999
    epsilon: Number = 1e-6
    weight_decay: Number = 0.0
    keeps_infinity = True
    packs = True

    def check(self) -> None:
        require_factors(beta_1=self.beta_1, beta_2=self.beta_2)
        require_sizes(epsilon=self.epsilon, weight_decay=self.weight_decay)

    def init_one(self, parameter: Tensor) -> TensorState:
        return {"momentum": ops.zeros_like(parameter), "velocity": ops.zeros_like(parameter)}

    def update_one(
        self, gradient: Tensor, state: TensorState, parameter: Tensor, rate: Scalar, count: Scalar
    ) -> tuple[Tensor, TensorState]:
        past = ops.cast(count, "float64") - 1
        limit = cast(ops.power(past, 0.25), parameter)  # 0 at the first update: no step
        root = ops.maximum(ops.sqrt(state["velocity"]), positive(self.epsilon, parameter))
        divided = ops.maximum(ops.minimum(gradient / root, limit), -limit)
        momentum = running_mean(state["momentum"], divided, self.beta_1)
        factor = self.beta_2 * ops.cast(ops.greater(past, 0), "float64")  # the first square is the mean
        velocity = running_mean(state["velocity"], ops.square(gradient), factor)
        state = {"momentum": momentum, "velocity": velocity}
        return decayed(momentum * -rate, parameter, self.weight_decay, rate), state
