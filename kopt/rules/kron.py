"""PSGD-Kron: momentum whitened by factors along each axis that are fitted to it."""

import math
from typing import Literal

import tensorflow as tf
from keras import ops

from kopt.rules.axes import OfTensors, along, axis_of, gram, lazily, working_dtype
from kopt.rules.base import TensorState, cast, missing_share, registry, running_mean
from kopt.rules.low_rank import random_signs
from kopt.rules.moments import require_factors, require_sizes
from kopt.rules.norms import mean_length
from kopt.values.checks import require
from kopt.values.fields import Number
from kopt.values.types import Nest, Scalar, Tensor

__all__ = ["Kron"]

APART = 0x9E3779B1  # how far the signs of two seeds are apart, in updates


@registry.register
class Kron(OfTensors):
    """Momentum whitened by triangular factors along each axis, which are fitted to it by gradient descent (PSGD).

    Each axis of a tensor has a factor Q: an upper triangle, or a vector, which stands for a diagonal. At first it is
    precondition_scale ** (1 / axes) * identity. With m = momentum * m + (1 - momentum) * gradient and
    h = m / (1 - momentum ** count): update = -rate * (d * min(1, clip / (|d| + 1e-6)) + weight_decay * parameter), d
    being h multiplied by Q' Q along each axis, and |d| the root of its mean square. Only tensors with two axes or more
    decay. Before, when it is due, each Q moves toward the one that makes d white: with a = h multiplied by all Q, and
    b = v multiplied by all inverse Q', v random signs, Q = Q - precondition_rate * upper(A - B) Q / |A + B|, where A
    and B are the sums of the outer products of a and b along the axis, upper() is the upper triangle, and |A + B| a
    lower bound of the largest eigenvalue; of a vector Q all that is the diagonal, and its largest number. A gradient of
    zeros, or one that is not finite, leaves Q as it is.

    Q moves at each of the first `flat` updates; in the `falling` updates after, the updates from one move to the next
    become more, 2, 3, ... up to `every`, exponentially. v depends on the seed, the count and the shape alone.

    Use it for matrices and convolutions when gradients are much more expensive than updates. d has a mean square of
    about 1, as Adam's has, and the usual rate is 1e-3. An update costs two products with a matrix for each axis, a move
    of Q four more and a triangular system. Validation loss after 300 updates on the digits, best of the rates 1e-3,
    3e-3 and 1e-2, which was the last for all, median of three seeds: 0.041 of a perceptron and 0.064 of a convolutional
    net, of SOAP 0.066 and 0.100, of Adam 0.114 and 0.142.

    Args:
        momentum: The factor of the running mean of the gradient, in [0, 1).
        weight_decay: The share of a parameter with two axes or more that an update subtracts at rate 1, >= 0.
        precondition_rate: The step of a move of Q, in [0, 1).
        precondition_scale: What multiplies a gradient before Q has moved, by its root, > 0.
        clip: The largest root of the mean square of d, > 0.
        every: Number of updates from one move of Q to the next in the end, >= 1.
        flat: Number of first updates at each of which Q moves, >= 0.
        falling: Number of updates after these until it moves only each `every` updates, >= 0.
        largest: The longest axis that has a triangle, >= 1; a longer one has a vector.
        vectors: Whether the only axis of a vector has a triangle.
        memory_save_mode: Which axes have vectors beside those too long: "none"; "one_diag", the longest, of equal ones
            the last; "smart_one_diag", the longest when no other is as long; "all_diag", all.
        of_momentum: Whether Q is fitted to h, else to the gradient.
        seed: The seed of the signs, >= 0.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> from keras import ops
        >>> from kopt.schedules import Linear
        >>> from kopt.training import minimize
        >>> goal = ops.array([[3.0, 1.0], [0.0, 2.0]])
        >>> loss = lambda w: ops.sum((w - goal) ** 2)
        >>> found = minimize(loss, ops.zeros((2, 2)).numpy(), Kron(), rate=Linear(0.05), steps=500)
        >>> bool(abs(found.parameters - goal).numpy().max() < 0.02)
        True

    Source:
        Li, Preconditioned Stochastic Gradient Descent, 2018, on the group of Kronecker products of triangles of Li,
        Preconditioner on Matrix Lie Group for SGD, 2019, as Kron of pytorch_optimizer has them: 1.2e-6 off that at most
        after 200 steps in five settings, when its noise is these signs. It draws normal numbers, which have the same
        covariance: with these the losses above are 0.045 and 0.079. It counts updates between moves of Q from the last
        move: 1434 moves in 10,000 updates, here 1428. It draws at which moves the Q of a tensor get the same largest
        number; here they do at all, which changes an update by rounding alone. Where gradients stay 0 its Q grows
        without bound. Its precondition_rate, precondition_scale and clip are fixed, at the defaults of here.
    """

    momentum: Number = 0.9
    weight_decay: Number = 0.0
    precondition_rate: Number = 0.1
    precondition_scale: Number = 1.0
    clip: Number = 1.1
    every: int = 34
    flat: int = 500
    falling: int = 3500
    largest: int = 8192
    vectors: bool = False
    memory_save_mode: Literal["none", "one_diag", "smart_one_diag", "all_diag"] = "none"
    of_momentum: bool = True
    seed: int = 0
    usual_rate = 1e-3
    rounding = 10.0

    def check(self) -> None:
        require_factors(momentum=self.momentum, precondition_rate=self.precondition_rate)
        require_sizes(weight_decay=self.weight_decay)
        for name, number in {"precondition_scale": self.precondition_scale, "clip": self.clip}.items():
            require(number > 0, name, "must be > 0", number)
        for name, count in {"every": self.every, "largest": self.largest}.items():
            require(count >= 1, name, "must be >= 1", count)
        require_sizes(flat=self.flat, falling=self.falling, seed=self.seed)

    def diagonal(self, shape: tuple[int, ...]) -> list[bool]:
        """Return for each axis of a tensor whether its factor is a vector."""
        longest = len(shape) - 1 - shape[::-1].index(max(shape))
        chosen: dict[str, list[int]] = {
            "none": [],
            "one_diag": [longest],
            "smart_one_diag": [longest] if len(shape) > 1 and shape.count(max(shape)) == 1 else [],
            "all_diag": list(range(len(shape))),
        }
        alone = len(shape) == 1 and not self.vectors
        given = chosen[self.memory_save_mode]
        return [alone or size == 1 or size > self.largest or axis in given for axis, size in enumerate(shape)]

    def init_one(self, parameter: Tensor) -> Nest:
        shape, dtype = matrix_shape(parameter), working_dtype(parameter)
        factors = {}
        if 0 not in shape:
            share = cast(self.precondition_scale, tf.zeros((), dtype)) ** (1 / len(shape))
            for axis, (size, diagonal) in enumerate(zip(shape, self.diagonal(shape))):
                factors[f"axis_{axis}"] = share * (tf.ones(size, dtype) if diagonal else tf.eye(size, dtype=dtype))
        return {"momentum": tf.zeros(parameter.shape, dtype), "factors": factors}

    def update_one(
        self, gradient: Tensor, state: Nest, parameter: Tensor, rate: Scalar, count: Scalar
    ) -> tuple[Tensor, Nest]:
        dtype, shape = working_dtype(parameter), matrix_shape(parameter)
        gradient = ops.cast(gradient, dtype)
        momentum = running_mean(ops.cast(state["momentum"], dtype), gradient, self.momentum)
        factors = {name: ops.cast(factor, dtype) for name, factor in state["factors"].items()}
        mean = tf.reshape(momentum / cast(missing_share(self.momentum, count), momentum), shape)
        if factors:
            fitted = mean if self.of_momentum else tf.reshape(gradient, shape)
            due = (count - 1) % self.interval(count) == 0
            factors = lazily(due, lambda: self.moved(factors, fitted, count), factors)
        step = ops.cast(tf.reshape(self.clipped(mean, factors), parameter.shape), parameter.dtype)
        if len(parameter.shape) >= 2:
            step = step + parameter * cast(self.weight_decay, parameter)
        return -rate * step, {"momentum": momentum, "factors": factors}

    def interval(self, count: Scalar) -> Scalar:
        """Return the number of updates from one move of the factors to the next, at an update."""
        # The last updates at which it is 1, 2, ..., found here: a root in a program may be rounded either way.
        shares = [math.log(number) / math.log(self.every) for number in range(1, self.every)]
        last = [self.flat + math.floor(self.falling * share) for share in shares]
        if isinstance(count, int):
            return 1 + sum(count - 1 > one for one in last)
        return 1 + tf.reduce_sum(tf.cast(count - 1 > tf.constant(last, count.dtype), count.dtype))

    def moved(self, factors: TensorState, fitted: Tensor, count: Scalar) -> TensorState:
        """Return the factors after a step toward those that whiten a tensor, all with the same largest number."""
        number = tf.cast(count, tf.uint32) + tf.constant(self.seed * APART % 2**32, tf.uint32)
        noise = tf.reshape(random_signs(1, fitted.shape.num_elements(), number), fitted.shape)
        one, other = turned(fitted, factors), solved(tf.cast(noise, fitted.dtype), factors)
        # Squares of what is neither large nor small: a step does not depend on the scale of both.
        scale = tf.maximum(tf.reduce_max(tf.abs(one)), tf.reduce_max(tf.abs(other)))
        tells = tf.reduce_all(tf.math.is_finite(one)) & tf.reduce_any(one != 0)
        new = {
            name: self.stepped(factor, one / scale, other / scale, axis_of(name)) for name, factor in factors.items()
        }
        return {name: tf.where(tells, factor, factors[name]) for name, factor in balanced(new).items()}

    def stepped(self, factor: Tensor, one: Tensor, other: Tensor, axis: int) -> Tensor:
        """Return the factor of an axis after its step."""
        rate = cast(self.precondition_rate, factor)
        if len(factor.shape) == 1:
            first, second = squares(one, axis), squares(other, axis)
            return factor - (first - second) * factor * (rate / tf.reduce_max(first + second))
        first, second = gram(one, axis), gram(other, axis)
        step = tf.linalg.band_part(first - second, 0, -1) @ factor
        return factor - step * (rate / largest_eigenvalue(first + second))

    def clipped(self, mean: Tensor, factors: TensorState) -> Tensor:
        """Return the whitened mean, with a mean square of clip ** 2 at most."""
        half = turned(mean, factors)
        size = tf.reduce_max(tf.abs(half)) if factors else tf.zeros((), mean.dtype)
        step = turned(tf.math.divide_no_nan(half, size), factors, transposed=True)  # without size it may overflow
        limit = cast(self.clip, step) / (mean_length(step) + tf.math.divide_no_nan(cast(1e-6, step), size))
        return step * tf.minimum(size, limit)


