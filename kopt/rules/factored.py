"""Rules whose second moments are sums over the axes of a tensor: Adafactor and SM3."""

import functools
from typing import ClassVar

import tensorflow as tf
from keras import ops

from kopt.rules.axes import OfTensors, working_dtype
from kopt.rules.base import TensorState, cast, registry, running_mean
from kopt.rules.moments import require_factors, require_sizes
from kopt.rules.norms import mean_length
from kopt.values.checks import require
from kopt.values.fields import Number
from kopt.values.types import Scalar, Tensor

__all__ = ["Adafactor", "SM3"]

LARGEST = 1e18  # the square of a larger gradient is taken for that of this


@registry.register
class Adafactor(OfTensors):
    """Steps by a second moment of which only the means over rows and columns are kept, relative to the parameter.

    share = count ** -power; R = (1 - share) * R + share * mean(gradient ** 2 over the last axis), C likewise over the
    last but one; V = R * C / max(mean(R), epsilon_1), of vectors and scalars the running mean of gradient ** 2 itself;
    U = gradient / max(sqrt(V), epsilon_1); step = U / max(1, rms(U) / clip);
    update = -min(rate, 1 / sqrt(count)) * max(epsilon_2, rms(parameter)) * step - rate * weight_decay * parameter.
    The last two axes are those of the matrix; earlier ones stand side by side: a convolution has a matrix (inputs,
    filters) at each place of its window, a kernel of attention (inputs, heads, size) one (heads, size) for each input.
    For the least state; the usual rate is 1e-2, the share of a tensor that an update changes.
    State: 4 bytes a row and a column of each matrix, 0.016 bytes a parameter of a (512, 512) kernel. Validation loss
    after 300 updates on the digits, best of three rates, median of three seeds: 0.034 of a perceptron and 0.030 of a
    convolutional net, of Adam 0.037 and 0.052.

    Args:
        power: How fast the running means slow down, in [0, 1].
        epsilon_1: The least root of V, > 0.
        epsilon_2: The least size of a parameter, as its steps see it, >= 0.
        clip: The largest root of the mean square of a step, > 0.
        weight_decay: The share of a parameter that an update subtracts at rate 1, >= 0.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> from kopt.training import minimize
        >>> from kopt.schedules import Linear
        >>> minimize(lambda w: (w - 3) ** 2, 1, Adafactor(), rate=Linear(0.1), steps=300).parameters.round(2)
        np.float32(3.0)

    Source:
        Shazeer and Stern, Adafactor, 2018, algorithms 4 to 6, as torch.optim.Adafactor. optax adds its epsilon, 1e-30,
        to the square, factors the two largest axes and only where both have 128 places, and does not bound the rate by
        1 / sqrt(count): with factors and a rate below the bound it is 1.3e-6 off.
    """

    power: Number = 0.8
    epsilon_1: Number = 1.1920929e-07
    epsilon_2: Number = 1e-3
    clip: Number = 1.0
    weight_decay: Number = 0.0
    usual_rate: ClassVar[float] = 1e-2

    def check(self) -> None:
        require(0 <= self.power <= 1, "power", "must be in [0, 1]", self.power)
        require(self.epsilon_1 > 0, "epsilon_1", "must be > 0", self.epsilon_1)
        require_sizes(epsilon_2=self.epsilon_2)
        require(self.clip > 0, "clip", "must be > 0", self.clip)
        require_sizes(weight_decay=self.weight_decay)

    def init_one(self, parameter: Tensor) -> TensorState:
        dtype, shape = working_dtype(parameter), tuple(parameter.shape)
        if len(shape) < 2:
            return {"velocity": tf.zeros(shape, dtype)}
        return {
            "columns": tf.zeros((*shape[:-2], 1, shape[-1]), dtype),
            "rows": tf.zeros((*shape[:-1], 1), dtype),
        }

    def update_one(
        self, gradient: Tensor, state: TensorState, parameter: Tensor, rate: Scalar, count: Scalar
    ) -> tuple[Tensor, TensorState]:
        dtype = working_dtype(parameter)
        gradient, rate = tf.cast(gradient, dtype), ops.cast(rate, dtype)
        time = ops.cast(count, "float64")
        keep = 1 - ops.power(time, -ops.convert_to_tensor(self.power, "float64"))
        root, state = self.root(gradient, state, keep)
        step = gradient / ops.maximum(root, cast(self.epsilon_1, root))
        step = step / ops.maximum(1.0, mean_length(step) / cast(self.clip, step))
        least = ops.maximum(cast(self.epsilon_2, step), mean_length(parameter))
        bounded = ops.minimum(rate, ops.cast(1 / ops.sqrt(time), dtype))
        decay = parameter * ops.cast(cast(self.weight_decay, rate) * rate, parameter.dtype)
        return -tf.cast(bounded * least * step, parameter.dtype) - decay, state

    def root(self, gradient: Tensor, state: TensorState, keep: Tensor) -> tuple[Tensor, TensorState]:
        """Return the root of the second moment, and the next state."""
        squares = tf.square(tf.minimum(tf.abs(gradient), LARGEST))
        if "velocity" in state:
            velocity = running_mean(state["velocity"], squares, keep)
            return tf.sqrt(velocity), {"velocity": velocity}
        height, width = (max(1, size) for size in squares.shape[-2:])
        rows = running_mean(state["rows"], tf.reduce_sum(squares, -1, keepdims=True) / width, keep)
        columns = running_mean(state["columns"], tf.reduce_sum(squares, -2, keepdims=True) / height, keep)
        mean = tf.reduce_sum(rows, -2, keepdims=True) / height
        return tf.sqrt(rows / ops.maximum(mean, cast(self.epsilon_1, mean))) * tf.sqrt(columns), {
            "columns": columns,
            "rows": rows,
        }


