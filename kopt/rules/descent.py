"""Gradient descent, plain and with momentum."""

from keras import ops

from kopt.rules.base import Elementwise, TensorState, cast, registry
from kopt.rules.moments import require_factors
from kopt.values.fields import Number
from kopt.values.types import Scalar, Tensor

__all__ = ["GradientDescent", "Momentum", "Nesterov"]


@registry.register
class GradientDescent(Elementwise):
    """A step against the gradient.

    update = -rate * gradient. It is full-batch, mini-batch or stochastic descent by the examples of the gradient.

    Example:
        >>> from kopt.training import minimize
        >>> minimize(lambda w: (w - 3) ** 2, 0, GradientDescent(), rate=0.1, steps=100).parameters.round(4)
        np.float32(3.0)

    Source:
        Cauchy, Methode generale pour la resolution des systemes d'equations simultanees, 1847.
    """

    usual_rate = 0.01
    keeps_infinity = True
    packs = True

    def update_one(
        self, gradient: Tensor, state: TensorState, parameter: Tensor, rate: Scalar, count: Scalar
    ) -> tuple[Tensor, TensorState]:
        return gradient * -rate, state


@registry.register
class Momentum(Elementwise):
    """Gradient descent with heavy-ball momentum.

    velocity = momentum * velocity - rate * gradient; update = velocity. Faster along long valleys.

    Args:
        momentum: The factor of the last velocity, in [0, 1).

    Raises:
        ValueError: When the momentum is out of range.

    Example:
        >>> from kopt.training import minimize
        >>> minimize(lambda w: (w - 3) ** 2, 0, Momentum(), rate=0.01, steps=300).parameters.round(4)
        np.float32(3.0)

    Source:
        Polyak, Some methods of speeding up the convergence of iteration methods, 1964; in the form of Sutskever et al.,
        On the importance of initialization and momentum in deep learning, 2013, equations 1 and 2.
    """

    momentum: Number = 0.9
    usual_rate = 0.01
    keeps_infinity = True
    packs = True

    def check(self) -> None:
        require_factors(momentum=self.momentum)

    def init_one(self, parameter: Tensor) -> TensorState:
        return {"velocity": ops.zeros_like(parameter)}

    def update_one(
        self, gradient: Tensor, state: TensorState, parameter: Tensor, rate: Scalar, count: Scalar
    ) -> tuple[Tensor, TensorState]:
        velocity = state["velocity"] * cast(self.momentum, parameter) - gradient * rate
        return velocity, {"velocity": velocity}


@registry.register
class Nesterov(Momentum):
    """Gradient descent with Nesterov's momentum.

    velocity = momentum * velocity - rate * gradient; update = momentum * velocity - rate * gradient. As `Momentum`,
    with the newest gradient counted once more, which damps oscillation.

    Args:
        momentum: The factor of the last velocity, in [0, 1).

    Raises:
        ValueError: When the momentum is out of range.

    Example:
        >>> from kopt.training import minimize
        >>> minimize(lambda w: (w - 3) ** 2, 0, Nesterov(), rate=0.01, steps=300).parameters.round(4)
        np.float32(3.0)

    Source:
        Nesterov, A method for solving the convex programming problem with convergence rate O(1/k^2), 1983; as
        `keras.optimizers.SGD(nesterov=True)`.
    """

    def update_one(
        self, gradient: Tensor, state: TensorState, parameter: Tensor, rate: Scalar, count: Scalar
    ) -> tuple[Tensor, TensorState]:
        velocity, state = super().update_one(gradient, state, parameter, rate, count)
        return velocity * cast(self.momentum, parameter) - gradient * rate, state
