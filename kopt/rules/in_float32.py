"""InFloat32: rules whose numbers are too small or too large for half precision."""

from abc import abstractmethod
from collections.abc import Sequence

from keras import ops

from kopt.rules.base import Rule
from kopt.values.types import Nest, Scalar, Tensor

__all__ = ["InFloat32"]

HALF = ("float16", "bfloat16")


class InFloat32(Rule):
    """A rule that computes and keeps its state in float32 where parameters are of half precision.

    A member defines `begin` and `advance`, as `init` and `update` of any rule.

    Example:
        >>> from kopt.rules import DoG
        >>> DoG().init([ops.ones(2, "bfloat16")])["each"][0]["start"].dtype
        tf.float32
    """

    counts_each = True

    @abstractmethod
    def begin(self, parameters: Sequence[Tensor]) -> Nest:
        """Return the state before the first update, for parameters of float32 or float64."""

    @abstractmethod
    def advance(
        self, gradients: Sequence[Tensor], state: Nest, parameters: Sequence[Tensor], rate: Scalar, count: Scalar
    ) -> tuple[list[Tensor], Nest]:
        """Compute one update of parameters of float32 or float64."""

    def init(self, parameters: Sequence[Tensor]) -> Nest:
        return self.begin(wide(parameters))

    def update(
        self, gradients: Sequence[Tensor], state: Nest, parameters: Sequence[Tensor], rate: Scalar, count: Scalar
    ) -> tuple[list[Tensor], Nest]:
        updates, state = self.advance(wide(gradients), state, wide(parameters), rate, count)
        return [ops.cast(update, one.dtype) for update, one in zip(updates, parameters, strict=True)], state


def wide(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return tensors of half precision as float32, and others as they are."""
    return [ops.cast(one, "float32") if ops.convert_to_tensor(one).dtype in HALF else one for one in tensors]
