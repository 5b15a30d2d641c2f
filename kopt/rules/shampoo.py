"""Shampoo: gradients preconditioned by roots of their second moments along each axis."""

import itertools
from typing import Literal

import tensorflow as tf
from keras import ops

from kopt.rules.axes import OfTensors, along, finite_or, gram, inverse_roots, lazily, working_dtype
from kopt.rules.base import TensorState, cast, registry, running_mean
from kopt.rules.moments import require_factors, require_sizes
from kopt.rules.norms import length
from kopt.values.checks import require
from kopt.values.fields import Number
from kopt.values.types import Nest, Scalar, Tensor

__all__ = ["Shampoo"]

MATRICES = ("statistics", "roots")


@registry.register
class Shampoo(OfTensors):
    """Gradients preconditioned by inverse roots of their second moments along each axis, with the size of another rule.

    A tensor of k axes is cut into blocks of at most `block` along each. For each axis of a block, statistics = beta_2 *
    statistics + (1 - beta_2) * gradient gradient', from matrix_epsilon * identity on, and P is (statistics +
    matrix_epsilon * their largest eigenvalue) ** (-1 / (2 k)), found anew each `every` updates, the identity before.
    With g the gradient multiplied by all P, and a the step of `graft`: d = g * |a| / |g|. Both have their momentum,
    m = beta_1 * m + d and n = beta_1 * n + a. From update `start` on, update = -rate * (beta_1 * m + d) when nesterov,
    else -rate * m; before it, the same of n and a. The decay is decoupled.

    `graft` says how large an update is: "sgd", a = gradient; "rmsprop", a = gradient / (sqrt(v) + epsilon), with v =
    beta_2 * v + (1 - beta_2) * gradient ** 2; "adagrad", the same with v the sum of squares; "none", a = gradient and
    d = g. What has less than two axes, or one longer than `largest`, has d = a.

    Use it for matrices and convolutions; it needs less updates than Adam. The usual rate is 0.01 with "sgd", 1e-3 with
    "rmsprop". Roots cost about 100 products of each matrix once each `every` updates. A gradient whose squares overflow
    leaves the statistics as they are.

    Args:
        beta_1: The factor of the momentum, in [0, 1).
        beta_2: The factor of the statistics, in [0, 1).
        weight_decay: The share of a parameter that an update subtracts at rate 1, >= 0.
        start: The first update by g, >= 1.
        every: Number of updates from roots to the next roots, >= 1.
        block: The longest side of a matrix, >= 1.
        largest: The longest axis of what is preconditioned, >= 1.
        graft: The size of an update: "sgd", "adagrad", "rmsprop" or "none".
        nesterov: Whether the newest gradient counts once more.
        epsilon: Added to the root of v, >= 0.
        matrix_epsilon: The statistics at the start, and the share of their largest eigenvalue that is added, > 0.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> from keras import ops
        >>> from kopt.training import minimize
        >>> goal = ops.array([[3.0, 1.0], [0.0, 2.0]])
        >>> loss = lambda w: ops.sum((w - goal) ** 2)
        >>> found = minimize(loss, ops.zeros((2, 2)).numpy(), Shampoo(every=5), rate=0.01, steps=500)
        >>> bool(abs(found.parameters - goal).numpy().max() < 0.02)
        True

    Source:
        Gupta, Koren and Singer, Shampoo: Preconditioned Stochastic Tensor Optimization, 2018, algorithm 2; blocks,
        roots and grafting of Anil et al., Scalable Second Order Optimization for Deep Learning, 2020, as
        ScalableShampoo of pytorch_optimizer has them. After 200 steps it is 3e-4 off that, which ends the iteration of
        a root at an error of 1e-3 where this ends at 1e-6, and 7e-5 off its roots by singular values. Two of its
        defaults are not followed: its merging of short axes, which leaves small matrices without statistics (0.04 to
        0.19 off), and its roots each 1000 updates.
    """

    beta_1: Number = 0.9
    beta_2: Number = 0.999
    weight_decay: Number = 0.0
    start: int = 25
    every: int = 20
    block: int = 512
    largest: int = 8192
    graft: Literal["sgd", "adagrad", "rmsprop", "none"] = "sgd"
    nesterov: bool = True
    epsilon: Number = 1e-10
    matrix_epsilon: Number = 1e-6
    usual_rate = 0.01
    rounding = 100.0

    def check(self) -> None:
        require_factors(beta_1=self.beta_1, beta_2=self.beta_2)
        require_sizes(weight_decay=self.weight_decay, epsilon=self.epsilon)
        for name, count in {"start": self.start, "every": self.every, "block": self.block}.items():
            require(count >= 1, name, "must be >= 1", count)
        require(self.largest >= 1, "largest", "must be >= 1", self.largest)
        require(self.matrix_epsilon > 0, "matrix_epsilon", "must be > 0", self.matrix_epsilon)

    def sizes(self, parameter: Tensor) -> list[list[int]]:
        """Return the sizes of the blocks along each axis; none for what is not preconditioned."""
        shape = tuple(parameter.shape)
        if len(shape) < 2 or min(shape) == 0 or max(shape) > self.largest:
            return []
        return [[min(self.block, size - at) for at in range(0, size, self.block)] for size in shape]

    def init_one(self, parameter: Tensor) -> Nest:
        dtype = working_dtype(parameter)
        sides = {
            f"block_{block}_axis_{axis}": side
            for block, shape in enumerate(itertools.product(*self.sizes(parameter)))
            for axis, side in enumerate(shape)
        }
        state: dict[str, Nest] = {
            "momentum": ops.zeros_like(parameter),
            "graft_momentum": ops.zeros_like(parameter),
            "statistics": {
                name: tf.eye(side, dtype=dtype) * cast(self.matrix_epsilon, tf.zeros((), dtype))
                for name, side in sides.items()
            },
            "roots": {name: tf.eye(side, dtype=dtype) for name, side in sides.items()},
        }
        return state | ({"velocity": ops.zeros_like(parameter)} if self.graft in ("adagrad", "rmsprop") else {})

    def update_one(
        self, gradient: Tensor, state: Nest, parameter: Tensor, rate: Scalar, count: Scalar
    ) -> tuple[Tensor, Nest]:
        dtype = working_dtype(parameter)
        gradient = ops.cast(gradient, dtype)
        before = {name: ops.cast(one, dtype) for name, one in state.items() if not isinstance(one, dict)}
        statistics, roots = ({name: ops.cast(one, dtype) for name, one in state[kind].items()} for kind in MATRICES)
        sized, after = self.sized(gradient, before)
        direction = sized
        if roots:
            blocks = self.cut(gradient)
            statistics = {name: self.measured(blocks, name, old) for name, old in statistics.items()}
            roots = lazily(count % self.every == 0, lambda: self.rooted(statistics, roots, gradient), roots)
            direction = self.joined([multiplied(block, roots, place) for place, block in enumerate(blocks)], gradient)
            direction = direction if self.graft == "none" else direction * (length(sized) / (length(direction) + 1e-16))
        steps = []
        for name, new in (("momentum", direction), ("graft_momentum", sized)):
            after[name] = before[name] * cast(self.beta_1, new) + new
            steps.append(after[name] * cast(self.beta_1, new) + new if self.nesterov else after[name])
        step = ops.cast(ops.where(count >= self.start, *steps), parameter.dtype)
        update = -rate * (step + parameter * cast(self.weight_decay, parameter))
        kept = {name: ops.cast(one, parameter.dtype) for name, one in after.items()}
        return update, kept | {"statistics": statistics, "roots": roots}

    def sized(self, gradient: Tensor, before: TensorState) -> tuple[Tensor, TensorState]:
        """Return what an update is as large as, and the state of that."""
        if self.graft in ("sgd", "none"):
            return gradient, {}
        square = ops.square(gradient)
        adds_up = self.graft == "adagrad"
        velocity = before["velocity"] + square if adds_up else running_mean(before["velocity"], square, self.beta_2)
        return gradient / (ops.sqrt(velocity) + cast(self.epsilon, velocity)), {"velocity": velocity}

    def cut(self, tensor: Tensor) -> list[Tensor]:
        """Return the blocks of a tensor, those along the last axis next to each other."""
        blocks = [tensor]
        for axis, sides in enumerate(self.sizes(tensor)):
            blocks = [part for block in blocks for part in tf.split(block, sides, axis)]
        return blocks

    def joined(self, blocks: list[Tensor], like: Tensor) -> Tensor:
        """Undo `cut`."""
        for axis, sides in reversed(list(enumerate(self.sizes(like)))):
            number = len(sides)
            blocks = [tf.concat(blocks[at : at + number], axis) for at in range(0, len(blocks), number)]
        return blocks[0]

    def measured(self, blocks: list[Tensor], name: str, old: Tensor) -> Tensor:
        """Return the next statistics of an axis of a block."""
        block, axis = place_of(name)
        return finite_or(running_mean(old, gram(blocks[block], axis), self.beta_2), old)

    def rooted(self, statistics: TensorState, roots: TensorState, like: Tensor) -> TensorState:
        """Return the inverse roots of statistics; where one is not finite, the old one."""
        found = inverse_roots(statistics, 2 * len(like.shape), self.matrix_epsilon)
        return {name: finite_or(found[name], old) for name, old in roots.items()}


def place_of(name: str) -> tuple[int, int]:
    """Return the block and the axis of a matrix of the state by its name."""
    _, block, _, axis = name.split("_")
    return int(block), int(axis)


def multiplied(block: Tensor, roots: TensorState, place: int) -> Tensor:
    """Multiply a block by the roots of its axes."""
    for axis in range(len(block.shape)):
        block = along(block, roots[f"block_{place}_axis_{axis}"], axis)
    return block
