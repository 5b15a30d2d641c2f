"""What rules share that keep a matrix for each axis of a tensor: products along axes, and parts that are lazy."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from string import ascii_lowercase

import tensorflow as tf

from kopt.rules.base import Rule, TensorState, cast, one_by_one
from kopt.values.types import DType, Nest, Scalar, Tensor

__all__ = ["OfTensors"]

ITERATIONS = 40  # of a root: for eigenvalues from 1e-6 to 1 it takes about 22
TOLERANCE = 1e-6  # of a root: the largest distance of the iterated matrix from the identity


class OfTensors(Rule):
    """A rule that treats each parameter alone, and as a whole: its numbers are not treated alike.

    Example:
        >>> from kopt.rules import SOAP
        >>> isinstance(SOAP(), OfTensors)
        True
    """

    counts_each = True

    @abstractmethod
    def init_one(self, parameter: Tensor) -> Nest:
        """Return the state of one parameter before the first update."""

    @abstractmethod
    def update_one(
        self, gradient: Tensor, state: Nest, parameter: Tensor, rate: Scalar, count: Scalar
    ) -> tuple[Tensor, Nest]:
        """Return the update to add to one parameter, and its next state.

        The rate has the dtype of the parameter; a count that is known while a program is traced is an int.
        """

    def init(self, parameters: Sequence[Tensor]) -> list[Nest]:
        return [self.init_one(parameter) for parameter in parameters]

    def update(
        self, gradients: Sequence[Tensor], state: Nest, parameters: Sequence[Tensor], rate: Scalar, count: Scalar
    ) -> tuple[list[Tensor], list[Nest]]:
        known = [known_count(one) for one in count] if isinstance(count, list) else known_count(count)
        return one_by_one(self.update_one, gradients, state, parameters, rate, known)


def known_count(count: Scalar) -> Scalar:
    """Return a count as an int where it is known while a program is traced."""
    known = tf.get_static_value(count)
    return count if known is None else int(known)


def working_dtype(parameter: Tensor) -> DType:
    """Return the dtype of roots and decompositions: float32 for half types."""
    dtype = tf.as_dtype(parameter.dtype)
    return dtype if dtype.size >= 4 else tf.float32


def axis_of(name: str) -> int:
    """Return the axis of a matrix of a state by its name, axis_0 or so."""
    return int(name.removeprefix("axis_"))


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


def lazily(when: bool | Tensor, new: Callable[[], Nest], old: Nest) -> Nest:
    """Return a new nest at the updates when it is due, else the old one without the cost of the new one."""
    if isinstance(when, bool):
        return new() if when else old
    return tf.cond(when, new, lambda: tf.nest.map_structure(tf.identity, old))


def inverse_roots(matrices: TensorState, power: int, ridge: Scalar) -> TensorState:
    """Return `inverse_root` of symmetric matrices; those of one size are iterated together."""
    found: TensorState = {}
    for size in dict.fromkeys(matrix.shape[0] for matrix in matrices.values()):
        names = [name for name, matrix in matrices.items() if matrix.shape[0] == size]
        roots = inverse_root(tf.stack([matrices[name] for name in names]), power, ridge)
        found |= dict(zip(names, tf.unstack(roots, len(names))))
    return found


def inverse_root(matrices: Tensor, power: int, ridge: Scalar) -> Tensor:
    """Return (matrix + ridge * largest eigenvalue) ** (-1 / power) of symmetric matrices, (number, size, size).

    With z = (1 + p) / (2 |A|), from M = z A, X = z ** (1 / p) I: T = (1 + 1 / p) I - M / p, X <- X T, M <- T ** p M,
    until M is the identity; they stay as they are when its distance from M grows.

    Source:
        Guo and Higham, A Schur-Newton Method for the Matrix p-th Root and its Inverse, 2006, as Anil et al., Scalable
        Second Order Optimization for Deep Learning, 2020, iterate it.
    """
    identity = tf.eye(matrices.shape[-1], dtype=matrices.dtype)
    size = traces(matrices)  # taken out first, for squares may overflow
    matrices = matrices / size
    matrices = matrices + (largest_eigenvalues(matrices) * cast(ridge, matrices)) * identity
    share = (1 + power) / (2 * tf.sqrt(tf.reduce_sum(tf.square(matrices), (1, 2), keepdims=True)))

    def step(place: Tensor, iterated: Tensor, root: Tensor, error: Tensor, done: Tensor) -> tuple[Tensor, ...]:
        factor = (1 + 1 / power) * identity - iterated / power
        following, next_root = matrix_power(factor, power) @ iterated, root @ factor
        now = distances(following, identity)
        keep = tf.logical_or(done, tf.logical_not(now <= error * 1.2))  # worse, or no number
        iterated, root = tf.where(keep, iterated, following), tf.where(keep, root, next_root)
        return place + 1, iterated, root, tf.where(keep, error, now), tf.logical_or(keep, now <= TOLERANCE)

    iterated, root = matrices * share, identity * share ** (1 / power)
    error = distances(iterated, identity)
    loop = (tf.constant(0), iterated, root, error, error <= TOLERANCE)
    found: Tensor = tf.while_loop(lambda place, *_: place < ITERATIONS, step, loop)[2]
    return found * size ** (-1 / power)


def matrix_power(matrices: Tensor, power: int) -> Tensor:
    """Return matrices to a power >= 1 by squarings."""
    found, square = None, matrices
    while power:
        if power % 2:
            found = square if found is None else found @ square
        power //= 2
        square = square @ square if power else square
    return found


def largest_eigenvalues(matrices: Tensor) -> Tensor:
    """Return about the largest eigenvalues of matrices of trace 1 without negative ones, from their power by 128."""
    found = matrices
    for _ in range(7):
        found = found @ found
        found = found / tf.maximum(traces(found), cast(1e-30, found))
    return tf.reduce_sum(found * matrices, (1, 2), keepdims=True)  # the trace of the product


def traces(matrices: Tensor) -> Tensor:
    return tf.linalg.trace(matrices)[:, None, None]


def distances(matrices: Tensor, other: Tensor) -> Tensor:
    """Return the largest distances of the numbers of matrices from another's, (number, 1, 1)."""
    return tf.reduce_max(tf.abs(matrices - other), (1, 2), keepdims=True)
