"""A bare GradientTape minimization."""

import inspect
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf

from kopt.rules import Rule
from kopt.rules.in_float32 import wide
from kopt.schedules import Constant, Schedule
from kopt.values.checks import require
from kopt.values.html_table import html_table
from kopt.values.texts import clipped
from kopt.values.types import Nest, Tensor, Variable

__all__ = ["Minimum", "minimize"]

MOST = 6  # numbers of an array that are shown

Loss: TypeAlias = Callable[..., Tensor]  # of the parameters
Start: TypeAlias = Nest  # a number, an array or a variable, or a list or tuple of these


class Minimum(NamedTuple):
    """The end of a minimization: `parameters` in the form of `start`, and the `losses` before each update, (steps,)."""

    parameters: Start
    losses: np.ndarray

    def __repr__(self) -> str:
        return f"<Minimum at {self.place()}: loss {self.losses[-1]:.4g} before the last of {len(self.losses):,} steps>"

    def _repr_html_(self) -> str:
        ends = [("first loss", f"{self.losses[0]:.6g}"), ("last loss", f"{self.losses[-1]:.6g}")]
        return html_table("Minimum", [("parameters", self.place()), *ends, ("steps", f"{len(self.losses):,}")])

    def place(self) -> str:
        """Return the parameters as one short text."""
        found = [np.array2string(np.asarray(one), threshold=MOST) for one in tf.nest.flatten(self.parameters)]
        return clipped(" ".join(", ".join(found).split()), 40 * MOST)


def minimize(loss: Loss, start: Start, rule: Rule, *, rate: float | Schedule, steps: int) -> Minimum:
    """Minimize a function of a few numbers by a rule, as one compiled loop.

    parameter <- parameter + rule.update(d loss / d parameter, ...), `steps` times; the loss is computed inside the tape
    at every step. The result is `rule.evaluate` of the last parameters: the same, unless the rule keeps others. Use it
    for textbook exercises and small fits, and `training.Loop` for models.

    Args:
        loss: A function that returns a scalar tensor. It is called with the parameters, or, when `start` is variables,
            without arguments.
        start: A number or array, or a tuple of them for a loss of several arguments; integers become float32. Or one or
            several float `tf.Variable`s, which the loss closes over and which are changed in place.
        rule: The update rule.
        rate: The learning rate, a number >= 0 or a schedule over steps, whose duration is `steps` unless it has one.
        steps: Number of updates, >= 1.

    Returns:
        The parameters (arrays, or the variables) and the losses.

    Raises:
        ValueError: When an argument is out of range, a variable holds integers, or the loss does not depend on a
            parameter.

    Example:
        >>> from kopt.rules import Adam
        >>> found = minimize(lambda a, b: (a - 1) ** 2 + (b + 2) ** 2, (0, 0), Adam(), rate=0.1, steps=300)
        >>> [round(float(value), 3) for value in found.parameters]
        [1.0, -2.0]

    Source:
        `tf.GradientTape`'s guide, written out once.
    """
    require(isinstance(rule, Rule), "rule", "must be a kopt rule", rule)
    require(isinstance(steps, Integral) and steps >= 1, "steps", "must be a whole number >= 1", steps)
    schedule = (rate if isinstance(rate, Schedule) else Constant(rate)).resolve(float(steps))
    given = is_variable(start) or isinstance(start, Sequence) and any(map(is_variable, start))
    several = isinstance(start, (list, tuple)) if given else isinstance(start, tuple)
    variables = list(start) if several else [start]
    require(len(variables) > 0, "start", "must not be empty", start)
    variables = [checked(variable) for variable in variables] if given else [variable_of(value) for value in variables]
    require_arity(loss, 0 if given else len(variables))
    at_variables = loss if given else lambda: loss(*variables)
    # A new function for each call: it closes over the loss and the variables, so no trace could be used again.
    losses = tf.function(lambda: descend(at_variables, variables, rule, schedule, steps), autograph=False)().numpy()
    found = variables if given else [variable.numpy() for variable in variables]
    return Minimum(tuple(found) if several else found[0], losses)


def require_arity(loss: Loss, count: int) -> None:
    """Raise ValueError when Python knows that a loss does not take that many arguments."""
    require(callable(loss), "loss", "must be a function", loss)
    try:
        signature = inspect.signature(loss)
    except (TypeError, ValueError):  # some functions in C
        return
    try:
        signature.bind(*[None] * count)
    except TypeError as error:
        rule = f"must take {count} arguments by place" if count else "must take no argument, for start is variables"
        raise ValueError(f"loss {rule}, got one that takes {signature}.") from error


def descend(
    loss: Callable[[], Tensor], variables: list[Variable], rule: Rule, schedule: Schedule, steps: int
) -> Tensor:
    """Run the updates; return the loss before each of them."""
    rule = rule.bind(variables)

    def update(step: Tensor, state: Nest, losses: tf.TensorArray) -> tuple[Tensor, Nest, tf.TensorArray]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            value = tf.convert_to_tensor(loss())
        require(value.shape.rank in (0, None), "loss", "must give a scalar", tuple(value.shape))
        gradients = [
            tf.convert_to_tensor(gradient) if gradient is not None else None
            for gradient in tape.gradient(value, variables)
        ]
        for place, gradient in enumerate(gradients):
            require(gradient is not None, "loss", f"must depend on parameter {place} (counted from 0)", "no gradient")
        values = wide([variable.read_value() for variable in variables])
        updates, state = rule.update(wide(gradients), state, values, schedule(step), step + 1)
        for variable, old, change in zip(variables, values, updates):
            variable.assign(tf.cast(old + change, variable.dtype))
        return step + 1, state, losses.write(step, tf.cast(value, "float32"))

    state = rule.init(wide([variable.read_value() for variable in variables]))
    losses = tf.TensorArray("float32", steps)
    _, state, losses = tf.while_loop(lambda step, *_: step < steps, update, (tf.constant(0), state, losses))
    found = rule.evaluate(state, wide([variable.read_value() for variable in variables]))
    for variable, value in zip(variables, found):
        variable.assign(tf.cast(value, variable.dtype))
    return losses.stack()


def is_variable(value: Start | Variable) -> bool:
    return isinstance(value, tf.Variable)


def checked(variable: Variable) -> tf.Variable:
    """Return a variable; raise ValueError when it is none, or holds no floats."""
    require(is_variable(variable), "start", "must be all variables or none", variable)
    require(variable.dtype.is_floating, variable.name.split(":")[0], "must hold floats", variable.dtype.name)
    return variable


def variable_of(value: Start) -> tf.Variable:
    """Return a new variable that holds a number or an array; raise ValueError when these are not finite numbers."""
    array = np.asarray(value)
    require(array.dtype.kind in "fiub", "start", "must be numbers", value)
    require(bool(np.all(np.isfinite(array))), "start", "must be finite", value)
    return tf.Variable(array if array.dtype == "float64" and isinstance(value, np.ndarray) else array.astype("float32"))
