"""Wrappers that change the gradients of a rule: Centralize, and AGC, which bounds them."""

from abc import abstractmethod
from collections.abc import Sequence

from keras import ops

from kopt.rules.base import registry
from kopt.rules.norms import limited, unit_norms
from kopt.rules.wrapping import Wrapper
from kopt.values.checks import require
from kopt.values.fields import Number
from kopt.values.types import Nest, Scalar, Tensor

__all__ = ["AGC", "Centralize"]


class GradientWrapper(Wrapper):
    """A wrapper that changes each gradient before the wrapped rule sees it."""

    @abstractmethod
    def changed(self, gradient: Tensor, parameter: Tensor) -> Tensor:
        """Return the gradient of one parameter as the wrapped rule gets it."""

    def update(
        self, gradients: Sequence[Tensor], state: Nest, parameters: Sequence[Tensor], rate: Scalar, count: Scalar
    ) -> tuple[list[Tensor], Nest]:
        changed = [self.changed(gradient, parameter) for gradient, parameter in zip(gradients, parameters, strict=True)]
        return self.of.update(changed, state, parameters, rate, count)


@registry.register
class Centralize(GradientWrapper):
    """Any rule on gradients whose mean over the inputs of each unit is 0.

    The rule gets gradient - mean(gradient), the mean over all axes but the last one, that of the outputs; scalars and
    vectors stay as they are. A regularizer of kernels before normalization layers, at the usual rate of the wrapped
    rule. Every tensor of two axes or more is centralized, embeddings too: the paper did it for kernels alone.

    Args:
        of: The rule.

    Example:
        >>> from kopt.rules import GradientDescent
        >>> rule, kernel = Centralize(GradientDescent()), ops.zeros((2, 1))
        >>> updates, _ = rule.update([ops.array([[1.0], [3.0]])], rule.init([kernel]), [kernel], rate=1.0, count=1)
        >>> print(updates[0].numpy().T)
        [[ 1. -1.]]

    Source:
        Yong, Huang, Hua and Zhang, Gradient Centralization: A New Optimization Technique for Deep Neural Networks,
        2020, equation 1. optax and pytorch_optimizer take the mean over all axes but the first, which is that of the
        outputs in PyTorch.
    """

    def changed(self, gradient: Tensor, parameter: Tensor) -> Tensor:
        axes = tuple(range(len(gradient.shape) - 1))
        return gradient - ops.mean(gradient, axis=axes, keepdims=True) if axes else gradient


@registry.register
class AGC(GradientWrapper):
    """Any rule on gradients whose units are bounded by a share of the unit's own norm: adaptive gradient clipping.

    The rule gets gradient * min(1, ratio * max(norm of the unit's weights, least_norm) / norm of the unit's gradient);
    a unit is a column of a matrix or a filter of a convolution, and a vector is one unit. It lets networks without
    normalization train at large rates and batches; the rate is that of the wrapped rule. `clips.Adaptive` is the same
    in a `TrainStep`.

    Args:
        of: The rule.
        ratio: The largest norm of a gradient as a share of that of the weights, > 0.
        least_norm: The least norm that a unit's weights are taken to have, so that those at 0 can move; > 0.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> from kopt.rules import GradientDescent
        >>> rule, kernel = AGC(GradientDescent(), 0.1), ops.array([[6.0], [8.0]])
        >>> updates, _ = rule.update([ops.array([[3.0], [4.0]])], rule.init([kernel]), [kernel], rate=1.0, count=1)
        >>> print(updates[0].numpy().round(2).T)
        [[-0.6 -0.8]]

    Source:
        Brock, De, Smith and Simonyan, High-Performance Large-Scale Image Recognition Without Normalization, 2021,
        equation 3. optax takes three axes for those of attention, each pair of the last two a unit; here a unit is one
        of the last axis at any rank, as the filters of Conv1D are.
    """

    ratio: Number = 0.01
    least_norm: Number = 1e-3

    def check(self) -> None:
        require(self.ratio > 0, "ratio", "must be > 0", self.ratio)
        require(self.least_norm > 0, "least_norm", "must be > 0", self.least_norm)

    def changed(self, gradient: Tensor, parameter: Tensor) -> Tensor:
        size = ops.maximum(unit_norms(parameter), ops.cast(self.least_norm, "float32"))
        return limited(gradient, unit_norms(gradient), size * ops.cast(self.ratio, "float32"))
