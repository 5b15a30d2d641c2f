"""Muon: momentum of hidden matrices, made orthogonal."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import keras
import tensorflow as tf
from keras import ops

from kopt.rules.adam import AdamW
from kopt.rules.base import Rule, cast, registry, running_mean
from kopt.rules.moments import require_factors, require_sizes
from kopt.rules.norms import length
from kopt.rules.routed import Part, known
from kopt.select import Selector, kernels
from kopt.values.checks import require
from kopt.values.fields import Number
from kopt.values.types import Nest, Scalar, Tensor, Variable

__all__ = ["Muon"]

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the published iteration of degree 5: steepest at 0
OF_HEADS = ("query", "key", "value", "gate")  # the layers of attention whose kernels are (in, heads, size)


@registry.register
class Muon(Rule):
    """Orthogonalized momentum for hidden matrices, and another rule for the rest.

    m = momentum * m + (1 - momentum) * gradient; d = momentum * m + (1 - momentum) * gradient when nesterov, else m;
    update = -rate * (s * orthogonal(d) + weight_decay * parameter). orthogonal(d) sets all singular values of d to
    about 1 (0.7 to 1.2), by `iterations` of x <- a x + (b x x' + c (x x')^2) x from d / (|d| + epsilon), with (a, b, c)
    = (3.4445, -4.7750, 2.0315). The factor s is by `scale`: "match_rms_adamw", 0.2 * sqrt(max(out, in)), by which
    updates are as large as Adam's, so that a rate and a weight decay of AdamW can be kept; "original",
    sqrt(max(1, out / in)), with which rates near 0.02 are usual, and `rest_rate` near 0.015.

    Use it for networks whose cost is in matrices: transformers, convolutions, wide layers. The usual rate is 1e-3.

    A matrix is (in, out): the kernel of a dense or recurrent layer as it is, gates together; of a convolution all axes
    but the last one are in, of a depthwise one the window is in and the channels are out; of attention the heads belong
    to in or out, (in, heads * size) for query, key and value, (heads * size, out) for the output. With `to=None`, when
    bound to a model's variables, the hidden matrices are all kernels but the model's last one, which is its head's;
    embeddings, biases and norms are none. Variables that are not Keras', as those of `minimize`, are chosen by rank
    alone: two axes or more.

    Args:
        momentum: The factor of the running mean, in [0, 1).
        weight_decay: The share of a hidden matrix that an update subtracts at rate 1, >= 0; that of the rest is in
            `rest`.
        nesterov: Whether the newest gradient counts once more.
        scale: How large updates are, "match_rms_adamw" (Moonlight) or "original" (Keller Jordan).
        iterations: Number of iterations, >= 1.
        epsilon: Added to the norm, >= 0.
        to: The matrices; None for the hidden ones. Name them where the head is frozen or has another optimizer, which
            fit refuses without; an optimizer that is built by hand must see the head. What it holds of rank 0 and 1 is
            left to `rest`. A selector by layers must be bound to the model.
        rest: The rule for all other parameters.
        rest_rate: The learning rate of `rest`, as a ratio to the rate, >= 0.

    Raises:
        ValueError: When a number is out of range, or, at `bind`, `to` holds nothing or depends on layers, or is None
            and there is no kernel but one; in fit, when `to` is None and the optimizer does not update the model's last
            kernel.

    Example:
        >>> from kopt.training import minimize
        >>> goal = keras.ops.array([[3.0, 1.0], [0.0, 2.0]])
        >>> loss = lambda w: keras.ops.sum((w - goal) ** 2)
        >>> found = minimize(loss, keras.ops.zeros((2, 2)).numpy(), Muon(weight_decay=0), rate=0.02, steps=1000)
        >>> bool(abs(found.parameters - goal).numpy().max() < 0.02)
        True

    Source:
        Jordan, Muon: An optimizer for hidden layers in neural networks, 2024; the defaults, and the scale
        "match_rms_adamw", of Liu et al., Muon is Scalable for LLM Training, 2025, section 2.2. As `torch.optim.Muon`,
        which iterates in bfloat16, 9e-3 off after 200 steps, and this in float32; optax.contrib.muon corrects the bias
        of both parts of Nesterov's sum, 5e-3 off. `keras.optimizers.Muon` takes what has exactly two axes:
        of the 8 hidden matrices of a model with attention, two convolutions and a GRU it takes the GRU's 2, and with
        them the biases of attention, (heads, size), and of the GRU, and the model's head.
    """

    momentum: Number = 0.95
    weight_decay: Number = 0.1
    nesterov: bool = True
    scale: Literal["match_rms_adamw", "original"] = "match_rms_adamw"
    iterations: int = 5
    epsilon: Number = 1e-7
    to: Selector | None = None
    rest: Rule = AdamW(0.9, 0.95, 1e-8, weight_decay=0.1)
    rest_rate: Number = 1.0

    def check(self) -> None:
        require_factors(momentum=self.momentum)
        require_sizes(weight_decay=self.weight_decay)
        require(self.iterations >= 1, "iterations", "must be >= 1", self.iterations)
        require_sizes(epsilon=self.epsilon, rest_rate=self.rest_rate)

    @property
    def needs_model(self) -> bool:  # type: ignore[override]
        """Whether the hidden matrices are found by what the model's other variables are."""
        return self.to is None

    @property
    def counts_each(self) -> bool:  # type: ignore[override]
        """Whether the rest takes a count for each parameter."""
        return self.rest.counts_each

    @property
    def has_evaluation_weights(self) -> bool:  # type: ignore[override]
        """Whether the rest evaluates other weights than those of training."""
        return self.rest.has_evaluation_weights

    def bind(self, variables: Sequence[Variable]) -> Rule:
        leading = self.leading_of(variables)
        others = [variable for variable, axes in zip(variables, leading) if not axes]
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return BoundMuon(**(fields | {"rest": self.rest.bind(others), "leading": leading}))

    def leading_of(self, variables: Sequence[Variable]) -> tuple[int, ...]:
        """Return for each variable the number of first axes that are "in"; 0 for one that is not a hidden matrix."""
        if self.to is not None:
            held = [self.to.holds(known(variable)) for variable in variables]
            require(any(held), "to", "must choose something among the optimizer's variables", self.to)
        elif all(isinstance(variable, keras.Variable) for variable in variables):
            held = [kernels.holds(known(variable)) and axes_in(variable) > 0 for variable in variables]
            last = max((place for place, hidden in enumerate(held) if hidden), default=None)
            held = [hidden and place != last for place, hidden in enumerate(held)]
            rule = "must name the hidden matrices where there are none but the last kernel, which is the head's"
            require(any(held), "to", rule, self.to)
        else:
            held = [True] * len(variables)
        return tuple(axes_in(variable) if hidden else 0 for variable, hidden in zip(variables, held))

    def axes(self, parameters: Sequence[Tensor]) -> tuple[int, ...]:
        """Return `leading_of` the variables; without these, by the ranks of the parameters."""
        return tuple(by_rank(parameter.shape) for parameter in parameters)

    def part_of_rest(self, parameters: Sequence[Tensor]) -> Part:
        """Return the rule of the rest with the positions of its parameters."""
        positions = tuple(place for place, axes in enumerate(self.axes(parameters)) if not axes)
        return Part(self.rest, positions)

    def init(self, parameters: Sequence[Tensor]) -> Nest:
        momenta: list[Nest] = [
            ops.zeros_like(parameter) if axes else {} for parameter, axes in zip(parameters, self.axes(parameters))
        ]
        return {"momentum": momenta, "rest": self.part_of_rest(parameters).init(parameters)}

    def update(
        self, gradients: Sequence[Tensor], state: Nest, parameters: Sequence[Tensor], rate: Scalar, count: Scalar
    ) -> tuple[list[Tensor], Nest]:
        updates, momenta = list(gradients), list(state["momentum"])
        for place, axes in enumerate(self.axes(parameters)):
            if axes:
                given = gradients[place], momenta[place], parameters[place]
                updates[place], momenta[place] = self.update_matrix(*given, rate, axes)
        slow = ops.convert_to_tensor(rate, "float64") * ops.convert_to_tensor(self.rest_rate, "float64")
        part = self.part_of_rest(parameters)
        rest = part.update_into(updates, gradients, state["rest"], parameters, rate=slow, count=count)
        return updates, {"momentum": momenta, "rest": rest}

    def evaluate(self, state: Nest, parameters: Sequence[Tensor]) -> Sequence[Tensor]:
        found, part = list(parameters), self.part_of_rest(parameters)
        part.write(part.rule.evaluate, state["rest"], found)
        return found

    def restore(self, state: Nest, evaluated: Sequence[Tensor]) -> Sequence[Tensor]:
        found, part = list(evaluated), self.part_of_rest(evaluated)
        part.write(part.rule.restore, state["rest"], found)
        return found

    def update_matrix(
        self, gradient: Tensor, momentum: Tensor, parameter: Tensor, rate: Scalar, axes: int
    ) -> tuple[Tensor, Tensor]:
        """Return the update of one hidden matrix, whose first axes are "in", and its next momentum."""
        momentum = running_mean(momentum, gradient, self.momentum)
        direction = running_mean(gradient, momentum, 1 - self.momentum) if self.nesterov else momentum
        rows, columns = math.prod(parameter.shape[:axes]), math.prod(parameter.shape[axes:])
        found = orthogonal(ops.reshape(direction, (rows, columns)), self.iterations, self.epsilon)
        scales = {"match_rms_adamw": 0.2 * max(rows, columns) ** 0.5, "original": max(1, columns / rows) ** 0.5}
        step = ops.reshape(found, parameter.shape) * cast(scales[self.scale], parameter)
        return -(step + parameter * cast(self.weight_decay, parameter)) * cast(rate, parameter), momentum


