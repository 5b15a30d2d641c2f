"""The executor of a population: the steps of an epoch for every member, in one program."""

import logging
import time
from collections.abc import Mapping, Sequence

import tensorflow as tf

from kopt.training.execute.base import Executor, TracedStep
from kopt.training.execute.compile_cache import kept
from kopt.training.execute.estimate import Plan, work_of
from kopt.training.execute.xla import StepGraph, slowness
from kopt.training.feed.chunks import Arrays, Chunk, ChunkResult, ResidentChunk
from kopt.tuning.population.choice import why_in_turn
from kopt.tuning.population.mapping import mapped
from kopt.tuning.population.member import Logs, MemberState
from kopt.tuning.population.programs import MemberProgram, ProgramKey, Programs
from kopt.values.checks import require
from kopt.values.types import ArrayLike, ConcreteFunction, Nest, Tensor

log = logging.getLogger("kopt")

LOOPS = "TensorList"  # how the operations begin by which a loop goes over a sequence


class PopulationExecutor(Executor[ResidentChunk]):
    """Runs the steps of a chunk for every member.

    The members' states are stacked, a row each, and a step is mapped over the rows, where that is estimated to be
    faster. A step with convolutions or recurrent layers is not: TensorFlow has no fast kernel for as many filters as
    members, and no mapped gradient of a loop over a sequence. Else members take turns in one program that is traced
    once.

    Args:
        traced: The step of the first member alone, by whose operations is decided what is mapped and what XLA compiles.
        programs: The step of a member, and what was compiled of it so far.
        numbers: The numbers by which members differ: path -> a float64 vector.
        steps: The steps that each member is to train for.
        planned: The number of members that the program is to train, one population after the other.
        vectorize: Whether to map; None for what is estimated to be faster.

    Attributes:
        state: The stacked states.
    """

    def __init__(
        self,
        traced: TracedStep,
        programs: Programs,
        numbers: Mapping[str, Tensor],
        steps: int,
        planned: int,
        vectorize: bool | None = None,
    ):
        super().__init__(traced)
        self.programs, self.numbers, self.vectorize = programs, dict(numbers), vectorize
        self.steps, self.planned = steps, planned
        self.state: MemberState
        self.judged = False
        self.xla: bool | None = None

    @property
    def members(self) -> int:
        """The number of members in the program."""
        return int(self.state.updates.shape[0])

    def takes(self, chunk: Chunk) -> bool:
        return isinstance(chunk, ResidentChunk)

    def maps(self, arrays: Arrays) -> bool:
        """Return whether the step is mapped over members, and not called for one after the other.

        Raises:
            ValueError: When it is to be mapped, and has a loop over a sequence.
        """
        if not self.judged:
            alone = self.traced.trace(arrays.whole_batch, False)
            graph = StepGraph(alone)
            loops = any(node.op.startswith(LOOPS) for node in graph.nodes)
            require(not (loops and self.vectorize), "vectorize", "must be None or False for recurrent layers", True)
            why = "loops over sequences, which cannot be mapped" * loops or slowness(graph.slow())
            if self.vectorize is None:
                work = work_of(Plan(None, lambda: alone, arrays.fixed_size))
                why = why or why_in_turn(work, self.planned, self.steps)
                self.vectorize = not why
                log.info("population: %s", why and f"one member after the other, {why}" or "all members in each step")
            self.judged = True
        return bool(self.vectorize)

    def decide(self, chunk: ResidentChunk) -> bool:
        """Return whether XLA compiles the program: where it saves more time over the planned steps than it takes."""
        if self.xla is None:
            arrays = chunk.arrays
            bodies = 1 if arrays.even else 2
            alone = lambda: self.traced.trace(arrays.whole_batch, False)
            maps = self.maps(arrays)
            trace = (lambda: self.mapped_trace(arrays)) if maps else alone
            steps = chunk.planned if maps or chunk.planned is None else chunk.planned * self.members
            plan = Plan(steps, trace, arrays.fixed_size, bodies)
            self.xla = self.traced.decide(arrays.batch_key, lambda: arrays.whole_batch, plan)
        return self.xla

    def mapped_trace(self, arrays: Arrays) -> ConcreteFunction:
        """Return the step for all members on one batch, traced without XLA."""
        specs = lambda nest: tf.nest.map_structure(lambda one: tf.TensorSpec(one.shape, one.dtype), nest)
        batch = tf.nest.map_structure(
            lambda spec: None if spec is None else tf.TensorSpec([self.members, *spec.shape], spec.dtype),
            arrays.whole_batch,
        )
        function = tf.function(lambda *given: mapped(self.programs.step.update)(*given), autograph=False)
        return function.get_concrete_function(specs(self.state), specs(self.numbers), batch)

    # Training and evaluation

    def run(self, chunk: ResidentChunk) -> ChunkResult:
        """Train every member for the steps of an epoch; `orders` has a row a member, or one row that all share."""
        arrays, xla = chunk.arrays, self.decide(chunk)
        shared = int(chunk.orders.shape[0]) == 1
        orders = chunk.orders[0] if shared else chunk.orders
        self.state, logs = self.called("train", arrays, xla, shared, orders, self.state)
        return ChunkResult(chunk.steps, (as_numpy(logs),))

    def evaluate(self, arrays: Arrays, state: MemberState) -> Logs:
        """Return the logs of every member over arrays in their order, by the weights of a state."""
        _, logs = self.called("test", arrays, bool(self.xla), True, tf.range(arrays.examples), state)
        return as_numpy(logs)

    def shown(self) -> MemberState:
        """Return the state with the weights by which the members are evaluated."""
        return self.state.but(weights=self.programs.shown(self.state, self.numbers))

    def pick(self, rows: Sequence[int]) -> None:
        """Let the members be those of some rows; a row may be there several times."""
        pick = lambda leaf: tf.gather(leaf, list(rows))
        self.state, self.numbers = (tf.nest.map_structure(pick, one) for one in (self.state, self.numbers))

    def called(
        self,
        phase: str,
        arrays: Arrays,
        xla: bool,
        shared: bool,
        orders: Tensor,
        state: MemberState,
    ) -> tuple[MemberState, Logs]:
        """Call the program of a phase, for all members or for one after the other."""
        is_mapped = self.maps(arrays)
        rows = int(state.updates.shape[0])
        members = rows if is_mapped else 0
        key = ProgramKey(phase, arrays.batch_key, arrays.examples, arrays.batch_size, xla, shared, members)
        made, started = self.programs.made, time.perf_counter()
        new = key not in made
        given = lambda place: self.arguments(place, state, orders, shared, arrays)
        places = [None] if is_mapped else list(range(rows))
        if new:
            program = MemberProgram(self.programs.step, arrays, phase, is_mapped, shared)
            made[key] = program.compiled(xla, given(places[0]))
        with kept():
            found = [made[key](*given(place)) for place in places]
        if new:
            self.programs.compiling[phase] = time.perf_counter() - started
        return found[0] if is_mapped else tf.nest.map_structure(lambda *ones: tf.stack(ones), *found)

    def arguments(
        self, place: int | None, state: MemberState, orders: Tensor, shared: bool, arrays: Arrays
    ) -> list[Nest]:
        """Return the arguments of a program: those of the member in a row, or of all members when None."""
        row = lambda nest: nest if place is None else tf.nest.map_structure(lambda leaf: leaf[place], nest)
        return [row(state), row(self.numbers), orders if shared else row(orders), *arrays.leaves]


def as_numpy(logs: Logs) -> dict[str, ArrayLike]:
    """Return logs as NumPy vectors, a number a member."""
    return {name: value.numpy() for name, value in logs.items()}
