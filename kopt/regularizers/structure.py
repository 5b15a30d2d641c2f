"""Penalties on the structure of a weight matrix: orthogonality, whole groups at zero."""

from typing import Any, Literal

from keras import ops

from kopt.regularizers.base import Regularizer, registry, require_matrix, require_strength, scaled
from kopt.values.fields import Number

__all__ = ["GroupLasso", "Orthogonal"]


@registry.register
class Orthogonal(Regularizer):
    """How far the columns of a matrix are from being orthonormal.

    strength * sum((W^T W - I) ** 2), W being the weights as a matrix of one column an output (a convolution's filters
    are columns); with double_sided, strength * (sum((W^T W - I) ** 2) + sum((W W^T - I) ** 2)). Keeps signals and
    gradients at their size through deep networks. The first cannot be zero where there are more columns than rows.

    Args:
        strength: The factor (lambda), >= 0.
        double_sided: Whether the rows are asked to be orthonormal too.
        samples: The number m of training examples, for lambda / (2 m); None for lambda alone.

    Raises:
        ValueError: When an argument is out of range; when called, where the weights have fewer than two axes.

    Example:
        >>> float(Orthogonal(0.5)([[1.0, 0.0], [0.0, 2.0]]))
        4.5

    Source:
        Bansal, Chen and Wang, Can We Gain More from Orthogonality Regularizations in Training Deep CNNs?, 2018,
        equations 1 (soft) and 2 (double soft).
    """

    strength: Number = 1e-4
    double_sided: bool = False
    samples: int | None = None

    def check(self) -> None:
        require_strength("strength", self.strength, self.samples)

    def penalty(self, weights: Any) -> Any:
        require_matrix("Orthogonal", weights)
        matrix = ops.reshape(weights, (-1, weights.shape[-1]))
        transposed = ops.transpose(matrix)
        total = from_identity(ops.matmul(transposed, matrix))
        if self.double_sided:
            total = total + from_identity(ops.matmul(matrix, transposed))
        return scaled(self.strength, self.samples, weights) * total


@registry.register
class GroupLasso(Regularizer):
    """The lengths of groups of weights: drives whole groups to exactly zero.

    strength * sum over groups of sqrt(size of the group) * sqrt(sum(w ** 2 in the group)). A group is, for weights of
    the axes (*window, inputs, outputs): with "rows", all that leaves one input; with "filters", all that enters one
    output; with "columns", what enters one output from one place of the window, which without a window (a dense layer)
    is the same. The gradient of a group that is zero is taken as zero.

    Args:
        strength: The factor (lambda), >= 0.
        groups: "rows" chooses inputs, "filters" chooses units or filters, "columns" shapes filters.
        samples: The number m of training examples, for lambda / (2 m); None for lambda alone.

    Raises:
        ValueError: When an argument is out of range; when called, where the weights have fewer than two axes.

    Example:
        >>> float(GroupLasso(0.5, "columns")([[3.0, 0.0, 0.0, 0.0]] * 4))  # one column of length 6
        6.0

    Source:
        Yuan and Lin, Model Selection and Estimation in Regression with Grouped Variables, 2006, equation 2.1; the
        groups of convolutions from Wen et al., Learning Structured Sparsity in Deep Neural Networks, 2016.
    """

    strength: Number = 1e-4
    groups: Literal["rows", "columns", "filters"] = "rows"
    samples: int | None = None

    def check(self) -> None:
        require_strength("strength", self.strength, self.samples)

    def penalty(self, weights: Any) -> Any:
        require_matrix("GroupLasso", weights)
        rank = len(weights.shape)
        kept = {"rows": (rank - 2,), "filters": (rank - 1,), "columns": (*range(rank - 2), rank - 1)}[self.groups]
        axes = [axis for axis in range(rank) if axis not in kept]
        size = 1
        for axis in axes:
            size *= weights.shape[axis]
        squared = ops.sum(ops.square(weights), axis=axes)
        there = squared > 0
        # The root of one where a group is zero: the root's own slope at zero is infinite.
        lengths = ops.where(there, ops.sqrt(ops.where(there, squared, ops.ones_like(squared))), 0)
        return scaled(self.strength * size**0.5, self.samples, weights) * ops.sum(lengths)


def from_identity(matrix: Any) -> Any:
    """The sum of squares of a square matrix less the identity."""
    return ops.sum(ops.square(matrix - ops.eye(matrix.shape[0], dtype=matrix.dtype)))
