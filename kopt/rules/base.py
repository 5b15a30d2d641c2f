"""Rule: a pure function from gradients to updates, over lists of parameters."""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, TypeAlias

import tensorflow as tf
from keras import ops

from kopt.values.fields import Value
from kopt.values.registry import Registry
from kopt.values.types import Nest, Scalar, Tensor, Variable

__all__ = ["Elementwise", "Rule", "TensorState", "cast", "count_at", "first_count", "missing_share", "registry"]
__all__ += ["running_mean"]

registry: Registry["Rule"] = Registry("rules")

TensorState: TypeAlias = dict[str, Tensor]  # the state of one parameter, by name
UpdateOne: TypeAlias = Callable[[Tensor, Nest, Tensor, Scalar, Scalar], tuple[Tensor, Nest]]

LARGE = 100_000  # numbers of a tensor that fills a core's cache


class Rule(Value):
    """An update rule: `init` makes its state, and `update` turns gradients into updates of the parameters.

    Both are pure and take lists of all parameters, so that a rule may look across them. The new parameter is
    parameter + update. `optimizers.Optimizer(rule, rate)` runs a rule in compile and fit; `training.minimize` runs it
    directly.

    Example:
        >>> import keras
        >>> from kopt.rules import GradientDescent
        >>> rule, parameters = GradientDescent(), [keras.ops.array([1.0])]
        >>> updates, state = rule.update([keras.ops.array([2.0])], rule.init(parameters), parameters, rate=0.1, count=1)
        >>> print(updates[0].numpy())
        [-0.2]
    """

    in_fit = "kopt.optimizers.Optimizer({}) in compile"
    usual_rate: ClassVar[float] = 1e-3  # the learning rate to begin with
    keeps_infinity: ClassVar[bool] = False  # whether a gradient that is not finite makes updates or state not finite
    needs_model: ClassVar[bool] = False  # whether `bind` takes the last kernel that it sees for the model's head
    counts_each: ClassVar[bool] = False  # whether `update` takes a list for the count, where parameters begin later
    packs: ClassVar[bool] = False  # whether every number is treated alone, so that tensors may be put side by side
    has_evaluation_weights: ClassVar[bool] = False  # whether `evaluate` returns other weights than those of training
    rounding: ClassVar[float] = 1.0  # how often larger errors of rounding become than those of a formula by element

    def bind(self, variables: Sequence[Variable]) -> "Rule":
        """Return the rule for these variables, with names and selectors turned into positions in the list."""
        return self

    @abstractmethod
    def init(self, parameters: Sequence[Tensor]) -> Nest:
        """Return the state before the first update: a nest of tensors, in which place i of a list is parameter i's."""

    @abstractmethod
    def update(
        self, gradients: Sequence[Tensor], state: Nest, parameters: Sequence[Tensor], rate: Scalar, count: Scalar
    ) -> tuple[list[Tensor], Nest]:
        """Compute one update.

        Args:
            gradients: A dense tensor for each parameter.
            state: The state that `init` or the last `update` returned.
            parameters: The values of the parameters.
            rate: The learning rate, a scalar.
            count: The number of this update; the first is 1. For a rule that `counts_each`, it may be a list with the
                number for each parameter, counted from its first gradient: a scalar, or a tensor of its shape.

        Returns:
            The update to add to each parameter, and the next state.
        """

    def evaluate(self, state: Nest, parameters: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the parameters for evaluation: the same, unless the rule `has_evaluation_weights`."""
        return parameters

    def restore(self, state: Nest, evaluated: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the parameters of training that have these for evaluation: the inverse of `evaluate`."""
        return evaluated


class Elementwise(Rule):
    """A rule for one tensor, applied to each parameter alone; all numbers of a tensor are treated alike."""

    counts_each = True

    def init_one(self, parameter: Tensor) -> TensorState:
        """Return the state of one parameter before the first update; empty by default."""
        return {}

    @abstractmethod
    def update_one(
        self, gradient: Tensor, state: TensorState, parameter: Tensor, rate: Scalar, count: Scalar
    ) -> tuple[Tensor, TensorState]:
        """Return the update to add to one parameter, and its next state; `rate` has the dtype of the parameter."""

    def init(self, parameters: Sequence[Tensor]) -> list[TensorState]:
        return [self.init_one(parameter) for parameter in parameters]

    def update(
        self, gradients: Sequence[Tensor], state: Nest, parameters: Sequence[Tensor], rate: Scalar, count: Scalar
    ) -> tuple[list[Tensor], list[TensorState]]:
        return one_by_one(self.update_one, gradients, state, parameters, rate, count)


def one_by_one(
    update_one: UpdateOne,
    gradients: Sequence[Tensor],
    state: Nest,
    parameters: Sequence[Tensor],
    rate: Scalar,
    count: Scalar,
) -> tuple[list[Tensor], list[Nest]]:
    """Update each parameter alone, a large one after the last: what it needs in between then stays in the cache."""
    updates: list[Tensor] = []
    after: list[Nest] = []
    for place, (gradient, one, parameter) in enumerate(zip(gradients, state, parameters, strict=True)):
        large = after and math.prod(parameter.shape) >= LARGE
        with tf.control_dependencies(tf.nest.flatten([updates[-1], after[-1]]) if large else []):
            update, new = update_one(gradient, one, parameter, cast(rate, parameter), count_at(count, place))
        updates.append(update)
        after.append(new)
    return updates, after


def count_at(count: Scalar, place: int) -> Scalar:
    """Return the number of an update as the parameter at a place counts it.

    Args:
        count: The count of all parameters, or a list of theirs.
        place: The parameter's position.

    Returns:
        The count of the parameter.

    Example:
        >>> count_at(3, 1), count_at([3, 2], 1)
        (3, 2)

    Source:
        PyTorch's optimizers count the updates of each parameter.
    """
    return count[place] if isinstance(count, list) else count


def first_count(count: Scalar) -> Scalar:
    """Return the number of an update as the parameter that began first counts it: that of what all share.

    Args:
        count: The count of all parameters, or a list of theirs.

    Returns:
        The largest count.

    Example:
        >>> first_count(3), int(first_count([ops.array(3), ops.array([1, 2])]))
        (3, 3)

    Source:
        Folklore.
    """
    return ops.max(ops.stack([ops.max(one) for one in count])) if isinstance(count, list) else count


def running_mean(mean: Tensor, new: Tensor, beta: Scalar) -> Tensor:
    """Return beta * mean + (1 - beta) * new: in this form infinity stays, where mean + (new - mean) * ... makes NaN.

    Args:
        mean: The mean so far.
        new: What it takes in, of the same shape and dtype.
        beta: The share of the mean so far, in [0, 1).

    Returns:
        A tensor like the mean.

    Example:
        >>> float(running_mean(ops.array(1.0), ops.array(3.0), 0.75))
        1.5

    Source:
        Folklore.
    """
    return mean * cast(beta, mean) + new * cast(1 - beta, mean)


def missing_share(beta: Scalar, count: Scalar) -> Tensor:
    """Return 1 - beta ** count, in float64: what a running mean that began at 0 lacks after so many numbers.

    Args:
        beta: The factor of the mean, in [0, 1).
        count: How many numbers it has taken in.

    Returns:
        A float64 scalar.

    Example:
        >>> float(missing_share(0.9, 1).numpy().round(6))
        0.1

    Source:
        Kingma and Ba, Adam, 2015, section 3.
    """
    factor, time = ops.convert_to_tensor(beta, "float64"), ops.cast(count, "float64")
    return 1 - ops.power(factor, time)


def double(number: Scalar) -> Tensor:
    """Return a number as a float64 scalar; ops would make a float one of float32."""
    return ops.convert_to_tensor(number, "float64")


def cast(number: Scalar, like: Tensor) -> Tensor:
    """Cast a number of a rule to the dtype of a parameter; compute before it: 1 - 0.999 in float32 is 1e-5 off."""
    return ops.convert_to_tensor(number, like.dtype)  # ops.cast would take a float to float32 first
