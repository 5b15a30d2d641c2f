"""Penalties on the structure of a weight matrix: orthogonality, and groups of weights at zero."""

import math
from typing import Literal

from keras import ops

from kopt.regularizers.base import Regularizer, registry, require_matrix, require_strength, scaled
from kopt.values.fields import Number
from kopt.values.types import Tensor

__all__ = ["GroupLasso", "Orthogonal"]


@registry.register
class Orthogonal(Regularizer):
    """The squared distance of W^T W from the identity, which is zero for orthonormal columns.

    strength * sum((W^T W - I) ** 2), where W is the matrix of the weights with a column for each output (or filter);
    with double_sided, strength * (sum((W^T W - I) ** 2) + sum((W W^T - I) ** 2)). Keeps the size of signals and
    gradients through deep networks. The first sum cannot be zero when there are more columns than rows.

    Args:
        strength: The factor (lambda), >= 0.
        double_sided: Whether the rows are penalized too.
        samples: The number m of training examples, for lambda / (2 m); None for lambda alone.

    Raises:
        ValueError: When an argument is out of range; when it is called with weights of fewer than two axes.

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

    def penalty(self, weights: Tensor) -> Tensor:
        require_matrix("Orthogonal", weights)
        matrix = ops.reshape(weights, (-1, weights.shape[-1]))
        transposed = ops.transpose(matrix)
        total = from_identity(ops.matmul(transposed, matrix))
        if self.double_sided:
            total = total + from_identity(ops.matmul(matrix, transposed))
        return scaled(self.strength, self.samples, weights) * total


@registry.register
class GroupLasso(Regularizer):
    """The norms of groups of weights, which drives whole groups to exactly zero.

    strength * sum over groups of sqrt(size of the group) * sqrt(sum(w ** 2 in the group)). For weights of the axes
    (*window, inputs, outputs), a group is: all weights of one input with "rows", all weights of one output with
    "filters", all weights of one output at one position of the window with "columns"; in a dense layer, which has no
    window, "columns" and "filters" are the same. The gradient of a group at zero counts as zero.

    Args:
        strength: The factor (lambda), >= 0.
        groups: "rows" selects inputs, "filters" selects units or filters, "columns" selects the shape of filters.
        samples: The number m of training examples, for lambda / (2 m); None for lambda alone.

    Raises:
        ValueError: When an argument is out of range; when it is called with weights of fewer than two axes.

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

    def penalty(self, weights: Tensor) -> Tensor:
        require_matrix("GroupLasso", weights)
        rank = len(weights.shape)
        kept = {"rows": (rank - 2,), "filters": (rank - 1,), "columns": (*range(rank - 2), rank - 1)}[self.groups]
        axes = [axis for axis in range(rank) if axis not in kept]
        size = math.prod(weights.shape[axis] for axis in axes)
        squared = ops.sum(ops.square(weights), axis=axes)
        there = squared > 0
        # A group at zero takes the root of one, for the slope of the root at zero is infinite.
        lengths = ops.where(there, ops.sqrt(ops.where(there, squared, ops.ones_like(squared))), 0)
        return scaled(self.strength * size**0.5, self.samples, weights) * ops.sum(lengths)


def from_identity(matrix: Tensor) -> Tensor:
    """Return the sum of squares of a square matrix minus the identity."""
    return ops.sum(ops.square(matrix - ops.eye(matrix.shape[0], dtype=matrix.dtype)))
