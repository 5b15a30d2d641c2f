"""Steps by signs: SignSGD and Lion."""

from keras import ops

from kopt.rules.base import Elementwise, TensorState, registry, running_mean
from kopt.rules.moments import decayed, require_factors, require_sizes
from kopt.values.fields import Number
from kopt.values.types import Scalar, Tensor

__all__ = ["Lion", "SignSGD"]


@registry.register
class SignSGD(Elementwise):
    """A step of the same size for every number, against the sign of its gradient.

    update = -rate * sign(gradient). It keeps no state. For gradients of very different sizes, or noise with rare large
    values; the usual rate is 1e-4. With momentum (Signum) it is `Lion(beta, beta)`.

    Example:
        >>> from kopt.schedules import Linear
        >>> from kopt.training import minimize
        >>> minimize(lambda w: (w - 3) ** 2, 0, SignSGD(), rate=Linear(0.1), steps=200).parameters.round(2)
        np.float32(3.0)

    Source:
        Bernstein et al., signSGD: Compressed Optimisation for Non-Convex Problems, 2018, algorithm 1; as
        `optax.sign_sgd`.
    """

    usual_rate = 1e-4
    packs = True

    def update_one(
        self, gradient: Tensor, state: TensorState, parameter: Tensor, rate: Scalar, count: Scalar
    ) -> tuple[Tensor, TensorState]:
        return ops.sign(gradient) * -rate, state


@registry.register
class Lion(Elementwise):
    """A step by the sign of a mean of gradients, found by a search over programs.

    update = -rate * (sign(beta_1 * m + (1 - beta_1) * gradient) + weight_decay * parameter); then
    m = beta_2 * m + (1 - beta_2) * gradient. It keeps half the state of Adam. The usual rate is 1e-4, 3 to 10 times
    smaller than Adam's, with a weight decay as many times larger. With equal factors it is Signum.

    Args:
        beta_1: The share of the mean in the step, in [0, 1).
        beta_2: The factor of the running mean of the gradient, in [0, 1).
        weight_decay: The share of a parameter that an update subtracts at rate 1, >= 0.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> from kopt.schedules import Linear
        >>> from kopt.training import minimize
        >>> minimize(lambda w: (w - 3) ** 2, 0, Lion(), rate=Linear(0.1), steps=200).parameters.round(2)
        np.float32(3.0)

    Source:
        Chen et al., Symbolic Discovery of Optimization Algorithms, 2023, algorithm 2, with the defaults of the authors'
        code (google/automl); optax has weight_decay=0.001.
    """

    beta_1: Number = 0.9
    beta_2: Number = 0.99
    weight_decay: Number = 0.0
    usual_rate = 1e-4
    keeps_infinity = True
    packs = True

    def check(self) -> None:
        require_factors(beta_1=self.beta_1, beta_2=self.beta_2)
        require_sizes(weight_decay=self.weight_decay)

    def init_one(self, parameter: Tensor) -> TensorState:
        return {"momentum": ops.zeros_like(parameter)}

    def update_one(
        self, gradient: Tensor, state: TensorState, parameter: Tensor, rate: Scalar, count: Scalar
    ) -> tuple[Tensor, TensorState]:
        update = ops.sign(running_mean(state["momentum"], gradient, self.beta_1)) * -rate
        momentum = running_mean(state["momentum"], gradient, self.beta_2)
        return decayed(update, parameter, self.weight_decay, rate), {"momentum": momentum}
