"""Adam with Nesterov's momentum: NAdamW and Adan."""

from keras import ops

from kopt.rules.base import Elementwise, TensorState, cast, missing_share, registry, running_mean
from kopt.rules.moments import decayed, positive, require_factors, require_sizes, root_share
from kopt.values.fields import Number
from kopt.values.types import Scalar, Tensor

__all__ = ["Adan", "NAdamW"]


@registry.register
class NAdamW(Elementwise):
    """AdamW with Nesterov's momentum: the newest gradient counts once more.

    m = beta_1 * m + (1 - beta_1) * gradient; v = beta_2 * v + (1 - beta_2) * gradient ** 2;
    ahead = (beta_1 * m + (1 - beta_1) * gradient) / (1 - beta_1 ** count);
    update = -rate * (ahead / (sqrt(v / (1 - beta_2 ** count)) + epsilon) + weight_decay * parameter).
    The baseline of AlgoPerf, and a good default where AdamW is; the usual rate is 1e-3.

    Args:
        beta_1: The factor of the running mean of the gradient, in [0, 1).
        beta_2: The factor of the running mean of the squared gradient, in [0, 1).
        epsilon: Added to the root after its correction, >= 0.
        weight_decay: The share of a parameter that an update subtracts at rate 1, >= 0.
        corrected_ahead: Whether the bias of m in `ahead` is corrected for the next count, 1 - beta_1 ** (count + 1), as
            by Dozat and optax, or for this one, as in AlgoPerf's code.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> from kopt.training import minimize
        >>> minimize(lambda w: (w - 3) ** 2, 0, NAdamW(weight_decay=0), rate=0.1, steps=500).parameters.round(3)
        np.float32(3.0)

    Source:
        Dozat, Incorporating Nesterov Momentum into Adam, 2016, algorithm 2 with a constant beta_1, and the decay of
        AdamW, corrected as in AlgoPerf's code. Others end up to so far from it after 200 updates at rate 0.01, in which
        numbers move by 0.9: `optax.nadamw`, which is `corrected_ahead=True`, 0.005; from that one, `torch.optim.NAdam`,
        whose beta_1 grows from its half, 0.06; `keras.optimizers.Nadam`, whose beta_1 grows 250 times as fast, 0.03.
    """

    beta_1: Number = 0.9
    beta_2: Number = 0.999
    epsilon: Number = 1e-8
    weight_decay: Number = 1e-4
    corrected_ahead: bool = False
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
        momentum = running_mean(state["momentum"], gradient, self.beta_1)
        velocity = running_mean(state["velocity"], ops.square(gradient), self.beta_2)
        share = root_share(self.beta_2, count)
        of_mean = cast(share * self.beta_1 / missing_share(self.beta_1, count + int(self.corrected_ahead)), parameter)
        of_newest = cast(share * (1 - self.beta_1) / missing_share(self.beta_1, count), parameter)
        ahead = momentum * (of_mean * -rate) + gradient * (of_newest * -rate)
        update = ahead / (ops.sqrt(velocity) + positive(self.epsilon * share, parameter))
        state = {"momentum": momentum, "velocity": velocity}
        return decayed(update, parameter, self.weight_decay, rate), state


@registry.register
class Adan(Elementwise):
    """Adam with Nesterov's momentum by differences of gradients.

    difference = gradient - previous gradient, 0 at first; m = beta_1 * m + (1 - beta_1) * gradient;
    d = beta_2 * d + (1 - beta_2) * difference; n = beta_3 * n + (1 - beta_3) * (gradient + beta_2 * difference) ** 2;
    ahead = m / (1 - beta_1 ** count) + beta_2 * d / (1 - beta_2 ** count);
    step = ahead / (sqrt(n / (1 - beta_3 ** count)) + epsilon);
    new parameter = (parameter - rate * step) / (1 + rate * weight_decay). Made for vision transformers and large
    batches, where it takes larger rates than AdamW; the usual rate is 1e-3. It keeps four tensors a parameter.

    Args:
        beta_1: The factor of the running mean of the gradient, in [0, 1); the paper's 1 - beta_1, as in the code.
        beta_2: The factor of the running mean of the differences, and their weight in a step, in [0, 1).
        beta_3: The factor of the running mean of the square, in [0, 1).
        epsilon: Added to the root after its correction, >= 0.
        weight_decay: What a parameter is divided by is 1 + rate * weight_decay, >= 0.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> from kopt.training import minimize
        >>> minimize(lambda w: (w - 3) ** 2, 0, Adan(), rate=0.1, steps=500).parameters.round(2)
        np.float32(3.0)

    Source:
        Xie et al., Adan: Adaptive Nesterov Momentum Algorithm for Faster Optimizing Deep Models, 2022, algorithm 1, as
        the authors' code and pytorch_optimizer. optax weighs differences by 1 - beta_2 in place of beta_2, and ends up
        to 0.24 from it after 200 updates at rate 0.01, in which numbers move by 0.9.
    """

    beta_1: Number = 0.98
    beta_2: Number = 0.92
    beta_3: Number = 0.99
    epsilon: Number = 1e-8
    weight_decay: Number = 0.0
    keeps_infinity = True
    packs = True

    def check(self) -> None:
        require_factors(beta_1=self.beta_1, beta_2=self.beta_2, beta_3=self.beta_3)
        require_sizes(epsilon=self.epsilon, weight_decay=self.weight_decay)

    def init_one(self, parameter: Tensor) -> TensorState:
        return {name: ops.zeros_like(parameter) for name in ("momentum", "difference", "velocity", "previous")}

    def update_one(
        self, gradient: Tensor, state: TensorState, parameter: Tensor, rate: Scalar, count: Scalar
    ) -> tuple[Tensor, TensorState]:
        change = gradient - state["previous"]
        known = ops.cast(ops.greater(count, 1), "float64")  # 0 at the first gradient, which has no previous one
        momentum = running_mean(state["momentum"], gradient, self.beta_1)
        newest = change * cast((1 - self.beta_2) * known, parameter)
        difference = state["difference"] * cast(self.beta_2, parameter) + newest
        ahead = gradient + change * cast(self.beta_2 * known, parameter)
        velocity = running_mean(state["velocity"], ops.square(ahead), self.beta_3)
        share = root_share(self.beta_3, count)
        of_mean = cast(share / missing_share(self.beta_1, count), parameter)
        of_difference = cast(share * self.beta_2 / missing_share(self.beta_2, count), parameter)
        step = momentum * (of_mean * -rate) + difference * (of_difference * -rate)
        update = step / (ops.sqrt(velocity) + positive(self.epsilon * share, parameter))
        return self.shrunk(update, parameter, rate), {
            "momentum": momentum,
            "difference": difference,
            "velocity": velocity,
            "previous": gradient,
        }

    def shrunk(self, update: Tensor, parameter: Tensor, rate: Scalar) -> Tensor:
        """Return the update to (parameter + update) / (1 + rate * weight_decay)."""
        if isinstance(self.weight_decay, float) and self.weight_decay == 0:
            return update
        share = cast(self.weight_decay, parameter) * rate
        return (update - parameter * share) / (1 + share)
