"""Augmentation of numbers and of tokens."""

from keras import layers, ops

from kopt.augment.base import Augmentation, Change, registry
from kopt.tasks.task import Task
from kopt.values.checks import require
from kopt.values.fields import Number
from kopt.values.types import ArrayLike, Tensor

__all__ = ["Jitter", "TokenDropout"]


@registry.register
class Jitter(Augmentation):
    """Normal noise on every input number of the network: x <- x + deviation * N(0, 1).

    Args:
        deviation: The standard deviation in the unit of the inputs, >= 0; columns of a table are standardized first.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> noisy, _ = Jitter(0.1).make()(ops.zeros((3, 5)), None)
        >>> bool(ops.all(ops.abs(noisy) < 1))
        True

    Source:
        Bishop, Training with Noise is Equivalent to Tikhonov Regularization, 1995; `keras.layers.GaussianNoise`.
    """

    deviation: Number = 0.1

    def check(self) -> None:
        require(self.deviation >= 0, "deviation", "must be >= 0", self.deviation)

    def make(self) -> Change:
        layer = layers.GaussianNoise(self.deviation)
        return lambda x, y: (layer(x, training=True), y)

    def require_fit(self, task: Task, x: ArrayLike, outputs: int) -> None:
        require(x.dtype.kind == "f", "Jitter", "must be given floating-point numbers", x.dtype.name)


@registry.register
class TokenDropout(Augmentation):
    """Random tokens replaced by the unknown one; padding, which is 0, stays.

    Args:
        share: The share of tokens to replace, in [0, 1).
        token: The token to put in their place, >= 0; 1 is the unknown word of the models' encoders.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> dropped, _ = TokenDropout(0.5).make()(ops.full((1, 100), 7, dtype="int32"), None)
        >>> sorted(set(ops.convert_to_numpy(dropped).ravel().tolist()))
        [1, 7]

    Source:
        Iyyer et al., Deep Unordered Composition Rivals Syntactic Methods for Text Classification, 2015: word dropout;
        `keras.layers.Dropout`.
    """

    share: Number = 0.1
    token: int = 1

    def check(self) -> None:
        require(0 <= self.share < 1, "share", "must be in [0, 1)", self.share)
        require(self.token >= 0, "token", "must be >= 0", self.token)

    def require_fit(self, task: Task, x: ArrayLike, outputs: int) -> None:
        require(x.dtype.kind in "iu", "TokenDropout", "must be given the numbers of tokens", x.dtype.name)

    def make(self) -> Change:
        layer = layers.Dropout(self.share)

        def drop(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            kept = layer(ops.ones_like(x, dtype="float32"), training=True) > 0
            return ops.where(ops.logical_or(kept, x == 0), x, ops.cast(self.token, x.dtype)), y

        return drop
