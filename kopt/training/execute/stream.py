"""The executor over an iterator: its batches are drawn inside the program."""

import tensorflow as tf

from kopt.training.execute.base import Executor, blank
from kopt.training.execute.compile_cache import named
from kopt.training.execute.estimate import Plan
from kopt.training.feed.batches import without_missing
from kopt.training.feed.chunks import Chunk, ChunkResult, StreamChunk
from kopt.values.types import Batch, Nest, PolymorphicFunction, Tensor


class StreamExecutor(Executor[StreamChunk]):
    """Runs the steps of a chunk in one program, which ends with the data."""

    @property
    def resets_metrics(self) -> bool:
        return self.traced.resets_metrics()

    def takes(self, chunk: Chunk) -> bool:
        return isinstance(chunk, StreamChunk)

    def run(self, chunk: StreamChunk) -> ChunkResult:
        spec = without_missing(chunk.iterator.element_spec)
        shapes = "stream", str(spec)
        plan = Plan(chunk.planned, lambda: self.traced.trace(spec, False), nested=True)
        xla = self.traced.decide(shapes, lambda: spec, plan)
        arguments = chunk.iterator, tf.constant(chunk.steps), tf.constant(chunk.fresh)
        make = lambda: self.program(spec, xla).get_concrete_function(*arguments)
        logs, steps, waited = self.traced.call(self.traced.key("stream", shapes, xla), make, *arguments)
        return ChunkResult(int(steps), (logs,), float(waited))

    def program(self, spec: Nest, xla: bool) -> PolymorphicFunction:
        """Return a program over any number of an iterator's batches: the logs, the number of steps, seconds waited."""
        traced = self.traced
        one = traced.trace(spec, xla)
        step, outputs = named(one) if xla else one, one.structured_outputs

        def chunk(iterator: Nest, count: Tensor, fresh: Tensor) -> tuple[Nest, Tensor, Tensor]:
            traced.reset_if(fresh)

            def following() -> tuple[Batch, Tensor]:
                started = tf.timestamp()
                with tf.control_dependencies([started]):
                    batch = iterator.get_next_as_optional()
                with tf.control_dependencies([batch.has_value()]):
                    return batch, tf.timestamp() - started

            def body(ran: Tensor, batch: Batch, waited: Tensor, _: Nest) -> tuple[Tensor, Batch, Tensor, Nest]:
                logs = step(without_missing(batch.get_value()))
                # The next batch only where this call is to use it.
                batch, wait = tf.cond(ran + 1 < count, following, lambda: (batch, tf.constant(0.0, "float64")))
                return ran + 1, batch, waited + wait, logs

            ran, _, waited, last = tf.while_loop(
                lambda ran, batch, waited, _: (ran < count) & batch.has_value() & traced.lookups.fine(),
                body,
                (tf.constant(0), *following(), blank(outputs)[0]),
                parallel_iterations=1,
            )
            return traced.results(last), ran, waited

        return tf.function(chunk, autograph=False)
