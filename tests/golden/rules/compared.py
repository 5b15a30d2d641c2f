"""A rule beside an independent implementation of it, on the same gradients: the oracles, and how far they are."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from problems import STEPS, along, problem, problems, rates

from kopt.rules import Rule

Arrays = list[np.ndarray]
# From the start and the rates of all steps: a function from the gradients of a step to the parameters after it.
Oracle = Callable[[Arrays, Sequence[float]], Callable[[Arrays], Arrays]]


@dataclasses.dataclass(frozen=True)
class Case:
    """A rule with its numbers, and the oracle with the same.

    Attributes:
        rule: The rule.
        oracle: The other implementation; one rule may have several, each in a case of its own.
        rate: The highest rate of the schedule.
        tolerance: The largest distance of a number, relative to its size and to the mean size of its tensor.
        only: The names of the parameters that are compared, all when empty.
        own_way: Whether the gradients are those along the oracle's own training: a rule that finds its own rate grows
            without bounds on gradients that do not depend on it.
        dtype: The type of the parameters and of all arithmetic; the gradients are float32.
    """

    rule: Rule
    oracle: Oracle
    rate: float = 0.01
    tolerance: float = 1e-5
    only: tuple[str, ...] = ()
    own_way: bool = False
    dtype: str = "float32"


def torch_oracle(make: Callable[..., Any]) -> Oracle:
    """The oracle of a PyTorch optimizer: `make(parameters)` returns it; its rate is set before each step.

    Shapes and layouts stay those of Keras; an optimizer that treats dimensions apart needs an oracle of its own.
    """
    torch = pytest.importorskip("torch", reason="torch is in the extra [peers]")

    def begin(start: Arrays, rates: Sequence[float]) -> Callable[[Arrays], Arrays]:
        parameters = [torch.nn.Parameter(torch.tensor(value)) for value in start]
        optimizer, left = make(parameters), iter(rates)

        def step(gradients: Arrays) -> Arrays:
            rate = next(left)
            for group in optimizer.param_groups:
                group["lr"] = rate
            for parameter, gradient in zip(parameters, gradients):
                parameter.grad = torch.tensor(gradient)
            optimizer.step()
            return [parameter.detach().numpy().copy() for parameter in parameters]

        return step

    return begin


def optax_oracle(make: Callable[..., Any]) -> Oracle:
    """The oracle of an optax transformation: `make(schedule)` returns it.

    Its scalars are float64: in float32, 1 - 0.999 ** count is 1e-5 off, and optax's RAdam with it 1e-3.
    """
    jax, optax = (pytest.importorskip(name, reason=f"{name} is in the extra [dev]") for name in ("jax", "optax"))

    def begin(start: Arrays, rates: Sequence[float]) -> Callable[[Arrays], Arrays]:
        table = jax.numpy.asarray(rates, start[0].dtype)
        transformation = make(lambda count: table[count])
        held = {"parameters": [jax.numpy.asarray(value) for value in start]}
        with jax.enable_x64(True):
            held["state"] = transformation.init(held["parameters"])

        @jax.jit
        def change(gradients, state, parameters):
            updates, state = transformation.update(gradients, state, parameters)
            return optax.apply_updates(parameters, updates), state

        def step(gradients: Arrays) -> Arrays:
            with jax.enable_x64(True):
                held["parameters"], held["state"] = change(gradients, held["state"], held["parameters"])
            return [np.array(value) for value in held["parameters"]]

        return step

    return begin


def by_rule(rule: Rule, start: Arrays, gradients: Sequence[Arrays], rates: Sequence[float]) -> list[Arrays]:
    """The parameters after each step, by one program; the rule's own evaluation weights are not taken."""
    variables = [tf.Variable(value, name=name) for value, name in zip(start, problem().names, strict=True)]
    bound = rule.bind(variables)
    stacked = [tf.constant(np.stack(values)) for values in zip(*gradients)]
    dtype = start[0].dtype
    table = tf.constant(rates, dtype)

    @tf.function
    def run():
        first = [tf.convert_to_tensor(variable) for variable in variables]
        steps = [tf.TensorArray(dtype, len(rates), element_shape=value.shape) for value in first]

        def step(place, state, parameters, steps):
            now = [values[place] for values in stacked]
            updates, state = bound.update(now, state, parameters, table[place], place + 1)
            parameters = [parameter + update for parameter, update in zip(parameters, updates)]
            return place + 1, state, parameters, [one.write(place, new) for one, new in zip(steps, parameters)]

        state = bound.init(first)
        loop = (tf.constant(0), state, first, steps)
        return [one.stack() for one in tf.while_loop(lambda place, *_: place < len(rates), step, loop)[3]]

    return [list(values) for values in zip(*(one.numpy() for one in run()))]


def distance(case: Case) -> float:
    """The largest distance of a number from the oracle's at any step, relative to its size and its tensor's."""
    table, theirs = rates(case.rate), list[Arrays]()
    start = [value.astype(case.dtype) for value in problems().start.values()]
    step = case.oracle([value.copy() for value in start], table)

    def followed(gradients: Arrays) -> Arrays:
        theirs.append(step([value.astype(case.dtype) for value in gradients]))
        return theirs[-1]

    given = along(followed) if case.own_way else problem()
    if not case.own_way:
        for gradients in given.gradients:
            followed(gradients)
    ours = by_rule(case.rule, start, [[one.astype(case.dtype) for one in each] for each in given.gradients], table)
    found = 0.0
    for place, name in enumerate(given.names):
        if case.only and name not in case.only:
            continue
        one, other = (np.stack([values[place] for values in run]).astype("float64") for run in (ours, theirs))
        assert one.shape == other.shape == (STEPS, *given.start[place].shape)
        assert np.abs(one - given.start[place]).max() > 1e-4, f"{name} did not move"
        axes = tuple(range(1, one.ndim))
        size = np.maximum(np.abs(other), np.abs(other).mean(axes, keepdims=True)) + 1e-30  # 0 where it is yet to move
        found = float(np.maximum(found, (np.abs(one - other) / size).max()))  # NaN stays
    return found
