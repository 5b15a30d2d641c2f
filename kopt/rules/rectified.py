"""Adam whose steps are as certain as its second moment: RAdam."""

from keras import ops

from kopt.rules.base import Elementwise, TensorState, cast, missing_share, registry, running_mean
from kopt.rules.moments import decayed, positive, require_factors, require_sizes
from kopt.values.fields import Number
from kopt.values.types import Scalar, Tensor

__all__ = ["RAdam"]

LONG_ENOUGH = 5  # gradients that the mean of squares must stand for before steps are divided by its root


@registry.register
class RAdam(Elementwise):
    """Rectified Adam: steps are small while the mean of squares stands for few gradients, as by a warm-up.

    m = beta_1 * m + (1 - beta_1) * gradient; v = beta_2 * v + (1 - beta_2) * gradient ** 2;
    mean = m / (1 - beta_1 ** count); longest = 2 / (1 - beta_2) - 1;
    length = longest - 2 * count * beta_2 ** count / (1 - beta_2 ** count). While length <= 5, update = -rate * mean, a
    step of momentum without adaption; then
    r = sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)) and
    update = -rate * r * sqrt(1 - beta_2 ** count) * mean / (sqrt(v) + epsilon). rate * weight_decay * parameter is
    subtracted from each. For training without a warm-up; the usual rate is 1e-3.

    Args:
        beta_1: The factor of the running mean of the gradient, in [0, 1).
        beta_2: The factor of the running mean of the squared gradient, in [0, 1); up to 2/3 no step is adapted.
        epsilon: Added to the root before its correction, >= 0.
        weight_decay: The share of a parameter that an update subtracts at rate 1, >= 0.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> from kopt.training import minimize
        >>> minimize(lambda w: (w - 3) ** 2, 0, RAdam(), rate=0.1, steps=500).parameters.round(3)
        np.float32(3.0)

    Source:
        Liu et al., On the Variance of the Adaptive Learning Rate and Beyond, 2020, algorithm 2, as `torch.optim.RAdam`.
        The authors' code makes no update while length <= 5, and ends up to 0.8 from it after 200 updates at rate 0.01,
        for gradients of size 100 make those first steps long. optax adds epsilon after the correction, 2.5e-5, and
        computes length in float32, which is 1e-3 off for beta_2=0.999.
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
        return {"momentum": ops.zeros_like(parameter), "velocity": ops.zeros_like(parameter)}

    def rectification(self, count: Scalar) -> tuple[Tensor, Tensor]:
        """Return whether steps are adapted, and r * sqrt(1 - beta_2 ** count), 1 where not, in float64."""
        beta, time = ops.convert_to_tensor(self.beta_2, "float64"), ops.cast(count, "float64")
        share = missing_share(beta, count)
        longest = 2 / (1 - beta) - 1
        length = longest - 2 * time * (1 - share) / share
        squared = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
        adapted = ops.greater(length, LONG_ENOUGH)
        return adapted, ops.where(adapted, ops.sqrt(squared * share), ops.ones_like(squared))

    def update_one(
        self, gradient: Tensor, state: TensorState, parameter: Tensor, rate: Scalar, count: Scalar
    ) -> tuple[Tensor, TensorState]:
        momentum = running_mean(state["momentum"], gradient, self.beta_1)
        velocity = running_mean(state["velocity"], ops.square(gradient), self.beta_2)
        adapted, share = self.rectification(count)
        root = ops.sqrt(velocity) + positive(self.epsilon, parameter)
        size = ops.where(adapted, root, ops.ones_like(root))
        update = momentum * (cast(share / missing_share(self.beta_1, count), parameter) * -rate) / size
        state = {"momentum": momentum, "velocity": velocity}
        return decayed(update, parameter, self.weight_decay, rate), state
