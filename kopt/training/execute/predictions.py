"""Predictions: a model's outputs for the batches of a chunk, collected inside a program."""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from kopt import keras_internals as internals
from kopt.training.execute.base import Executor, TracedStep
from kopt.training.execute.compile_cache import named
from kopt.training.execute.estimate import Plan
from kopt.training.feed.batches import without_missing
from kopt.training.feed.chunks import Chunk, ChunkResult, ResidentChunk, StreamChunk
from kopt.training.feed.placement import Jit
from kopt.values.checks import require
from kopt.values.types import Batch, ConcreteFunction, KerasModel, Nest, Step, Tensor, TensorSpec


def predictions_of(model: KerasModel, jit: Jit) -> "Predictions":
    """Return the executor that a model keeps as its `predict_function`; a new one where Keras has dropped it."""
    kept = model.predict_function
    if isinstance(kept, Predictions) and kept.traced.jit == jit and kept.traced.step == model.predict_step:
        return kept
    model.predict_function = predictions = Predictions(TracedStep(model, model.predict_step, jit, "outputs"))
    return predictions


class Predictions(Executor[Chunk]):
    """Runs `predict_step` over chunks; every process computes all of the outputs, on its first device.

    It stands as `model.predict_function`, so that a fresh trace is made after that is set to None. What stock predict
    passes to it there runs as Keras' own function would.

    Args:
        traced: The model's predict_step.
    """

    def __init__(self, traced: TracedStep):
        super().__init__(traced)
        self.model = traced.model
        self.stock: Step | None = None

    @property
    def xla(self) -> bool | None:
        """Whether the last kind of batch was compiled with XLA; None before the first."""
        return self.traced.xla

    def __call__(self, batches: Nest) -> Nest:
        """Return the outputs for a list of batches, as stock predict asks for them."""
        if self.stock is None:
            self.stock = internals.make_predict_function(self.model)
        return self.stock(batches)

    def takes(self, chunk: Chunk) -> bool:
        return isinstance(chunk, ResidentChunk | StreamChunk)

    def run(self, chunk: Chunk) -> ChunkResult:
        """Run a chunk; the logs are the outputs for its batches."""
        if isinstance(chunk, ResidentChunk):
            outputs, steps = self.of_arrays(chunk)
        else:
            assert isinstance(chunk, StreamChunk)
            outputs, steps = self.one_by_one(chunk) if self.model.run_eagerly else self.of_iterator(chunk)
        return ChunkResult(int(steps), (outputs,))

    def one_by_one(self, chunk: StreamChunk) -> tuple[Nest, int]:
        """Return the outputs and the number of steps, each step called from Python."""
        outputs = [self.model.predict_step(batch) for batch in itertools.islice(chunk.iterator, chunk.steps)]
        return tf.nest.map_structure(lambda *parts: tf.concat(parts, 0), *outputs) if outputs else None, len(outputs)

    def of_arrays(self, chunk: ResidentChunk) -> tuple[Nest, Tensor]:
        """Return the outputs and the number of steps: XLA runs the whole batches, the short last one runs without."""
        arrays, size = chunk.arrays, chunk.arrays.batch_size
        spec, whole_batch = arrays.batch_spec(None), arrays.batch_spec(size)
        shapes = "predict", size, str(spec)
        plan = Plan(chunk.planned, lambda: self.traced.trace(spec, False), size, nested=True)
        xla = arrays.examples >= size and self.traced.decide(shapes, lambda: whole_batch, plan)

        def make() -> ConcreteFunction:
            plain, outputs = self.step(spec, False)
            fast = self.step(whole_batch, True)[0] if xla else plain

            def run(count: Tensor, begin: Tensor, *leaves: Tensor) -> tuple[Nest, Tensor]:
                full = tf.shape(leaves[0])[0] // size
                batches = [tf.reshape(leaf[: full * size], [-1, size, *leaf.shape[1:]]) for leaf in leaves]
                whole = tf.minimum(count, full - begin)
                rest = lambda: plain(packed(spec, [leaf[full * size :] for leaf in leaves]))
                numbers = Batches(
                    first=tf.constant(0),
                    following=lambda number: number,
                    exists=lambda _: True,
                    take=lambda number: fast(packed(spec, [batch[begin + number] for batch in batches])),
                )
                return collected(numbers, outputs, whole, (count > whole, rest))

            number = tf.TensorSpec([], tf.int32)
            leaves = [leaf for leaf in tf.nest.flatten(spec) if leaf is not None]
            return tf.function(run, autograph=False).get_concrete_function(number, number, *leaves)

        begin = tf.constant(chunk.parts[0][1])
        key = self.traced.key("predict", shapes, xla)
        return self.traced.call(key, make, tf.constant(chunk.steps), begin, *arrays.leaves)

    def of_iterator(self, chunk: StreamChunk) -> tuple[Nest, Tensor]:
        """Return the outputs for what an iterator gives, and the number of steps."""
        spec = without_missing(chunk.iterator.element_spec)
        shapes = "predict", str(spec)
        plan = Plan(chunk.planned, lambda: self.traced.trace(spec, False), nested=True)
        xla = self.traced.decide(shapes, lambda: spec, plan)
        arguments = tf.constant(chunk.steps), chunk.iterator

        def make() -> ConcreteFunction:
            step, outputs = self.step(spec, xla)

            def run(count: Tensor, iterator: Nest) -> tuple[Nest, Tensor]:
                batches = Batches(
                    first=iterator.get_next_as_optional(),
                    following=lambda _: iterator.get_next_as_optional(),
                    exists=lambda batch: batch.has_value() & self.traced.lookups.fine(),
                    take=lambda batch: step(without_missing(batch.get_value())),
                )
                return collected(batches, outputs, count)

            return tf.function(run, autograph=False).get_concrete_function(*arguments)

        return self.traced.call(self.traced.key("predict", shapes, xla), make, *arguments)

    def step(self, spec: Nest, xla: bool) -> tuple[Step, Nest]:
        """Return the step as a function of one batch, compiled with XLA or not, and the specs of its outputs."""
        one = self.traced.trace(spec, xla)
        outputs = one.structured_outputs
        sparse = tf.RaggedTensor, tf.RaggedTensorSpec, tf.SparseTensor, tf.SparseTensorSpec
        dense = not any(isinstance(output, sparse) for output in tf.nest.flatten(outputs))
        require(dense, "model", "must give dense tensors here; its own predict takes others", self.model.name)
        return named(one) if xla else one, outputs


