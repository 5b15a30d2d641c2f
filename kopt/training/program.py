"""Program: what runs a stretch of steps, compiled once for any number of them."""

import logging
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kopt import keras_internals as internals
from kopt.training.engine import Arrays, Jit, Stretch

__all__ = ["Program"]

log = logging.getLogger("kopt")

# Operations that XLA runs many times slower than TensorFlow's own kernels on a CPU.
SLOW_IN_XLA = {"While", "StatelessWhile", "TensorListSetItem"}
SLOW_IN_XLA_PREFIXES = ("Conv", "_FusedConv", "Depthwise", "MaxPool", "AvgPool")


class Program:
    """Runs a step over stretches of resident arrays as compiled programs, and over iterators as Keras does.

    It stands as `model.train_function`, so that whoever sets that to None gets a fresh trace.

    Args:
        model: The compiled model.
        step: What to do with one batch.
        jit: Whether to compile with XLA; "auto" leaves convolutions, pooling and recurrent loops on a CPU alone.
    """

    def __init__(self, model: Any, step: Callable[[Any], Any], jit: Jit):
        self.model, self.step, self.jit = model, step, jit
        self.xla = None if jit == "auto" else bool(jit)
        self.programs: dict[Any, Callable[..., Any]] = {}
        whole = tf.function(step, jit_compile=True, reduce_retracing=True, autograph=False) if self.xla else step
        self.over_iterator = internals.make_function(model, whole)

    def __call__(self, work: Any) -> Any:
        """Run a stretch, or what Keras' iterator gives; the logs after it."""
        if not isinstance(work, Stretch):
            return self.over_iterator(work)
        size, examples = work.arrays.batch_size, work.arrays.examples
        uneven, full = examples % size, examples // size
        if not uneven or not self.decide(work.arrays):
            return self.run(work, work.first * size, work.steps, size, uneven=bool(uneven))
        # XLA compiles for fixed shapes: the shorter last batch is a program of its own.
        whole = min(work.steps, full - work.first)
        logs = self.run(work, work.first * size, whole, size) if whole > 0 else None
        return logs if whole == work.steps else self.run(work, full * size, 1, uneven)

    def decide(self, arrays: Arrays) -> bool:
        """Whether to use XLA: what was asked, or for "auto" what the operations of the traced step say."""
        if self.xla is None and self.model.distribute_strategy.num_replicas_in_sync > 1:
            self.xla = False
            log.info("jit: False, XLA does not compile across replicas")
        if self.xla is None:
            slow = sorted(filter(slow_in_xla, operations(self.trace(arrays, None))))
            self.xla = not slow or bool(tf.config.list_logical_devices("GPU"))
            log.info("jit: %s, %s", self.xla, f"the step has {', '.join(slow)}" if slow else "nothing is slow in XLA")
        return self.xla

    def run(self, work: Stretch, start: int, count: int, size: int, uneven: bool = False) -> Any:
        """Run `count` batches of `size` rows from the row `start` on; an uneven last one may be shorter."""
        leaves = [leaf for leaf in tf.nest.flatten(work.arrays.data) if leaf is not None]
        key = (
            size,
            uneven,
            self.decide(work.arrays),
            str(tf.nest.map_structure(tf.type_spec_from_value, leaves)),
            str(tf.nest.map_structure(lambda leaf: leaf is None, work.arrays.data)),
        )
        arguments = tf.constant(count), tf.constant(start), work.order, leaves
        if key in self.programs:
            return self.programs[key](*arguments)
        program = self.build(work.arrays, size, uneven)
        try:
            logs = program(*arguments)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError, tf.errors.NotFoundError) as error:
            if self.jit != "auto" or not self.xla:
                raise
            # XLA refuses while it compiles, before anything has run.
            self.xla = False
            log.info("jit: False, XLA refuses the step: %s", str(error).partition("\n")[0])
            return self.run(work, start, count, size, uneven)
        self.programs[key] = program
        return logs

    def trace(self, arrays: Arrays, size: int | None) -> Any:
        """The step on one batch as a concrete function."""

        strategy = self.model.distribute_strategy

        def one(data: Any) -> Any:
            alone = strategy.num_replicas_in_sync == 1
            return strategy.run(self.step, args=(data if alone else shared(data, strategy),))

        def spec(leaf: Any) -> Any:
            return None if leaf is None else tf.TensorSpec([size, *leaf.shape[1:]], leaf.dtype)

        return tf.function(one, autograph=False).get_concrete_function(tf.nest.map_structure(spec, arrays.data))

    def build(self, arrays: Arrays, size: int, uneven: bool) -> Callable[..., Any]:
        """A program over any number of batches of arrays of these shapes."""
        step, model, examples = self.trace(arrays, None if uneven else size), self.model, arrays.examples
        missing = tf.nest.map_structure(
            lambda leaf: leaf is None, arrays.data
        )  # not the data, which would be kept alive

        def stretch(count: Any, start: Any, ordered: Any, leaves: Any) -> Any:
            def batch(number: Any) -> Any:
                first = start + number * size
                # A gather: tf.slice would make the start a constant of the XLA program, compiled for each value.
                rows = tf.gather(
                    ordered, tf.range(first, tf.minimum(first + size, examples)) if uneven else first + tf.range(size)
                )
                left = iter(leaves)
                return tf.nest.map_structure(lambda none: None if none else tf.gather(next(left), rows), missing)

            def body(number: Any) -> Any:
                with tf.control_dependencies(tf.nest.flatten(step(batch(number)))):
                    return (number + 1,)

            tf.while_loop(lambda number: number < count, body, (tf.constant(0),), parallel_iterations=1)
            return model.get_metrics_result()

        return tf.function(stretch, jit_compile=self.xla, autograph=False)


def shared(data: Any, strategy: Any) -> Any:
    """A batch in parts, as even as they can be, one for each replica."""
    examples = tf.shape(next(leaf for leaf in tf.nest.flatten(data) if leaf is not None))[0]
    replicas = strategy.num_replicas_in_sync

    def part(context: Any) -> Any:
        number = context.replica_id_in_sync_group
        start, stop = examples * number // replicas, examples * (number + 1) // replicas
        return tf.nest.map_structure(lambda leaf: None if leaf is None else leaf[start:stop], data)

    return strategy.experimental_distribute_values_from_function(part)


def operations(traced: Any) -> set[str]:
    """The names of every operation in a concrete function, the functions that it calls included."""
    graph = traced.graph.as_graph_def()
    return {node.op for node in graph.node} | {
        node.op for function in graph.library.function for node in function.node_def
    }


def slow_in_xla(operation: str) -> bool:
    return operation in SLOW_IN_XLA or operation.startswith(SLOW_IN_XLA_PREFIXES)
