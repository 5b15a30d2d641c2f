"""Adam whose moments are those of a projection of the gradient: GaLore and APOLLO."""

from abc import abstractmethod
from typing import ClassVar, Literal

import tensorflow as tf
from keras import ops

from kopt.rules.axes import OfTensors, lazily, working_dtype
from kopt.rules.base import TensorState, cast, missing_share, registry, running_mean
from kopt.rules.moments import positive, require_factors, require_sizes
from kopt.rules.norms import length
from kopt.values.checks import require
from kopt.values.fields import Number
from kopt.values.types import Scalar, Tensor

__all__ = ["APOLLO", "GaLore"]


class Projected(OfTensors):
    """Adam of projected gradients, in fields that its kinds have."""

    beta_1: Number = 0.9
    beta_2: Number = 0.999
    epsilon: Number = 1e-6
    weight_decay: Number = 0.0
    rank: int = 128
    every: int = 200
    scale: Number = 0.25

    def check(self) -> None:
        require_factors(beta_1=self.beta_1, beta_2=self.beta_2)
        require_sizes(epsilon=self.epsilon, weight_decay=self.weight_decay)
        require(self.rank >= 1, "rank", "must be >= 1", self.rank)
        require(self.every >= 1, "every", "must be >= 1", self.every)
        require_sizes(scale=self.scale)

    def sides(self, parameter: Tensor) -> tuple[int, int] | None:
        """Return the larger and the smaller side of a tensor as a matrix, or None where it is not projected."""
        if len(parameter.shape) < 2:
            return None
        last = int(parameter.shape[-1])
        rest = int(parameter.shape.num_elements()) // max(1, last)
        return (max(rest, last), min(rest, last)) if min(rest, last) > self.rank else None

    def init_one(self, parameter: Tensor) -> TensorState:
        sides, dtype = self.sides(parameter), working_dtype(parameter)
        shape = tuple(parameter.shape) if sides is None else (sides[0], self.rank)
        moments = {"momentum": tf.zeros(shape, dtype), "velocity": tf.zeros(shape, dtype)}
        return moments if sides is None else {**moments, **self.init_more(*sides, dtype)}

    def update_one(
        self, gradient: Tensor, state: TensorState, parameter: Tensor, rate: Scalar, count: Scalar
    ) -> tuple[Tensor, TensorState]:
        gradient = tf.cast(gradient, working_dtype(parameter))
        if self.sides(parameter) is None:
            step, state = self.step(gradient, state)
        else:
            matrix = tf.reshape(gradient, [-1, parameter.shape[-1]])
            wide = matrix.shape[0] < matrix.shape[1]
            step, state = self.projected_step(tf.transpose(matrix) if wide else matrix, state, count)
            step = tf.reshape(tf.transpose(step) if wide else step, parameter.shape)
        correction = ops.sqrt(missing_share(self.beta_2, count)) / missing_share(self.beta_1, count)
        step = tf.cast(step * cast(correction, step), parameter.dtype)
        return -rate * (step + parameter * cast(self.weight_decay, parameter)), state

    def step(self, gradient: Tensor, state: TensorState) -> tuple[Tensor, TensorState]:
        """Return Adam's step before the correction of the bias, and the next moments."""
        momentum = running_mean(state["momentum"], gradient, self.beta_1)
        velocity = running_mean(state["velocity"], ops.square(gradient), self.beta_2)
        step = momentum / (ops.sqrt(velocity) + positive(self.epsilon, velocity))
        return step, {"momentum": momentum, "velocity": velocity}

    @abstractmethod
    def init_more(self, larger: int, smaller: int, dtype: tf.DType) -> TensorState:
        """Return the state beside the moments."""

    @abstractmethod
    def projected_step(self, matrix: Tensor, state: TensorState, count: Scalar) -> tuple[Tensor, TensorState]:
        """Return the step of a matrix that is not wider than high, and the next state."""