@registry.register
class SM3(OfTensors):
    """Adagrad whose sums are kept for slices of a tensor: the least over the slices of a number bounds its sum.

    For each axis of a tensor, A has one number for each of its places; v = beta_2 * min(A of the number's places over
    the axes) + (1 - beta_2, or 1 where beta_2 is 1) * gradient ** 2; A = max(v over the other axes);
    m = beta_1 * m + (1 - beta_1) * gradient / sqrt(v + epsilon), 0 where v is 0; update = -rate * m.
    Of a vector and a scalar A is v: Adagrad. A convolution has sums for each row and column of its window, its inputs
    and its filters, the kernel of an attention for inputs, heads and their places.
    For embeddings and sparse features; with beta_2 of 1 steps only get smaller, so that the usual rate is 0.1.
    State: 4 bytes a float32 parameter for m, and 4 a place of each axis. Validation loss after 300 updates on the
    digits, best of three rates, median of three seeds: 0.066 of a perceptron and 0.089 of a convolutional net, of Adam
    0.037 and 0.052.

    Args:
        beta_1: The factor of the running mean of the steps, in [0, 1).
        beta_2: The factor of the sums, in (0, 1].
        epsilon: Added below the root, >= 0.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> from kopt.training import minimize
        >>> minimize(lambda w: (w - 3) ** 2, 0, SM3(), rate=0.5, steps=300).parameters.round(3)
        np.float32(3.0)

    Source:
        Anil et al., Memory-Efficient Adaptive Optimization, 2019, SM3-II, as optax, which refuses scalars.
    """

    beta_1: Number = 0.9
    beta_2: Number = 1.0
    epsilon: Number = 1e-8
    usual_rate: ClassVar[float] = 0.1

    def check(self) -> None:
        require_factors(beta_1=self.beta_1)
        require(0 < self.beta_2 <= 1, "beta_2", "must be in (0, 1]", self.beta_2)
        require_sizes(epsilon=self.epsilon)

    def init_one(self, parameter: Tensor) -> TensorState:
        rank = len(parameter.shape)
        sums = {
            f"axis{axis}": ops.zeros([size if place == axis else 1 for place in range(rank)], parameter.dtype)
            for axis, size in enumerate(parameter.shape)
        }
        return {"momentum": ops.zeros_like(parameter), **(sums or {"axis0": ops.zeros_like(parameter)})}

    def update_one(
        self, gradient: Tensor, state: TensorState, parameter: Tensor, rate: Scalar, count: Scalar
    ) -> tuple[Tensor, TensorState]:
        rank = len(parameter.shape)
        least = functools.reduce(ops.minimum, [state[f"axis{axis}"] for axis in range(max(1, rank))])
        beta = ops.convert_to_tensor(self.beta_2, "float64")
        new = cast(ops.where(beta < 1, 1 - beta, 1.0), parameter)
        velocity = ops.square(gradient) * new + least * cast(self.beta_2, parameter)
        inverse = ops.where(velocity > 0, tf.math.rsqrt(velocity + cast(self.epsilon, parameter)), 0)
        momentum = running_mean(state["momentum"], gradient * ops.cast(inverse, parameter.dtype), self.beta_1)
        sums = {
            f"axis{axis}": largest(velocity, [place for place in range(rank) if place != axis])
            for axis in range(max(1, rank))
        }
        return -rate * momentum, {"momentum": momentum, **sums}


def largest(numbers: Tensor, axes: list[int]) -> Tensor:
    """Return the largest of numbers >= 0 over axes, which stay; 0 of none."""
    return tf.maximum(tf.reduce_max(numbers, axes, keepdims=True), 0) if axes else numbers