class BoundMuon(Muon):
    """A `Muon` that knows for each parameter the number of first axes that are "in", 0 for the rest."""

    leading: tuple[int, ...] = ()

    def axes(self, parameters: Sequence[Tensor]) -> tuple[int, ...]:
        return self.leading


def by_rank(shape: Sequence[int]) -> int:
    """Return all axes but the last one, for a tensor of two or more that is not empty."""
    return max(0, len(shape) - 1) if math.prod(shape) else 0


def axes_in(variable: Variable) -> int:
    """Return the number of first axes of a kernel that are "in", by the names of Keras' layers; 0 for none."""
    layer, _, name = known(variable).path.rpartition("/")
    rank = by_rank(variable.shape)
    if rank == 2 and layer.rpartition("/")[2] in OF_HEADS:
        return 1
    return rank - 1 if rank > 1 and "depthwise" in name + layer.rpartition("/")[2] else rank


def orthogonal(matrix: Tensor, iterations: int, epsilon: Scalar) -> Tensor:
    """Set all singular values of a matrix to about 1 by Newton and Schulz's iteration, in float32 for half types."""
    x = ops.cast(matrix, "float32") if matrix.dtype.size < 4 else matrix
    x = x / ops.maximum(length(x) + cast(epsilon, x), cast(1e-37, x))
    tall = matrix.shape[0] > matrix.shape[1]
    a, b, c = (cast(number, x) for number in COEFFICIENTS)
    for _ in range(iterations):
        gram = tf.matmul(x, x, transpose_a=tall, transpose_b=not tall)
        factor = b * gram + c * tf.matmul(gram, gram)
        x = a * x + (tf.matmul(x, factor) if tall else tf.matmul(factor, x))
    return ops.cast(x, matrix.dtype)