@registry.register
class GaLore(Projected):
    """Adam in the space of a gradient's leading singular vectors on its smaller side.

    A tensor of rank 2 and more is the matrix G of (all axes but the last, the last): (height * width * inputs, filters)
    of a convolution, (inputs * heads, size) of an attention's kernel. With G not wider than high, else transposed: at
    updates 1, 1 + every, 1 + 2 * every, ... P = the first `rank` right singular vectors of G, with the signs nearest to
    those of the last P; R = G P; m and v are Adam's of R; update = -rate * scale * sqrt(1 - beta_2 ** count) /
    (1 - beta_1 ** count) * m / (sqrt(v) + epsilon) P^T - rate * weight_decay * parameter. The moments stay when P
    changes. Vectors, and matrices whose smaller side is not above `rank`, take Adam's update without `scale`.
    A gradient that is not finite leaves P as it is, and P is found at the next update when there is none yet.
    For large matrices where state is what a device lacks; 8-bit moments save more with less loss. The usual rate is
    1e-2. State of a float32 matrix: 8 * rank bytes a place of the larger side, 4 * rank a place of the smaller: 3 bytes
    a parameter of a (512, 512) kernel at rank 128. Validation loss after 300 updates on the digits, best of three
    rates, median of three seeds, scale 1 and every 50: 0.038 of a perceptron at rank 32 of 64 and 128, and 0.066 of a
    convolutional net at rank 8 of 32, of Adam 0.037 and 0.052.

    Args:
        beta_1: The factor of the running mean of the gradient, in [0, 1).
        beta_2: The factor of the running mean of the squared gradient, in [0, 1).
        epsilon: Added to the root, >= 0.
        weight_decay: The share of a parameter that an update subtracts at rate 1, >= 0.
        rank: The number of singular vectors, >= 1.
        every: The updates between changes of P, >= 1; one costs an eigendecomposition of (smaller, smaller): of 512
            places 22 ms of a CPU, and 80 times that in XLA.
        scale: The factor of projected steps, >= 0.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> from kopt.training import minimize
        >>> minimize(lambda w: (w - 3) ** 2, 0, GaLore(), rate=0.1, steps=500).parameters.round(2)
        np.float32(3.0)

    Source:
        Zhao et al., GaLore: Memory-Efficient LLM Training by Gradient Low-Rank Projection, 2024, algorithm 2, as the
        authors' galore-torch. optax keeps the vectors of the larger side, a larger P with smaller moments;
        pytorch_optimizer changes P at updates 1, every, 2 * every. Both rotate what is not above `rank` too.
    """

    usual_rate: ClassVar[float] = 1e-2

    def init_more(self, larger: int, smaller: int, dtype: tf.DType) -> TensorState:
        return {"projector": tf.zeros((smaller, self.rank), dtype)}

    def projected_step(self, matrix: Tensor, state: TensorState, count: Scalar) -> tuple[Tensor, TensorState]:
        last = state["projector"]
        # Also as long as there is none, after gradients that were not finite.
        due = ops.logical_or((count - 1) % self.every == 0, tf.reduce_all(last == 0))
        projector = lazily(due, lambda: self.leading(matrix, last), last)
        step, moments = self.step(matrix @ projector, state)
        back = tf.linalg.matmul(step, projector, transpose_b=True)
        return back * cast(self.scale, back), {**moments, "projector": projector}

    def leading(self, matrix: Tensor, last: Tensor) -> Tensor:
        """Return the first right singular vectors, as eigenvectors of the smaller Gram matrix: an SVD is slow in XLA.

        An iteration by QR would give their space sooner than the vectors, in whose coordinates Adam works.
        """
        finite = tf.reduce_all(tf.math.is_finite(matrix))  # of others TensorFlow's decomposition is an error
        known = tf.where(finite, matrix, tf.zeros_like(matrix))
        scaled = tf.math.divide_no_nan(known, tf.reduce_max(tf.abs(known)))
        vectors = tf.linalg.eigh(tf.linalg.matmul(scaled, scaled, transpose_a=True))[1]
        found = tf.reverse(vectors, [-1])[:, : self.rank]
        return tf.where(finite, tf.where(tf.reduce_sum(found * last, 0) < 0, -found, found), last)