def matrix_shape(parameter: Tensor) -> tuple[int, ...]:
    """Return the shape of a parameter; a scalar is a vector of one."""
    return tuple(parameter.shape) or (1,)


def turned(tensor: Tensor, factors: TensorState, *, transposed: bool = False) -> Tensor:
    """Multiply the axes of a tensor by their factors, or by the transposes of these."""
    for name, factor in factors.items():
        axis = axis_of(name)
        if len(factor.shape) == 1:
            tensor = tensor * upright(factor, axis, tensor)
        else:
            tensor = along(tensor, factor, axis, back=not transposed)
    return tensor


def solved(tensor: Tensor, factors: TensorState) -> Tensor:
    """Multiply the axes of a tensor by the inverses of the transposes of their factors."""
    for name, factor in factors.items():
        axis = axis_of(name)
        if len(factor.shape) == 1:
            tensor = tensor / upright(factor, axis, tensor)
            continue
        order = [axis, *(other for other in range(len(tensor.shape)) if other != axis)]
        first = tf.transpose(tensor, order)
        rows = tf.reshape(first, [first.shape[0], -1])
        found = tf.linalg.triangular_solve(factor, rows, lower=False, adjoint=True)
        tensor = tf.transpose(tf.reshape(found, first.shape), [order.index(place) for place in range(len(order))])
    return tensor


