"""The compiled functions of a member's step, which all populations of one structure share."""

import contextlib
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import tensorflow as tf

from kopt import keras_internals as internals
from kopt.training.execute.compile_cache import named
from kopt.training.feed.chunks import Arrays
from kopt.tuning.population.mapping import mapped, traced
from kopt.tuning.population.member import Logs, MemberState, MemberStep, Numbers
from kopt.values.types import Batch, Nest, Tensor

RATE = "learning_rate"


class ProgramKey(NamedTuple):
    """All that a program depends on.

    Attributes:
        phase: "train" or "test".
        batch: The key of the kind of batch.
        examples: The number of examples.
        batch_size: The number of examples of a batch.
        xla: Whether XLA compiles it.
        shared: Whether all members see the examples in one order.
        members: The number of members in a program that is mapped over them; 0 in one for one after the other.
    """

    phase: str
    batch: Hashable
    examples: int
    batch_size: int
    xla: bool
    shared: bool
    members: int


class Programs:
    """The compiled functions of a member's step: made once for all populations that have the same structure.

    Args:
        step: The step of a member.

    Attributes:
        start: Mapped over members, the state before the first update.
        shown: Mapped over members, the weights by which they are evaluated.
        averaged: Mapped over members, the states with their weights taken into the average.
        made: The programs of an epoch or an evaluation.
        compiling: The seconds that the last compiling call of each phase took.
        seconds: The seconds of an epoch in which nothing was compiled, for each member; 0 before the first one.
    """

    def __init__(self, step: MemberStep):
        self.step = step
        self.start, self.shown, self.averaged = traced(step.start), traced(step.shown), traced(step.averaged)
        self.made: dict[ProgramKey, Callable[..., Nest]] = {}
        self.compiling: dict[str, float] = {}
        self.seconds = 0.0

    @property
    def sizes(self) -> set[int]:
        """The numbers of members for which an epoch of training is compiled."""
        return {key.members for key in self.made if key.phase == "train"}


class MemberProgram:
    """The steps of an epoch, or of an evaluation, as one function of the members' states.

    Args:
        step: The step of a member.
        arrays: The data.
        phase: "train" or "test".
        is_mapped: Whether states and numbers are stacked.
        shared: Whether all members see the examples in one order.
    """

    def __init__(self, step: MemberStep, arrays: Arrays, phase: str, is_mapped: bool, shared: bool):
        self.step, self.phase, self.is_mapped, self.shared = step, phase, is_mapped, shared
        self.size, self.full = arrays.fixed_size, arrays.examples // arrays.fixed_size
        self.rest = 0 if arrays.even else arrays.examples % arrays.fixed_size
        self.missing = tf.nest.map_structure(lambda leaf: leaf is None, arrays.data)

    def compiled(self, xla: bool, given: Sequence[Nest]) -> Callable[..., Nest]:
        """Return the program for such arguments as are given, compiled at its first call, which is within `kept`."""

        def run(state: MemberState, numbers: Numbers, orders: Tensor, *leaves: Tensor) -> tuple[MemberState, Logs]:
            with internals.fast_random() if xla else contextlib.nullcontext():
                return self.run(state, numbers, orders, leaves)

        function = tf.function(run, jit_compile=xla or None, autograph=False).get_concrete_function(*given)
        return named(function) if xla else function

    def run(
        self, state: MemberState, numbers: Numbers, orders: Tensor, leaves: Sequence[Tensor]
    ) -> tuple[MemberState, Logs]:
        """Run the steps; return the states and the logs."""
        step, training = self.step, self.phase == "train"
        whole = over(step.fresh, self.is_mapped)(state, numbers)
        one = step.update if training else step.evaluate
        axis = 0 if self.shared or not self.is_mapped else 1
        ordered = orders[..., : self.full * self.size]
        ordered = tf.reshape(ordered, [*orders.shape[:-1], self.full, self.size])

        def stepped(state: MemberState, rows: Tensor) -> MemberState:
            left = iter(leaves)
            batch = tf.nest.map_structure(lambda none: None if none else tf.gather(next(left), rows), self.missing)
            return self.on_batch(one, state, numbers, batch)

        body = lambda number, state: (number + 1, stepped(state, tf.gather(ordered, number, axis=axis)))
        start = tf.constant(0), whole
        _, whole = tf.while_loop(lambda number, _: number < self.full, body, start, parallel_iterations=1)
        if self.rest:
            whole = stepped(whole, orders[..., self.full * self.size :])
        logs = dict(over(step.results, self.is_mapped)(whole, numbers))
        if training:
            rate = lambda state, numbers: step.rate(numbers, tf.maximum(state.updates - 1, 0))
            logs[RATE] = over(rate, self.is_mapped)(whole, numbers)
        return whole, logs

    def on_batch(
        self,
        one: Callable[[MemberState, Numbers, Batch], MemberState],
        state: MemberState,
        numbers: Numbers,
        batch: Batch,
    ) -> MemberState:
        """Run a step on one batch, of each member or of all."""
        if not self.is_mapped:
            return one(state, numbers, batch)
        if self.shared:
            return mapped(lambda state, numbers: one(state, numbers, batch))(state, numbers)
        return mapped(one)(state, numbers, batch)


def over(function: Callable[..., Nest], is_mapped: bool) -> Callable[..., Nest]:
    """Return a function of one member as a function of stacked members, where they are stacked."""
    return mapped(function) if is_mapped else function
