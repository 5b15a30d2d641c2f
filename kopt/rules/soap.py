"""SOAP: Adam in the eigenbases of Shampoo's statistics."""

import tensorflow as tf
from keras import ops

from kopt.rules.axes import OfTensors, along, axis_of, finite_or, gram, lazily, working_dtype
from kopt.rules.base import TensorState, cast, missing_share, registry, running_mean
from kopt.rules.moments import positive, require_factors, require_sizes
from kopt.values.checks import require
from kopt.values.fields import Number
from kopt.values.types import Nest, Scalar, Tensor

__all__ = ["SOAP"]

MATRICES = ("statistics", "bases")
RIDGE = 1e-4  # of the trace: it orders the eigenvectors of 0, which are arbitrary without it


@registry.register
class SOAP(OfTensors):
    """Adam in slowly turning eigenbases of the gradient's second moments along each axis.

    For each axis of a tensor, statistics = shampoo_beta * statistics + (1 - shampoo_beta) * gradient gradient', and Q
    are its eigenvectors. With g the gradient turned by all Q: m = beta_1 * m + (1 - beta_1) * gradient;
    v = beta_2 * v + (1 - beta_2) * g ** 2; s = m turned / (sqrt(v) + epsilon), turned back; then
    update = -rate * sqrt(1 - beta_2 ** t) / (1 - beta_1 ** t) * s with t = count - 1, and the decay of the new
    parameter. The first update is 0: it only measures. Each Q is found from the first gradient, and turns on by one
    step of power iteration (a QR decomposition) each `every` updates, after the update.

    Use it for matrices and convolutions when gradients are much more expensive than updates; the usual rate is 3e-3. An
    update costs two products with a matrix for each axis, and memory two matrices for each. A gradient whose squares
    overflow leaves the statistics as they are. XLA takes about a second to compile the two decompositions of an axis.

    Args:
        beta_1: The factor of the running mean of the gradient, in [0, 1).
        beta_2: The factor of the running mean of the squared gradient, in [0, 1).
        shampoo_beta: The factor of the running means of the statistics, in [0, 1).
        epsilon: Added to the root, >= 0.
        weight_decay: The share of a parameter that an update subtracts at rate 1, >= 0.
        every: Number of updates from one turn of the bases to the next, >= 1.
        largest: The longest axis that has a basis, >= 1; a longer one is not turned.
        vectors: Whether the only axis of a vector has a basis.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> from keras import ops
        >>> from kopt.training import minimize
        >>> goal = ops.array([[3.0, 1.0], [0.0, 2.0]])
        >>> loss = lambda w: ops.sum((w - goal) ** 2)
        >>> found = minimize(loss, ops.zeros((2, 2)).numpy(), SOAP(weight_decay=0), rate=0.05, steps=500)
        >>> bool(abs(found.parameters - goal).numpy().max() < 0.02)
        True

    Source:
        Vyas et al., SOAP: Improving and Stabilizing Shampoo using Adam, 2024, algorithm 3, as the authors' code and
        pytorch_optimizer have it: the first update, the order of the decay, each axis for itself. There the
        eigenvectors of 0, of which a first gradient has many, are as a library returns them. Here a ridge of 1e-4 of
        the trace, falling from the first row to the last, orders them: after 200 steps 5e-3 off pytorch_optimizer on a
        convolution without such, 0.05 to 0.16 off on matrices with some; 6e-4 at most when that has the ridge too.
    """

    beta_1: Number = 0.95
    beta_2: Number = 0.95
    shampoo_beta: Number = 0.95
    epsilon: Number = 1e-8
    weight_decay: Number = 0.01
    every: int = 10
    largest: int = 10000
    vectors: bool = False
    usual_rate = 3e-3
    rounding = 100.0

    def check(self) -> None:
        require_factors(beta_1=self.beta_1, beta_2=self.beta_2, shampoo_beta=self.shampoo_beta)
        require_sizes(epsilon=self.epsilon, weight_decay=self.weight_decay)
        require(self.every >= 1, "every", "must be >= 1", self.every)
        require(self.largest >= 1, "largest", "must be >= 1", self.largest)

    def axes(self, parameter: Tensor) -> list[int]:
        """Return the axes that have a basis; that of an axis of one is 1."""
        shape = tuple(parameter.shape)
        several = len(shape) >= (1 if self.vectors else 2) and 0 not in shape
        return [axis for axis, size in enumerate(shape) if 1 < size <= self.largest] if several else []

    def init_one(self, parameter: Tensor) -> Nest:
        sizes = {f"axis_{axis}": parameter.shape[axis] for axis in self.axes(parameter)}
        dtype = working_dtype(parameter)
        return {
            "momentum": ops.zeros_like(parameter),
            "velocity": ops.zeros_like(parameter),
            "statistics": {name: tf.zeros((size, size), dtype) for name, size in sizes.items()},
            "bases": {name: tf.eye(size, dtype=dtype) for name, size in sizes.items()},
        }

    def update_one(
        self, gradient: Tensor, state: Nest, parameter: Tensor, rate: Scalar, count: Scalar
    ) -> tuple[Tensor, Nest]:
        dtype = working_dtype(parameter)
        gradient, *before = (ops.cast(one, dtype) for one in (gradient, state["momentum"], state["velocity"]))
        statistics, bases = ({name: ops.cast(one, dtype) for name, one in state[kind].items()} for kind in MATRICES)
        first, time = count == 1, ops.maximum(count - 1, 1)
        momentum = running_mean(before[0], gradient, self.beta_1)
        velocity = running_mean(before[1], ops.square(turned(gradient, bases)), self.beta_2)
        direction = turned(momentum, bases) / (ops.sqrt(velocity) + positive(self.epsilon, velocity))
        correction = ops.sqrt(missing_share(self.beta_2, time)) / missing_share(self.beta_1, time)
        step = ops.cast(turned(direction, bases, back=True) * cast(correction, velocity), parameter.dtype) * rate
        decay = (parameter - step) * (cast(self.weight_decay, parameter) * rate)
        momentum, velocity = (ops.where(first, old, new) for old, new in zip(before, (momentum, velocity)))
        for name, old in statistics.items():
            statistics[name] = finite_or(running_mean(old, gram(gradient, axis_of(name)), self.shampoo_beta), old)
        if bases:
            bases, velocity = self.turn(statistics, bases, velocity, count)
        moments = (ops.cast(moment, parameter.dtype) for moment in (momentum, velocity))
        after = {"momentum": next(moments), "velocity": next(moments), "statistics": statistics, "bases": bases}
        return ops.where(first, ops.zeros_like(parameter), -step - decay), after

    def turn(
        self, statistics: TensorState, bases: TensorState, velocity: Tensor, count: Scalar
    ) -> tuple[TensorState, Tensor]:
        """Return the bases after an update, and the velocity in the order of these."""

        def start() -> tuple[TensorState, Tensor]:
            return {name: eigenvectors(shares(matrix)) for name, matrix in statistics.items()}, velocity

        def turn_on() -> tuple[TensorState, Tensor]:
            found, in_order = {}, velocity
            for name, basis in bases.items():
                product = shares(statistics[name]) @ basis
                order = tf.argsort(tf.reduce_sum(basis * product, 0), direction="DESCENDING")
                found[name] = tf.linalg.qr(tf.gather(product, order, axis=1))[0]
                in_order = tf.gather(in_order, order, axis=axis_of(name))
            return found, in_order

        due = (count > 1) & ((count - 1) % self.every == 0)
        found: tuple[TensorState, Tensor] = lazily(count == 1, start, lazily(due, turn_on, (bases, velocity)))
        return found


def turned(tensor: Tensor, bases: TensorState, *, back: bool = False) -> Tensor:
    """Turn a tensor along its axes into bases, or back."""
    for name, basis in bases.items():
        tensor = along(tensor, basis, axis_of(name), back=back)
    return tensor


def shares(matrix: Tensor) -> Tensor:
    """Return a matrix with trace 1, so that no product of it overflows; zeros as they are."""
    return matrix / ops.maximum(tf.linalg.trace(matrix), cast(1e-37, matrix))


def eigenvectors(matrix: Tensor) -> Tensor:
    """Return the eigenvectors of a symmetric matrix of trace 1, those of the largest eigenvalues first."""
    size = matrix.shape[0]
    slope = tf.linspace(cast(1.0, matrix), cast(1.0 / size, matrix), size)
    return tf.reverse(tf.linalg.eigh(matrix + tf.linalg.diag(slope * cast(RIDGE, matrix)))[1], [1])