@registry.register
class APOLLO(Projected):
    """Gradient descent with rates for a tensor or its channels from Adam's moments of a random projection.

    A tensor of rank 2 and more is the matrix G of (all axes but the last, the last), transposed when it is wider than
    high. R = G P, P of random signs over sqrt(rank), new after `every` updates, from the count alone: P is no state.
    m and v are Adam's of R, N = m / (sqrt(v) + epsilon); step = G * |N| / (|R| + 1e-8), of lengths of the whole, or by
    channel of each row; step = step / max(|step| / (|last step| + 1e-8), 1.01) * 1.01 but at first, so that it grows by
    1 % at most; update = -rate * sqrt(scale) * sqrt(1 - beta_2 ** count) / (1 - beta_1 ** count) * step - rate *
    weight_decay * parameter. Vectors, and matrices whose smaller side is not above `rank`, take Adam's update.
    For the memory of gradient descent; the defaults are APOLLO-Mini. The usual rate is 1e-2.
    State of a float32 matrix: 8 * rank bytes a place of its larger side: 0.016 bytes a parameter of a (512, 512) kernel
    at rank 1. Validation loss after 300 updates on the digits, best of three rates, median of three seeds: 0.102 of a
    perceptron and 0.097 of a convolutional net with scale 4, by channel at rank 8 with scale 1 both 0.064, of Adam
    0.037 and 0.052.

    Args:
        beta_1: The factor of the running mean of the gradient, in [0, 1).
        beta_2: The factor of the running mean of the squared gradient, in [0, 1).
        epsilon: Added to the root, >= 0.
        weight_decay: The share of a parameter that an update subtracts at rate 1, >= 0.
        rank: The columns of P, >= 1.
        every: The updates between changes of P, >= 1.
        scale: The square of the factor of projected steps, >= 0; 1 for by="channel" with a rank of a quarter.
        by: "tensor" or "channel": what has a rate of its own.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> from kopt.training import minimize
        >>> minimize(lambda w: (w - 3) ** 2, 0, APOLLO(), rate=0.1, steps=500).parameters.round(2)
        np.float32(3.0)

    Source:
        Zhu et al., APOLLO: SGD-like Memory, AdamW-level Performance, 2024, algorithm 1, as the authors' apollo-torch
        but for P, which is of normal numbers there: signs keep lengths as well (Achlioptas, Database-friendly random
        projections, 2003), and are the same in XLA. pytorch_optimizer 4.1.0 scales the projected gradient for G.
    """

    rank: int = 1
    scale: Number = 128.0
    by: Literal["tensor", "channel"] = "tensor"
    usual_rate: ClassVar[float] = 1e-2

    def init_more(self, larger: int, smaller: int, dtype: tf.DType) -> TensorState:
        return {"length": tf.zeros((), dtype)}

    def projected_step(self, matrix: Tensor, state: TensorState, count: Scalar) -> tuple[Tensor, TensorState]:
        number = (count - 1) // self.every
        low = matrix @ tf.cast(random_signs(matrix.shape[1], self.rank, number), matrix.dtype) / self.rank**0.5
        step, moments = self.step(low, state)
        axis = 1 if self.by == "channel" else None
        step = matrix * (length(step, axis) / (length(low, axis) + 1e-8))
        size, last = length(step), state["length"]
        limit = tf.where(last > 0, tf.maximum(size / (last + 1e-8), 1.01) / 1.01, tf.ones_like(last))
        root = cast(ops.sqrt(ops.convert_to_tensor(self.scale, "float64")), step)
        return step / limit * root, {**moments, "length": size / limit}


def random_signs(rows: int, columns: int, number: Scalar) -> Tensor:
    """Return int32 signs, (rows, columns), the same for the same number: bits of places and number, mixed.

    Source:
        The mixing is that of MurmurHash3's end, by Appleby.
    """
    places = tf.reshape(tf.cast(tf.range(1, rows * columns + 1), tf.uint32), [rows, columns])
    bits = places * tf.constant(0x9E3779B9, tf.uint32) + tf.cast(number, tf.uint32) * 0x85EBCA77
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits = tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, tf.constant(shift, tf.uint32)))
        bits = bits * tf.constant(factor, tf.uint32)
    return 2 * tf.cast(tf.bitwise.right_shift(bits, tf.constant(31, tf.uint32)), tf.int32) - 1
