"""The executor over resident arrays: batches are gathered in the graph, in a given order of the examples."""

import logging
from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np
import tensorflow as tf

from kopt import keras_internals as internals
from kopt.state import GraphSnapshot, training_variables
from kopt.training.execute.base import Executor, Refused, TracedStep, blank
from kopt.training.execute.compile_cache import named
from kopt.training.execute.estimate import Plan
from kopt.training.feed.batches import shared
from kopt.training.feed.chunks import Arrays, Chunk, ChunkResult, ResidentChunk
from kopt.training.steps.train import TrainStep
from kopt.values.types import Batch, ConcreteFunction, Nest, Tensor, Variable

log = logging.getLogger("kopt")

LENGTHS = 8  # of arrays for which "auto" compiles with XLA: 0.5 s and more each, and 5 MB that are never freed
SMALL_BYTES = 2**22  # of arrays that are put into order whole
STATE_BYTES = 2**26  # of state that an unchecked program may keep a second time


class ResidentExecutor(Executor[ResidentChunk]):
    """Runs the parts of epochs of a chunk in one program."""

    def __init__(self, traced: TracedStep):
        super().__init__(traced)
        self.lengths: dict[Hashable, set[int]] = {}  # that XLA has compiled for, by kind of batch

    @property
    def resets_metrics(self) -> bool:
        return self.traced.resets_metrics()

    @property
    def spans_epochs(self) -> bool:
        return self.traced.logs == "metrics" and self.traced.resets_metrics()

    def takes(self, chunk: Chunk) -> bool:
        return isinstance(chunk, ResidentChunk)

    def run(self, chunk: ResidentChunk) -> ChunkResult:
        traced, arrays = self.traced, chunk.arrays
        plan = self.plan(chunk)
        xla = traced.decide(arrays.batch_key, lambda: arrays.whole_batch, plan)
        xla = xla and self.compiles(arrays, chunk.planned)
        key = traced.key("resident", arrays.key(xla, len(chunk.orders)), xla)
        make = lambda: ResidentProgram(traced, arrays, len(chunk.orders), xla)
        try:
            found = traced.call(key, make, chunk, refusable=xla and traced.jit == "auto")
        except Refused as refusal:
            traced.refuse_xla(arrays.batch_key)
            log.info("jit: False, XLA refuses the step: %s", refusal)
            return self.run(chunk)
        values = tf.nest.map_structure(lambda numbers: numbers.numpy(), found)
        # Logs of a user's step may be nested, as `{m.name: m.result() for m in model.metrics}` is.
        part = lambda place: tf.nest.map_structure(lambda rows: rows[place], values)
        return ChunkResult(chunk.steps, tuple(map(part, range(len(chunk.parts)))))

    def plan(self, chunk: ResidentChunk) -> Plan:
        """Return what the run of a chunk plans."""
        arrays = chunk.arrays
        batch = arrays.batch_spec(arrays.batch_size if arrays.even else None)
        bodies = 1 if arrays.even or arrays.examples < arrays.batch_size else 2
        trace = lambda: self.traced.trace(batch, False)
        # Beside hooks a program has checks if the step looks something up, which the trace for XLA shows.
        checked = lambda: bool(self.traced.hooks) or not goes_unchecked(self.traced)
        return Plan(chunk.planned, trace, arrays.fixed_size, bodies, checked=checked)

    def compiles(self, arrays: Arrays, steps: int | None) -> bool:
        """Return whether to compile with XLA for arrays of this length; after several, one program serves all.

        For another length than before XLA is to pay anew.
        """
        traced = self.traced
        lengths = self.lengths.setdefault((arrays.batch_key, traced.hooks), set())
        new = traced.jit == "auto" and arrays.examples not in lengths
        if new and not traced.pays(arrays.batch_key, steps):
            traced.xla = False
            return False
        if new and len(lengths) == LENGTHS:
            log.info("jit: False for %d examples, XLA has compiled for %d other lengths", arrays.examples, LENGTHS)
            traced.xla = False
            return False
        lengths.add(arrays.examples)
        return True


def table_of(chunk: ResidentChunk, whole_only: bool) -> np.ndarray:
    """Return a row for each part of an epoch: its order, first batch, batches, whether a short one follows, is fresh.

    The short last batch is only apart from the others where programs take whole batches only.
    """
    arrays = chunk.arrays
    rows: list[tuple[int, int, int, int, bool]] = []
    full = arrays.examples // arrays.fixed_size if whole_only else arrays.batches
    for place, (order, begin, steps) in enumerate(chunk.parts):
        whole = max(0, min(steps, full - begin))
        rows.append((order, begin, whole, steps - whole, chunk.fresh or place > 0))
    rows += [(0, 0, 0, 0, False)] * (len(chunk.orders) - len(rows))
    return np.array(rows, "int32")


