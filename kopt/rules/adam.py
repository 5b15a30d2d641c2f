"""Adam, and Adam with decoupled weight decay."""

from keras import ops

from kopt.rules.base import Elementwise, TensorState, cast, missing_share, registry, running_mean
from kopt.rules.moments import decayed, positive, require_factors, require_sizes, root_share
from kopt.values.fields import Number
from kopt.values.types import Scalar, Tensor

__all__ = ["Adam", "AdamW"]


@registry.register
class Adam(Elementwise):
    """Steps scaled by running means of the gradient and of its square.

    m = beta_1 * m + (1 - beta_1) * gradient; v = beta_2 * v + (1 - beta_2) * gradient ** 2;
    update = -rate * sqrt(1 - beta_2 ** count) / (1 - beta_1 ** count) * m / (sqrt(v) + epsilon).
    With `corrected=False`, the textbook form without bias correction: update = -rate * m / (sqrt(v) + epsilon).
    A good default; the usual rate is 1e-3.

    Args:
        beta_1: The factor of the running mean of the gradient, in [0, 1).
        beta_2: The factor of the running mean of the squared gradient, in [0, 1).
        epsilon: Added to the root, >= 0: the paper's epsilon-hat, as in Keras; PyTorch and optax add theirs after the
            correction.
        corrected: Whether to correct the bias of m and v, which start at zero.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> from kopt.training import minimize
        >>> minimize(lambda w: (w - 3) ** 2, 0, Adam(), rate=0.1, steps=500).parameters.round(3)
        np.float32(3.0)

    Source:
        Kingma and Ba, Adam, 2015, algorithm 1 in the order of section 2.
    """

    beta_1: Number = 0.9
    beta_2: Number = 0.999
    epsilon: Number = 1e-7
    corrected: bool = True
    keeps_infinity = True
    packs = True

    def check(self) -> None:
        require_factors(beta_1=self.beta_1, beta_2=self.beta_2)
        require_sizes(epsilon=self.epsilon)

    def correction(self, count: Scalar) -> Tensor:
        """Return sqrt(1 - beta_2 ** count) / (1 - beta_1 ** count), in float64."""
        return root_share(self.beta_2, count) / missing_share(self.beta_1, count)

    def init_one(self, parameter: Tensor) -> TensorState:
        return {"momentum": ops.zeros_like(parameter), "velocity": ops.zeros_like(parameter)}

    def update_one(
        self, gradient: Tensor, state: TensorState, parameter: Tensor, rate: Scalar, count: Scalar
    ) -> tuple[Tensor, TensorState]:
        momentum = running_mean(state["momentum"], gradient, self.beta_1)
        velocity = running_mean(state["velocity"], ops.square(gradient), self.beta_2)
        if self.corrected:
            rate = rate * cast(self.correction(count), parameter)
        update = momentum * -rate / (ops.sqrt(velocity) + positive(self.epsilon, parameter))
        return update, {"momentum": momentum, "velocity": velocity}


@registry.register
class AdamW(Adam):
    """Adam with decoupled weight decay.

    update = Adam's update - rate * weight_decay * parameter. The decay does not depend on the size of the
    gradient, as that of an L2 penalty does.

    Args:
        beta_1: The factor of the running mean of the gradient, in [0, 1).
        beta_2: The factor of the running mean of the squared gradient, in [0, 1).
        epsilon: Added to the root, >= 0.
        corrected: Whether to correct the bias of m and v, which start at zero.
        weight_decay: The share of a parameter that an update subtracts at rate 1, >= 0.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> from kopt.training import minimize
        >>> minimize(lambda w: (w - 3) ** 2, 0, AdamW(weight_decay=0), rate=0.1, steps=500).parameters.round(3)
        np.float32(3.0)

    Source:
        Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019, algorithm 2.
    """

    weight_decay: Number = 0.004

    def check(self) -> None:
        super().check()
        require_sizes(weight_decay=self.weight_decay)

    def update_one(
        self, gradient: Tensor, state: TensorState, parameter: Tensor, rate: Scalar, count: Scalar
    ) -> tuple[Tensor, TensorState]:
        update, state = super().update_one(gradient, state, parameter, rate, count)
        return decayed(update, parameter, self.weight_decay, rate), state