def upright(vector: Tensor, axis: int, like: Tensor) -> Tensor:
    """Return a vector as a tensor that broadcasts along an axis."""
    return tf.reshape(vector, [-1 if place == axis else 1 for place in range(len(like.shape))])


def squares(tensor: Tensor, axis: int) -> Tensor:
    """Return the diagonal of `gram`."""
    return tf.reduce_sum(tf.square(tensor), [place for place in range(len(tensor.shape)) if place != axis])


def largest_eigenvalue(matrix: Tensor) -> Tensor:
    """Return a lower bound of the largest eigenvalue of a symmetric matrix, by two products with its longest column."""
    # Not a gather: an index that XLA does not check would keep the rule out of XLA.
    longest = tf.one_hot(tf.argmax(squares(matrix, 1)), matrix.shape[0], dtype=matrix.dtype)
    product = tf.linalg.matvec(matrix, tf.linalg.matvec(matrix, longest, transpose_a=True))
    return tf.norm(tf.linalg.matvec(matrix, product / tf.norm(product)))


def balanced(factors: TensorState) -> TensorState:
    """Return factors with the same largest number: a factor of one that another is divided by changes no update."""
    if len(factors) == 1:
        return factors
    sizes = tf.stack([tf.reduce_max(tf.abs(factor)) for factor in factors.values()])
    shares = tf.exp(tf.reduce_mean(tf.math.log(sizes))) / sizes
    return {name: factor * shares[place] for place, (name, factor) in enumerate(factors.items())}
