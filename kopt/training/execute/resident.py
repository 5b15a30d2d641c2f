"""The programs over resident arrays: batches are gathered in the graph, in a given order of the examples."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kopt import keras_internals as internals
from kopt.training.feed.batches import shared
from kopt.training.feed.chunks import Arrays, ResidentStretch
from kopt.training.steps.train import TrainStep, checking
from kopt.training.steps.update_hooks import working

SMALL_BYTES = 2**22  # of arrays that are put into order whole
STATE_BYTES = 2**26  # of state that an unchecked program may keep a second time


def table_of(work: ResidentStretch, whole_only: bool) -> np.ndarray:
    """A row for each part of an epoch: its order, first batch, batches, whether the short last one, whether fresh.

    Where programs take whole batches only, the short last one is apart.
    """
    arrays = work.arrays
    rows: list[tuple[Any, ...]] = []
    full = arrays.examples // arrays.batch_size if whole_only else arrays.batches
    for place, (order, begin, steps) in enumerate(work.parts):
        whole = max(0, min(steps, full - begin))
        rows.append((order, begin, whole, steps - whole, work.fresh or place > 0))
    rows += [(0, 0, 0, 0, 0)] * (len(work.orders) - len(rows))
    return np.array(rows, "int32")


class ResidentProgram:
    """A step over parts of epochs of arrays of certain shapes, as one compiled function.

    In XLA arrays and batches have fixed shapes, and the short last one has a trace of its own; elsewhere arrays have
    any length, and one trace has batches of any size where a short one is left. An unchecked program leaves out the
    step's check of each gradient; at its end it looks whether the weights and the optimizer's state are finite, which
    no infinite gradient leaves so, and all indices were in range; if not it puts everything back and says so.

    Args:
        program: Whose model and step these are.
        arrays: The data.
        epochs: How many parts of epochs a call may have.
        xla: Whether to compile with XLA.
    """

    def __init__(self, program: Any, arrays: Arrays, epochs: int, xla: bool):
        self.program, self.model, self.xla, self.epochs = program, program.model, xla, epochs
        self.size, self.examples = arrays.batch_size, arrays.examples if xla else None
        self.remainder = arrays.examples % self.size if xla else 0
        self.fixed = xla or arrays.examples % self.size == 0
        # Not the data, which would be kept alive.
        self.missing = tf.nest.map_structure(lambda leaf: leaf is None, arrays.data)
        plain = isinstance(program.step, TrainStep) and program.step.needs_no_check()
        self.unchecked = xla and plain and state_bytes(self.model) <= STATE_BYTES
        # Small arrays are put into order whole, at the beginning of a call: slices of them cost less than rows.
        self.small = xla and sum(leaf.dtype.size * leaf.shape.num_elements() for leaf in arrays.leaves) <= SMALL_BYTES
        self.leaf_specs = [tf.TensorSpec([self.examples, *leaf.shape[1:]], leaf.dtype) for leaf in arrays.leaves]
        self.arrays_spec = arrays.batch_spec
        self.call = self.compiled(self.unchecked)
        self.checked: Callable[..., Any] | None = None if self.unchecked else self.call

    def __call__(self, work: ResidentStretch) -> Any:
        """The logs of each part, stacked."""
        table = tf.constant(table_of(work, whole_only=self.xla))
        arguments = table, tf.constant(len(work.parts)), work.orders, *work.arrays.leaves
        logs, finite = self.call(*arguments)
        if self.unchecked and not finite:
            # As if nothing had happened: now with the checks that skip a step, or stop before it.
            self.program.lookups.forget()
            self.checked = self.checked or self.compiled(False)
            logs, _ = self.checked(*arguments)
        return logs

    def compiled(self, without_check: bool) -> Callable[..., Any]:
        """The function of (table, parts, orders, leaves)."""
        token = checking.set(not without_check)
        try:
            step = self.program.trace(self.arrays_spec(self.size if self.fixed else None), self.xla)
            short = self.program.trace(self.arrays_spec(self.remainder), self.xla) if self.remainder else None
        finally:
            checking.reset(token)

        def run(table: Any, parts: Any, orders: Any, *leaves: Any) -> Any:
            before = [variable.read_value() for variable in state(self.model)] if without_check else []
            one = lambda number: self.part(table[number], orders, leaves, step, short)
            if self.epochs == 1:
                logs = tf.nest.map_structure(lambda log: log[tf.newaxis], one(0))
            else:
                room = self.epochs if self.xla else tf.shape(table)[0]
                logs = stacked(one, parts, room, self.program.log_specs(step.structured_outputs))
            return logs, self.restored_unless_finite(before) if without_check else tf.constant(True)

        room = self.epochs if self.xla or self.epochs == 1 else None
        table = tf.TensorSpec([room, 5], tf.int32)
        orders = tf.TensorSpec([room, self.examples], tf.int32)
        function = tf.function(run, jit_compile=self.xla, autograph=False)
        return function.get_concrete_function(table, tf.TensorSpec([], tf.int32), orders, *self.leaf_specs)

    def part(self, row: Any, orders: Any, leaves: Sequence[Any], step: Any, short: Any) -> Any:
        """One part of an epoch; its logs."""
        program, strategy, size = self.program, self.program.strategy, self.size
        ordered = tf.gather(orders, row[0])
        examples = tf.shape(ordered)[0] if self.examples is None else self.examples
        fine = self.program.lookups.fine if self.xla else lambda: True
        program.reset_if(row[4] > 0)

        def gathered(rows: Any) -> Any:
            left = iter(leaves)
            return tf.nest.map_structure(lambda none: None if none else tf.gather(next(left), rows), self.missing)

        def body_of_any_size(number: Any, _: Any) -> Any:
            first = (row[1] + number) * size
            last = tf.minimum(first + size, examples)
            if program.alone:
                return number + 1, step(gathered(ordered[first:last]))
            take = lambda begin, end: gathered(ordered[first + begin : first + end])
            return number + 1, program.everywhere(shared(last - first, take, strategy))

        def body_of_fixed_size(number: Any, _: Any) -> Any:
            # A gather: tf.slice would make the start a constant of the XLA program, compiled for each value.
            pick = lambda leaf: None if leaf is None else tf.gather(leaf, row[1] + number)
            chosen = tf.nest.map_structure(pick, whole)
            return number + 1, step(chosen if self.small else gathered(chosen))

        in_order = self.fixed and program.alone
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
        return program.results(last)

    def restored_unless_finite(self, before: Sequence[Any]) -> Any:
        """Return whether the state is finite and all indices were in range; if not, restore the state before."""
        model = self.model
        trained = [raw for raw in map(internals.raw, [*model.trainable_variables, *model.optimizer.variables])]
        numbers = [variable.read_value() for variable in trained if variable.dtype.is_floating]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(number)) for number in numbers])
        finite &= self.program.lookups.fine()
        for variable, old in zip(state(model), before):
            variable.assign(tf.where(finite, variable.read_value(), old), read_value=False)
        return finite


def stacked(one: Callable[[Any], Any], parts: Any, capacity: Any, specs: Any) -> Any:
    """The logs of so many parts, in tensors that have room for `capacity`."""
    room = tf.nest.map_structure(lambda spec: tf.zeros([capacity, *spec.shape], spec.dtype), specs)

    def body(number: Any, logs: Any) -> Any:
        write = lambda all_logs, log: tf.tensor_scatter_nd_update(all_logs, [[number]], log[tf.newaxis])
        return number + 1, tf.nest.map_structure(write, logs, one(number))

    return tf.while_loop(lambda n, _: n < parts, body, (tf.constant(0), room), parallel_iterations=1)[1]


def run_if(condition: Any, step: Callable[[], Any], last: Any) -> Any:
    """Run a step on a condition; its logs, or the last ones."""
    if tf.nest.flatten(last):
        return tf.cond(condition, step, lambda: last)
    internals.either(condition, step, lambda: None)
    return last


def blank(outputs: Any) -> tuple[Any, Any]:
    """Zeros like a step's outputs, and their shapes."""
    zeros = tf.nest.map_structure(lambda spec: tf.zeros([n or 0 for n in spec.shape.as_list()], spec.dtype), outputs)
    return zeros, tf.nest.map_structure(lambda spec: spec.shape, outputs)


def state(model: Any) -> list[Any]:
    """The variables that a step may change: weights, statistics, seeds, the optimizer's, the metrics', the hooks'."""
    kept = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    kept += [variable for hook in working(model) for variable in hook.variables]
    return list({id(one): one for one in map(internals.raw, kept)}.values())


def state_bytes(model: Any) -> int:
    return sum(variable.dtype.size * variable.shape.num_elements() for variable in state(model))