class Batches(NamedTuple):
    """Batches of a program, one after the other.

    Attributes:
        first: The first batch.
        following: Returns the batch of a number.
        exists: Returns whether there is a batch, or the data have ended.
        take: Returns the outputs for a batch.
    """

    first: Nest
    following: Callable[[Tensor], Nest]
    exists: Callable[[Nest], Tensor]
    take: Callable[[Nest], Nest]


def packed(spec: Nest, leaves: Sequence[Tensor]) -> Batch:
    """Return a batch of a spec from its tensors; parts that are missing are None."""
    left = iter(leaves)
    return tf.nest.map_structure(lambda part: None if part is None else next(left), spec)


def collected(
    batches: Batches, outputs: Nest, count: Tensor, rest: tuple[Tensor, Callable[[], Nest]] | None = None
) -> tuple[Nest, Tensor]:
    """Return the outputs for so many batches, one after the other, and how many batches there were.

    Args:
        batches: The batches.
        outputs: The specs of the outputs for a batch.
        count: How many batches at most.
        rest: Whether there is another batch at the end, and a function that returns its outputs.
    """

    def array(spec: TensorSpec) -> tf.TensorArray:
        return tf.TensorArray(spec.dtype, 0, True, element_shape=[None, *spec.shape[1:]], infer_shape=False)

    def written(number: Tensor, room: Nest, found: Nest) -> Nest:
        return tf.nest.map_structure(lambda array, output: array.write(number, output), room, found)

    def body(number: Tensor, batch: Nest, room: Nest) -> tuple[Tensor, Nest, Nest]:
        room = written(number, room, batches.take(batch))
        return number + 1, tf.cond(number + 1 < count, lambda: batches.following(number + 1), lambda: batch), room

    start = tf.constant(0), batches.first, tf.nest.map_structure(array, outputs)
    going = lambda number, batch, _: (number < count) & batches.exists(batch)
    ran, _, room = tf.while_loop(going, body, start, parallel_iterations=1)
    if rest is not None:
        more, last = rest
        room = tf.cond(more, lambda: written(ran, room, last()), lambda: room)
        ran += tf.cast(more, ran.dtype)
    return tf.nest.map_structure(lambda array: array.concat(), room), ran
