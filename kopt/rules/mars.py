"""AdamW on gradients whose variance is reduced by the previous one: MARS."""

from collections.abc import Sequence

from keras import ops

from kopt.rules.base import Rule, TensorState, cast, one_by_one, registry, running_mean
from kopt.rules.moments import adapted, decayed, require_factors, require_sizes
from kopt.rules.norms import length
from kopt.values.fields import Number
from kopt.values.types import Nest, Scalar, Tensor

__all__ = ["MARS"]


@registry.register
class MARS(Rule):
    """AdamW on gradients that are corrected by their change since the previous update, and clipped.

    corrected = gradient + gamma * beta_1 / (1 - beta_1) * (gradient - previous gradient), where the first previous one
    is 0; c = corrected / max(1, norm of corrected), for each tensor; m = beta_1 * m + (1 - beta_1) * c;
    v = beta_2 * v + (1 - beta_2) * c ** 2; update = -rate * (m / (1 - beta_1 ** count) /
    (sqrt(v / (1 - beta_2 ** count)) + epsilon) + weight_decay * parameter). For language models and large batches; the
    usual rate is 3e-3.

    It is the variant MARS-AdamW with the approximate gradient: the previous gradient is that of the previous batch, so
    that an update needs no second pass. The variants of the paper by Lion and Shampoo, and the exact gradient, are not
    here. All parameters are treated so; the authors' code gives AdamW to those of one dimension.

    Args:
        beta_1: The factor of the running mean of corrected gradients, in [0, 1).
        beta_2: The factor of the running mean of their squares, in [0, 1).
        gamma: The strength of the correction, >= 0; at 0 it is AdamW with clipped tensors.
        epsilon: Added to the root after its correction, >= 0.
        weight_decay: The share of a parameter that an update subtracts at rate 1, >= 0.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> from kopt.training import minimize
        >>> minimize(lambda w: (w - 3) ** 2, 0, MARS(), rate=0.1, steps=500).parameters.round(3)
        np.float32(3.0)

    Source:
        Yuan et al., MARS: Unleashing the Power of Variance Reduction for Training Large Models, 2024, algorithm 2 with
        equation 3.5, as the authors' code with optimize_1d=True. pytorch_optimizer adds epsilon before the correction,
        and ends up to 5e-4 from it after 200 updates at rate 0.01, in which numbers move by 1; with AdamW for one
        dimension, 0.3.
    """

    beta_1: Number = 0.95
    beta_2: Number = 0.99
    gamma: Number = 0.025
    epsilon: Number = 1e-8
    weight_decay: Number = 0.0
    usual_rate = 3e-3
    keeps_infinity = True
    counts_each = True

    def check(self) -> None:
        require_factors(beta_1=self.beta_1, beta_2=self.beta_2)
        require_sizes(gamma=self.gamma, epsilon=self.epsilon, weight_decay=self.weight_decay)

    def init(self, parameters: Sequence[Tensor]) -> list[TensorState]:
        names = ("momentum", "velocity", "previous")
        return [{name: ops.zeros_like(parameter) for name in names} for parameter in parameters]

    def update(
        self, gradients: Sequence[Tensor], state: Nest, parameters: Sequence[Tensor], rate: Scalar, count: Scalar
    ) -> tuple[list[Tensor], list[TensorState]]:
        return one_by_one(self.update_one, gradients, state, parameters, rate, count)

    def corrected(self, gradient: Tensor, previous: Tensor) -> Tensor:
        """Return the corrected gradient, with a norm of 1 at most."""
        strength = cast(self.gamma * self.beta_1 / (1 - self.beta_1), gradient)
        found = gradient + (gradient - previous) * strength
        return found * ops.cast(1 / ops.maximum(length(found), 1.0), found.dtype)

    def update_one(
        self, gradient: Tensor, state: TensorState, parameter: Tensor, rate: Scalar, count: Scalar
    ) -> tuple[Tensor, TensorState]:
        """Return the update to add to one parameter, and its next state."""
        corrected = self.corrected(gradient, state["previous"])
        momentum = running_mean(state["momentum"], corrected, self.beta_1)
        velocity = running_mean(state["velocity"], ops.square(corrected), self.beta_2)
        update = adapted(momentum, velocity, (self.beta_1, self.beta_2), self.epsilon, rate, count)
        state = {"momentum": momentum, "velocity": velocity, "previous": gradient}
        return decayed(update, parameter, self.weight_decay, rate), state
