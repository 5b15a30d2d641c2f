"""Program: what runs a stretch of steps, compiled once for any number of them."""

import itertools
import logging
from collections.abc import Callable
from typing import Any, Literal

import tensorflow as tf

from kopt import keras_internals as internals
from kopt.training.batches import rows, shared, sliced
from kopt.training.engine import Arrays, Jit, ResidentStretch, StreamStretch

__all__ = ["Program"]

log = logging.getLogger("kopt")

# Operations that XLA runs many times slower than TensorFlow's own kernels on a CPU.
SLOW_IN_XLA = {"While", "StatelessWhile", "TensorListSetItem"}
SLOW_IN_XLA_PREFIXES = ("Conv", "_FusedConv", "Depthwise", "MaxPool", "AvgPool")
REFUSED = tf.errors.InvalidArgumentError, tf.errors.UnimplementedError, tf.errors.NotFoundError


class Program:
    """Runs a step over stretches of resident arrays or of what an iterator gives, as compiled programs.

    It stands as `model.train_function` or `model.test_function`, so that whoever sets that to None gets a fresh trace;
    what stock fit and evaluate give it there runs as Keras' own function would.

    Args:
        model: The compiled model.
        step: What to do with one batch.
        jit: Whether to compile with XLA; "auto" leaves convolutions, pooling and recurrent loops on a CPU alone.
        logs: "metrics" where the logs are the model's metrics, "step" where they are what the last step returned.
    """

    def __init__(self, model: Any, step: Callable[[Any], Any], jit: Jit, logs: Literal["metrics", "step"]):
        self.model, self.step, self.jit, self.logs = model, step, jit, logs
        self.strategy = model.distribute_strategy
        self.alone = self.strategy.num_replicas_in_sync == 1
        self.xla = None if jit == "auto" else bool(jit)
        self.programs: dict[Any, Callable[..., Any]] = {}
        self.stock: Callable[[Any], Any] | None = None

    def __call__(self, work: Any) -> Any:
        """Run a stretch, or what Keras' iterator gives; the logs after it."""
        if not isinstance(work, (ResidentStretch, StreamStretch)):
            return self.as_keras(work)
        in_graph = self.alone and internals.metrics_reset_in_graph(self.model)
        if work.fresh and (self.model.run_eagerly or not in_graph):
            self.model.reset_metrics()
        if self.model.run_eagerly:
            return self.eagerly(work)
        return self.resident(work) if isinstance(work, ResidentStretch) else self.streamed(work)

    def as_keras(self, iterator: Any) -> Any:
        if self.stock is None:
            whole = self.step
            if self.xla:
                whole = tf.function(whole, jit_compile=True, reduce_retracing=True, autograph=False)
            self.stock = internals.make_function(self.model, whole)
        return self.stock(iterator)

    def eagerly(self, work: Any) -> Any:
        """One step after the other, in Python."""
        logs = None
        while work.ran < work.steps:
            try:
                batch = next(work.iterator)
            except (StopIteration, tf.errors.OutOfRangeError):
                break
            logs = self.one(batch)
            work.ran += 1
        return logs

    # One step

    def one(self, batch: Any) -> Any:
        """The step on one batch, by every replica."""
        batch = tf.nest.map_structure(lambda leaf: None if is_optional(leaf) else leaf, batch)
        if self.alone or any(isinstance(leaf, tf.distribute.DistributedValues) for leaf in tf.nest.flatten(batch)):
            return self.everywhere(batch)
        return self.everywhere(shared(rows(batch), lambda start, stop: sliced(batch, start, stop), self.strategy))

    def everywhere(self, share: Any) -> Any:
        logs = self.strategy.run(self.step, args=(share,))
        if self.logs == "metrics":
            return ()
        return logs if self.alone else tf.nest.map_structure(self.mean, logs)

    def mean(self, value: Any) -> Any:
        return self.strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None)

    def reset_if(self, fresh: Any) -> None:
        """Reset the metrics, where a program can."""
        if self.alone and internals.metrics_reset_in_graph(self.model):
            internals.either(fresh, self.model.reset_metrics, lambda: None)

    def results(self, last: Any) -> Any:
        """The logs at the end of a program."""
        return self.model.get_metrics_result() if self.logs == "metrics" else last

    def decide(self, spec: Any) -> bool:
        """Whether to use XLA: what was asked, or for "auto" what the operations of the traced step say."""
        if self.xla is None and not self.alone:
            self.xla = False
            log.info("jit: False, XLA does not compile across replicas")
        if self.xla is None:
            slow = sorted(filter(slow_in_xla, operations(self.trace(spec))))
            self.xla = not slow or bool(tf.config.list_logical_devices("GPU"))
            log.info("jit: %s, %s", self.xla, f"the step has {', '.join(slow)}" if slow else "nothing is slow in XLA")
        return self.xla

    def trace(self, spec: Any) -> Any:
        """The step on one batch as a concrete function."""
        return tf.function(self.one, autograph=False).get_concrete_function(spec)

    def first_call(self, key: Any, program: Callable[..., Any], *arguments: Any) -> Any:
        """Run a program that is not compiled yet; where XLA refuses it, before anything has run, without XLA."""
        try:
            result = program(*arguments)
        except REFUSED as error:
            if self.jit != "auto" or not self.xla:
                raise
            self.xla = False
            log.info("jit: False, XLA refuses the step: %s", str(error).partition("\n")[0])
            return None
        self.programs[key] = program
        return result

    # Over resident arrays

    def resident(self, work: ResidentStretch) -> Any:
        size, examples = work.arrays.batch_size, work.arrays.examples
        uneven, full = examples % size, examples // size
        work.ran = work.steps
        if not uneven or not self.decide(work.arrays.batch_spec(None)):
            return self.run(work, work.begin * size, work.steps, size, work.fresh, uneven=bool(uneven))
        # XLA compiles for fixed shapes: the shorter last batch is a program of its own.
        whole = min(work.steps, full - work.begin)
        logs = self.run(work, work.begin * size, whole, size, work.fresh) if whole > 0 else None
        if whole == work.steps:
            return logs
        return self.run(work, full * size, 1, uneven, work.fresh and whole <= 0)

    def run(self, work: ResidentStretch, start: int, count: int, size: int, fresh: bool, uneven: bool = False) -> Any:
        """Run `count` batches of `size` rows from the row `start` on; an uneven last one may be shorter."""
        arrays = work.arrays
        leaves = [leaf for leaf in tf.nest.flatten(arrays.data) if leaf is not None]
        self.decide(arrays.batch_spec(None))
        key = (size, uneven, self.xla, str(arrays.batch_spec(arrays.examples)))
        arguments = tf.constant(count), tf.constant(start), tf.constant(fresh), work.order, leaves
        if key in self.programs:
            return self.programs[key](*arguments)
        specs = tf.nest.map_structure(tf.type_spec_from_value, arguments)
        program = self.build(arrays, size, uneven).get_concrete_function(*specs)
        logs = self.first_call(key, program, *arguments)
        return self.run(work, start, count, size, fresh, uneven) if logs is None else logs

    def build(self, arrays: Arrays, size: int, uneven: bool) -> Any:
        """A program over any number of batches of arrays of these shapes."""
        examples, strategy = arrays.examples, self.strategy
        traced = self.trace(arrays.batch_spec(None if uneven else size))
        # Not the data, which would be kept alive.
        missing = tf.nest.map_structure(lambda leaf: leaf is None, arrays.data)

        def stretch(count: Any, start: Any, fresh: Any, ordered: Any, leaves: Any) -> Any:
            self.reset_if(fresh)

            def gathered(rows: Any) -> Any:
                left = iter(leaves)
                return tf.nest.map_structure(lambda none: None if none else tf.gather(next(left), rows), missing)

            def body(number: Any, _: Any) -> Any:
                # A gather: tf.slice would make the start a constant of the XLA program, compiled for each value.
                first = start + number * size
                last = tf.minimum(first + size, examples)
                if self.alone:
                    rows = tf.range(first, last) if uneven else first + tf.range(size)
                    return number + 1, traced(gathered(tf.gather(ordered, rows)))
                take = lambda begin, end: gathered(ordered[first + begin : first + end])
                return number + 1, self.everywhere(shared(last - first, take, strategy))

            zeros, shapes = blank(traced.structured_outputs)
            _, last = tf.while_loop(
                lambda number, _: number < count,
                body,
                (tf.constant(0), zeros),
                (tf.TensorShape([]), shapes),
                parallel_iterations=1,
            )
            return self.results(last)

        return tf.function(stretch, jit_compile=self.xla, autograph=False)

    # Over an iterator

    def streamed(self, work: StreamStretch) -> Any:
        if isinstance(work.iterator, tf.distribute.DistributedIterator):
            return self.step_by_step(work)
        spec = work.iterator.element_spec
        self.decide(spec)
        key = ("stream", self.xla, str(spec))
        arguments = work.iterator, tf.constant(work.steps), tf.constant(work.fresh)
        if key in self.programs:
            found = self.programs[key](*arguments)
        else:
            program = self.build_stream(spec).get_concrete_function(*arguments)
            found = self.first_call(key, program, *arguments)
            if found is None:
                return self.streamed(work)
        logs, ran = found
        work.ran = int(ran)
        return logs

    def build_stream(self, spec: Any) -> Any:
        """A program over any number of an iterator's batches; it ends with the data, and says after how many steps."""
        one = tf.function(self.one, autograph=False, jit_compile=self.xla or None)
        outputs = one.get_concrete_function(spec).structured_outputs

        def stretch(iterator: Any, count: Any, fresh: Any) -> Any:
            self.reset_if(fresh)

            def body(ran: Any, batch: Any, _: Any) -> Any:
                logs = one(batch.get_value())
                # The next one only where it is to be used in this call.
                following = tf.cond(ran + 1 < count, iterator.get_next_as_optional, lambda: batch)
                return ran + 1, following, logs

            zeros, shapes = blank(outputs)
            ran, _, last = tf.while_loop(
                lambda ran, batch, _: (ran < count) & batch.has_value(),
                body,
                (tf.constant(0), iterator.get_next_as_optional(), zeros),
                parallel_iterations=1,
            )
            return self.results(last), ran

        return tf.function(stretch, autograph=False)

    def step_by_step(self, work: StreamStretch) -> Any:
        """What TensorFlow has sharded, a program call a step."""
        one = self.programs.setdefault("sharded", tf.function(self.one, autograph=False, reduce_retracing=True))
        last = None
        for batch in itertools.islice(work.iterator, work.steps):
            last = one(batch)
            work.ran += 1
        return self.results(last)


def blank(outputs: Any) -> tuple[Any, Any]:
    """Zeros like a step's outputs, and their shapes."""
    zeros = tf.nest.map_structure(
        lambda spec: tf.zeros([size or 0 for size in spec.shape.as_list()], spec.dtype), outputs
    )
    return zeros, tf.nest.map_structure(lambda spec: spec.shape, outputs)


def is_optional(leaf: Any) -> bool:
    """Whether a leaf stands for a part that the data do not have."""
    return isinstance(leaf, tf.experimental.Optional)


def operations(traced: Any) -> set[str]:
    """The names of every operation in a concrete function, the functions that it calls included."""
    graph = traced.graph.as_graph_def()
    return {node.op for node in graph.node} | {
        node.op for function in graph.library.function for node in function.node_def
    }


def slow_in_xla(operation: str) -> bool:
    return operation in SLOW_IN_XLA or operation.startswith(SLOW_IN_XLA_PREFIXES)
