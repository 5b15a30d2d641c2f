"""What rules with running means of the gradient and of its square have in common."""

from keras import ops

from kopt.rules.base import cast, missing_share
from kopt.values.checks import require
from kopt.values.types import Scalar, Tensor

LEAST = {"float16": 6e-8}  # by dtype, the least number that is not 0
LEAST_OF_OTHERS = 2e-38


def require_factors(**factors: float) -> None:
    """Raise ValueError when a factor of a running mean is not in [0, 1)."""
    for name, factor in factors.items():
        require(0 <= factor < 1, name, "must be in [0, 1)", factor)


def require_sizes(**sizes: float) -> None:
    """Raise ValueError when a number is negative."""
    for name, size in sizes.items():
        require(size >= 0, name, "must be >= 0", size)


def root_share(beta: Scalar, count: Scalar) -> Tensor:
    """Return sqrt(1 - beta ** count), in float64.

    A root with its bias corrected is sqrt(v) / root_share, and m / (sqrt(v) / root_share + epsilon) is
    m * root_share / (sqrt(v) + epsilon * root_share): the correction works on scalars alone.
    """
    return ops.sqrt(missing_share(beta, count))


def positive(number: Scalar, like: Tensor) -> Tensor:
    """Cast a number >= 0 to the dtype of a parameter, where it is never 0: 1e-8 is 0 in float16, and 0 / 0 is NaN."""
    least = LEAST.get(like.dtype.name, LEAST_OF_OTHERS)
    return cast(ops.maximum(ops.convert_to_tensor(number, "float64"), least), like)


def adapted(
    momentum: Tensor, square: Tensor, betas: tuple[Scalar, Scalar], epsilon: Scalar, rate: Scalar, count: Scalar
) -> Tensor:
    """Return -rate * mean / (root + epsilon), the step of running means of the gradient and of a square.

    mean = momentum / (1 - beta_1 ** count); root = sqrt(square / (1 - beta_2 ** count)).
    """
    share = root_share(betas[1], count)
    step = momentum * (cast(share / missing_share(betas[0], count), momentum) * -rate)
    return step / (ops.sqrt(square) + positive(epsilon * share, momentum))


def decayed(update: Tensor, parameter: Tensor, decay: Scalar, rate: Scalar) -> Tensor:
    """Return the update with decoupled weight decay, update - rate * decay * parameter; a decay of 0 costs nothing."""
    if isinstance(decay, float) and decay == 0:  # a tensor, inside a program, is always subtracted
        return update
    return update - parameter * (cast(decay, parameter) * rate)