class ResidentProgram:
    """A step over parts of epochs of arrays of certain shapes, as one compiled function.

    In XLA arrays and batches have fixed shapes, and the short last one has a trace of its own; elsewhere arrays have
    any length, and one trace has batches of any size where a short one is left. An unchecked program leaves out the
    step's check of each gradient. Its end checks that all indices were in range, and that the weights and the
    optimizer's state are finite, which no infinite gradient leaves so. Where a check fails, the program restores the
    state, and runs again with each gradient checked.

    Args:
        traced: The step.
        arrays: The data.
        epochs: The most parts of epochs that a call may have.
        xla: Whether to compile with XLA.
    """

    def __init__(self, traced: TracedStep, arrays: Arrays, epochs: int, xla: bool):
        self.traced, self.model, self.xla, self.epochs = traced, traced.model, xla, epochs
        self.size, self.examples = arrays.fixed_size if xla else arrays.batch_size, arrays.examples if xla else None
        self.remainder = arrays.examples % self.size if xla and not arrays.even else 0
        self.fixed = xla or arrays.even
        # Not the arrays, whose data would be kept alive.
        self.missing = tf.nest.map_structure(lambda leaf: leaf is None, arrays.data)
        self.unchecked = xla and goes_unchecked(traced)
        # Small arrays are put into order whole, at the beginning of a call: slices of them cost less than rows.
        self.small = xla and sum(leaf.dtype.size * leaf.shape.num_elements() for leaf in arrays.leaves) <= SMALL_BYTES
        self.leaf_specs = [tf.TensorSpec([self.examples, *leaf.shape[1:]], leaf.dtype) for leaf in arrays.leaves]
        self.batch_spec = arrays.batch_spec(self.size if self.fixed else None)
        self.short_spec = arrays.batch_spec(self.remainder) if self.remainder else None
        self.call = self.compiled(checked=not self.unchecked)
        self.checked: ConcreteFunction | None = None if self.unchecked else self.call

    def __call__(self, chunk: ResidentChunk) -> Nest:
        """Run a chunk; return the logs of its parts, stacked."""
        table = tf.constant(table_of(chunk, whole_only=self.xla))
        arguments = table, tf.constant(len(chunk.parts)), chunk.orders, *chunk.arrays.leaves
        logs, finite = self.call(*arguments)
        if self.unchecked and not finite:
            # As if nothing had happened: now with the checks that skip a step, or stop before it.
            self.traced.lookups.forget()
            self.checked = self.checked or self.compiled(checked=True)
            logs, _ = self.checked(*arguments)
        return logs

    def compiled(self, checked: bool) -> ConcreteFunction:
        """Return the program as a function of (table, number of parts, orders, leaves): logs, whether all is finite."""
        step = self.traced.trace(self.batch_spec, self.xla, checked)
        short = self.traced.trace(self.short_spec, self.xla, checked) if self.remainder else None

        def run(table: Tensor, parts: Tensor, orders: Tensor, *leaves: Tensor) -> tuple[Nest, Tensor]:
            before = None if checked else GraphSnapshot(changing(self.traced))
            one = lambda number: self.part(table[number], orders, leaves, step, short)
            if self.epochs == 1 or self.traced.logs == "step":  # whose chunks are of one epoch
                logs = tf.nest.map_structure(lambda log: log[tf.newaxis], one(0))
            else:
                room = self.epochs if self.xla else tf.shape(table)[0]
                logs = stacked(one, parts, room, self.traced.log_specs(step.structured_outputs))
            return logs, tf.constant(True) if before is None else self.restored_unless_finite(before)

        room = self.epochs if self.xla or self.epochs == 1 else None
        table = tf.TensorSpec([room, 5], tf.int32)
        orders = tf.TensorSpec([room, self.examples], tf.int32)
        function = tf.function(run, jit_compile=self.xla, autograph=False)
        traced = function.get_concrete_function(table, tf.TensorSpec([], tf.int32), orders, *self.leaf_specs)
        return named(traced) if self.xla else traced

    def part(
        self,
        row: Tensor,
        orders: Tensor,
        leaves: Sequence[Tensor],
        step: ConcreteFunction,
        short: ConcreteFunction | None,
    ) -> Nest:
        """Run one part of an epoch; return its logs."""
        traced, size = self.traced, self.size
        ordered = tf.gather(orders, row[0])
        examples = tf.shape(ordered)[0] if self.examples is None else self.examples
        fine = traced.lookups.fine if self.xla else lambda: True
        traced.reset_if(row[4] > 0)

        def gathered(rows: Tensor) -> Batch:
            left = iter(leaves)
            return tf.nest.map_structure(lambda none: None if none else tf.gather(next(left), rows), self.missing)

        def body_of_any_size(number: Tensor, _: Nest) -> tuple[Tensor, Nest]:
            first = (row[1] + number) * size
            last = tf.minimum(first + size, examples)
            if traced.alone:
                return number + 1, step(gathered(ordered[first:last]))
            take = lambda begin, end: gathered(ordered[first + begin : first + end])
            return number + 1, traced.on_shares(shared(last - first, take, traced.strategy))

        def body_of_fixed_size(number: Tensor, _: Nest) -> tuple[Tensor, Nest]:
            # A gather: tf.slice would make the start a constant of the XLA program, compiled for each value.
            pick = lambda leaf: None if leaf is None else tf.gather(leaf, row[1] + number)
            chosen = tf.nest.map_structure(pick, whole)
            return number + 1, step(chosen if self.small else gathered(chosen))

        in_order = self.fixed and traced.alone
        if in_order:
            full = examples // size
            whole = tf.reshape(ordered[: full * size], [-1, size])
            whole = gathered(whole) if self.small else whole
        body = body_of_fixed_size if in_order else body_of_any_size
        zeros, shapes = blank(step.structured_outputs)
        start, invariants = (tf.constant(0), zeros), (tf.TensorShape([]), shapes)
        _, last = tf.while_loop(lambda n, _: (n < row[2]) & fine(), body, start, invariants, parallel_iterations=1)
        if short is not None:
            rows = ordered[examples - self.remainder :]
            last = run_if((row[3] > 0) & fine(), lambda: short(gathered(rows)), last)
        return traced.results(last)

    def restored_unless_finite(self, before: GraphSnapshot) -> Tensor:
        """Return whether the state is finite and all indices were in range; if not, restore the state before."""
        model = self.model
        trained = list(map(internals.raw, [*model.trainable_variables, *model.optimizer.variables]))
        numbers = [variable.read_value() for variable in trained if variable.dtype.is_floating]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(number)) for number in numbers])
        finite &= self.traced.lookups.fine()
        before.restore_unless(finite)
        return finite


