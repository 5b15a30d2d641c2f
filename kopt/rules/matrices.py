"""What rules share that keep a matrix for each axis of a tensor: products along axes, and parts that are lazy."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from string import ascii_lowercase

import tensorflow as tf
from keras import ops

from kopt.rules.base import Rule, cast
from kopt.values.types import DType, Nest, Scalar, Tensor

__all__ = ["OfTensors", "along", "finite_or", "gram", "inverse_root", "lazily", "working_dtype"]

ITERATIONS = 60  # of the root: 1e-6 to 1 takes about 25
TOLERANCE = 1e-6  # of the root: the largest distance of the iterated matrix from the identity


class OfTensors(Rule):
    """A rule that treats each parameter alone, and as a whole: its numbers are not treated alike."""

    @abstractmethod
    def init_one(self, parameter: Tensor) -> Nest:
        """Return the state of one parameter before the first update."""

    @abstractmethod
    def update_one(
        self, gradient: Tensor, state: Nest, parameter: Tensor, rate: Scalar, count: Tensor
    ) -> tuple[Tensor, Nest]:
        """Return the update to add to one parameter, and its next state; `rate` has the dtype of the parameter."""

    def init(self, parameters: Sequence[Tensor]) -> list[Nest]:
        return [self.init_one(parameter) for parameter in parameters]

    def update(
        self, gradients: Sequence[Tensor], state: Nest, parameters: Sequence[Tensor], rate: Scalar, count: Scalar
    ) -> tuple[list[Tensor], list[Nest]]:
        number = ops.convert_to_tensor(count)
        pairs = [
            self.update_one(gradient, one, parameter, cast(rate, parameter), number)
            for gradient, one, parameter in zip(gradients, state, parameters, strict=True)
        ]
        return [update for update, _ in pairs], [one for _, one in pairs]


def working_dtype(parameter: Tensor) -> DType:
    """Return the dtype of roots and decompositions: float32 for half types."""
    dtype = tf.as_dtype(parameter.dtype)
    return dtype if dtype.size >= 4 else tf.float32


def along(tensor: Tensor, matrix: Tensor, axis: int, *, back: bool = False) -> Tensor:
    """Multiply an axis of a tensor by a matrix, or, back, by its transpose."""
    letters = ascii_lowercase[: len(tensor.shape)]
    pair = letters[axis] + "z"
    return tf.einsum(
        f"{letters},{pair[::-1] if back else pair}->{letters[:axis]}z{letters[axis + 1 :]}", tensor, matrix
    )


def gram(tensor: Tensor, axis: int) -> Tensor:
    """Return the sum of the outer products along an axis, (size, size)."""
    letters = ascii_lowercase[: len(tensor.shape)]
    return tf.einsum(f"{letters},{letters[:axis]}z{letters[axis + 1 :]}->{letters[axis]}z", tensor, tensor)


def finite_or(new: Tensor, old: Tensor) -> Tensor:
    """Return the new matrix when all of it is finite, else the old one: the squares of large gradients may not be."""
    return tf.where(tf.reduce_all(tf.math.is_finite(new)), new, old)


def lazily(when: Tensor, new: Callable[[], Nest], old: Nest) -> Nest:
    """Return a new nest at the updates when it is due, else the old one without the cost of the new one."""
    return tf.cond(when, new, lambda: tf.nest.map_structure(tf.identity, old))


def inverse_root(matrix: Tensor, power: int, ridge: Scalar) -> Tensor:
    """Return (matrix + ridge * largest eigenvalue) ** (-1 / power) of a symmetric matrix, by coupled iterations.

    With z = (1 + p) / (2 |A|), from M = z A, X = z ** (1 / p) I: T = (1 + 1 / p) I - M / p, X <- X T, M <- T ** p M,
    until M is the identity; they stay as they are when its distance from M grows.

    Source:
        Guo and Higham, A Schur-Newton Method for the Matrix p-th Root and its Inverse, 2006, as Anil et al., Scalable
        Second Order Optimization for Deep Learning, 2020, iterate it.
    """
    identity = tf.eye(matrix.shape[-1], dtype=matrix.dtype)
    size = tf.linalg.trace(matrix)  # taken out first, for squares may overflow
    matrix = matrix / size
    matrix = matrix + (largest_eigenvalue(matrix) * cast(ridge, matrix)) * identity
    share = (1 + power) / (2 * tf.sqrt(tf.reduce_sum(tf.square(matrix))))

    def step(place: Tensor, iterated: Tensor, root: Tensor, error: Tensor, done: Tensor) -> tuple[Tensor, ...]:
        factor = (1 + 1 / power) * identity - iterated / power
        following, next_root = matrix_power(factor, power) @ iterated, root @ factor
        now = tf.reduce_max(tf.abs(following - identity))
        worse = tf.logical_not(now <= error * 1.2)  # also when it is no number
        keep = tf.logical_or(done, worse)
        iterated, root = tf.where(keep, iterated, following), tf.where(keep, root, next_root)
        return place + 1, iterated, root, tf.where(keep, error, now), tf.logical_or(keep, now <= TOLERANCE)

    iterated, root = matrix * share, identity * share ** (1 / power)
    error = tf.reduce_max(tf.abs(iterated - identity))
    loop = (tf.constant(0), iterated, root, error, error <= TOLERANCE)
    found: Tensor = tf.while_loop(lambda place, *_: place < ITERATIONS, step, loop)[2]
    return found * size ** (-1 / power)


def matrix_power(matrix: Tensor, power: int) -> Tensor:
    """Return a matrix to a power >= 1 by squarings."""
    found, square = None, matrix
    while power:
        if power % 2:
            found = square if found is None else found @ square
        power //= 2
        square = square @ square if power else square
    return found


def largest_eigenvalue(matrix: Tensor) -> Tensor:
    """Return about the largest eigenvalue of a matrix without negative ones, from its power by 2 ** 10."""
    trace = tf.linalg.trace(matrix)
    found = matrix / tf.maximum(trace, cast(1e-30, matrix))
    for _ in range(10):
        found = found @ found
        found = found / tf.maximum(tf.linalg.trace(found), cast(1e-30, matrix))
    return tf.maximum(tf.reduce_sum(found * matrix), cast(1e-16, matrix))  # the trace of the product
