"""Executors that call the step from Python for each batch."""

import itertools

import tensorflow as tf

from kopt.training.execute.base import Executor, ProgramKey, recall
from kopt.training.feed.chunks import Chunk, ChunkResult, StreamChunk
from kopt.values.types import Batch, Nest


class EagerExecutor(Executor[StreamChunk]):
    """Runs each step as Python does, for a model that runs eagerly."""

    def takes(self, chunk: Chunk) -> bool:
        return isinstance(chunk, StreamChunk) and self.traced.model.run_eagerly

    def run(self, chunk: StreamChunk) -> ChunkResult:
        steps, last = 0, None
        for batch in itertools.islice(chunk.iterator, chunk.steps):
            last, steps = self.step(batch), steps + 1
        return ChunkResult(steps, (self.traced.results(last),) if steps else ())

    def step(self, batch: Batch) -> Nest:
        """Run one step."""
        return self.traced.on_batch(batch)


class ShardedExecutor(EagerExecutor):
    """Runs a compiled step for each batch that TensorFlow has sharded: each replica has batches of its own."""

    def takes(self, chunk: Chunk) -> bool:
        return isinstance(chunk, StreamChunk) and isinstance(chunk.iterator, tf.distribute.DistributedIterator)

    def step(self, batch: Batch) -> Nest:
        traced = self.traced
        make = lambda: tf.function(traced.on_batch, autograph=False, reduce_retracing=True)
        # The watched values are read outside of it.
        key = ProgramKey("sharded", shapes=None, xla=False, watched=(), hooks=traced.hooks)
        return recall(traced.programs, key, make)(batch)