def goes_unchecked(traced: TracedStep) -> bool:
    """Return whether a program that XLA compiles can leave out the step's checks, and look at the state at its end."""
    if not isinstance(traced.step, TrainStep) or not traced.step.needs_no_check():
        return False
    # XLA mixes up the values of variables that are put back with those that a hook looks up in.
    return not (traced.hooks and traced.lookups) and bytes_of(changing(traced)) <= STATE_BYTES


def changing(traced: TracedStep) -> list[Variable]:
    """Return the variables that a step may change."""
    step = traced.step
    return training_variables(traced.model, step.variables if isinstance(step, TrainStep) else ())


def stacked(one: Callable[[Tensor], Nest], parts: Tensor, capacity: Tensor, specs: Nest) -> Nest:
    """Return the logs of so many parts, in tensors that have room for `capacity` parts."""
    room = tf.nest.map_structure(lambda spec: tf.zeros([capacity, *spec.shape], spec.dtype), specs)

    def body(number: Tensor, logs: Nest) -> tuple[Tensor, Nest]:
        write = lambda all_logs, log: tf.tensor_scatter_nd_update(all_logs, [[number]], log[tf.newaxis])
        return number + 1, tf.nest.map_structure(write, logs, one(number))

    return tf.while_loop(lambda n, _: n < parts, body, (tf.constant(0), room), parallel_iterations=1)[1]


def run_if(condition: Tensor, step: Callable[[], Nest], last: Nest) -> Nest:
    """Run a step on a condition; return its logs, or the logs of the last step."""
    if tf.nest.flatten(last):
        return tf.cond(condition, step, lambda: last)
    internals.either(condition, step, lambda: None)
    return last


def bytes_of(variables: Iterable[Variable]) -> int:
    """Return the size of variables in memory."""
    return sum(variable.dtype.size * variable.shape.num_elements() for variable in variables)
