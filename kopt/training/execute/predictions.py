"""Predictions: a model's outputs for all of a source's data, collected inside programs."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kopt import keras_internals as internals
from kopt.training.execute.program import Program, there
from kopt.training.feed.chunks import ResidentStretch
from kopt.training.feed.placement import Jit
from kopt.training.feed.sources import Source
from kopt.values.checks import require


def predictions_of(model: Any, jit: Jit) -> "Predictions":
    """Return the predictions that a model keeps as its `predict_function`; new ones where Keras has dropped them."""
    kept = model.predict_function
    if isinstance(kept, Predictions) and kept.program.jit == jit and kept.program.step == model.predict_step:
        return kept
    model.predict_function = Predictions(Program(model, model.predict_step, jit, "step"))
    return model.predict_function


class Predictions:
    """Runs `predict_step` over stretches of data; every process computes all, on its first device.

    It stands as `model.predict_function`, so that whoever sets that to None gets a fresh trace; what stock predict
    gives it there runs as Keras' own function would.

    Args:
        program: A program of the model's predict_step, which decides whether to compile with XLA.
    """

    def __init__(self, program: Program):
        self.program, self.model = program, program.model
        self.stock: Callable[[Any], Any] | None = None

    def __call__(self, batches: Any) -> Any:
        """Return the outputs for a list of batches, as stock predict asks for them."""
        if self.stock is None:
            self.stock = internals.make_predict_function(self.model)
        return self.stock(batches)

    def over(self, data: Source, callbacks: Any) -> Any:
        """Go once through the data; the outputs as NumPy arrays, in the model's structure."""
        found: list[Any] = []
        for work in data.epoch(0):
            callbacks.on_predict_batch_begin(work.first)
            outputs = self.of_stretch(work)
            if not work.ran:
                continue
            found.append(tf.nest.map_structure(lambda output: output.numpy(), outputs))
            callbacks.on_predict_batch_end(work.last, {"outputs": outputs})
            if self.model.stop_predicting:
                break
        require(bool(found), "x", "must not be empty", "no batch")
        return tf.nest.map_structure(lambda *parts: np.concatenate(parts), *found)

    def of_stretch(self, work: Any) -> Any:
        if self.model.run_eagerly:
            outputs = [self.model.predict_step(batch) for batch in itertools.islice(work.iterator, work.steps)]
            work.ran = len(outputs)
            return tf.nest.map_structure(lambda *parts: tf.concat(parts, 0), *outputs) if outputs else None
        run = self.of_arrays if isinstance(work, ResidentStretch) else self.of_iterator
        outputs, ran = run(work)
        work.ran = int(ran)
        return outputs

    def of_arrays(self, work: ResidentStretch) -> Any:
        """Return the outputs for batches of arrays: XLA runs the whole batches, the short last one runs without it."""
        arrays, size = work.arrays, work.arrays.batch_size
        spec, whole_batch = arrays.batch_spec(None), arrays.batch_spec(size)
        key = "predict", size, str(spec)
        xla = arrays.examples >= size and self.program.decide(key, lambda: whole_batch, nested=True)

        def make() -> Any:
            plain, outputs = self.step(spec, False)
            fast = self.step(whole_batch, True)[0] if xla else plain

            def run(count: Any, begin: Any, *leaves: Any) -> Any:
                full = tf.shape(leaves[0])[0] // size
                batches = [tf.reshape(leaf[: full * size], [-1, size, *leaf.shape[1:]]) for leaf in leaves]
                whole = tf.minimum(count, full - begin)
                step = lambda number: fast(packed(spec, [batch[begin + number] for batch in batches]))
                rest = lambda: plain(packed(spec, [leaf[full * size :] for leaf in leaves]))
                same, always = lambda number: number, lambda _: True
                return collected(step, outputs, whole, tf.constant(0), same, always, (count > whole, rest))

            number = tf.TensorSpec([], tf.int32)
            leaves = [leaf for leaf in tf.nest.flatten(spec) if leaf is not None]
            return tf.function(run, autograph=False).get_concrete_function(number, number, *leaves)

        begin = tf.constant(work.parts[0][1])
        return self.program.made(key, xla, make, tf.constant(work.steps), begin, *arrays.leaves)

    def of_iterator(self, work: Any) -> Any:
        """Return outputs for what an iterator gives."""
        spec = there(work.iterator.element_spec)
        key = "predict", str(spec)
        xla = self.program.decide(key, lambda: spec, nested=True)
        arguments = tf.constant(work.steps), work.iterator

        def make() -> Any:
            one, outputs = self.step(spec, xla)

            def run(count: Any, iterator: Any) -> Any:
                take = lambda batch: one(there(batch.get_value()))
                following = lambda _: iterator.get_next_as_optional()
                going = lambda batch: batch.has_value() & self.program.lookups.fine()
                return collected(take, outputs, count, iterator.get_next_as_optional(), following, going)

            return tf.function(run, autograph=False).get_concrete_function(*arguments)

        return self.program.made(key, xla, make, *arguments)

    def step(self, spec: Any, xla: bool) -> tuple[Callable[[Any], Any], Any]:
        """Return the step as a function of one batch, compiled with XLA or not, and what its outputs look like."""
        made = self.program.step_for(xla, self.model.predict_step)
        one = tf.function(made, autograph=False, jit_compile=xla or None)
        outputs = one.get_concrete_function(spec).structured_outputs
        sparse = tf.RaggedTensor, tf.RaggedTensorSpec, tf.SparseTensor, tf.SparseTensorSpec
        dense = not any(isinstance(output, sparse) for output in tf.nest.flatten(outputs))
        require(dense, "model", "must give dense tensors here; its own predict takes others", self.model.name)
        return one, outputs


def packed(spec: Any, leaves: Sequence[Any]) -> Any:
    """Return a batch of a spec from its tensors; parts that are missing are None."""
    left = iter(leaves)
    return tf.nest.map_structure(lambda part: None if part is None else next(left), spec)


def collected(
    one: Callable[[Any], Any],
    outputs: Any,
    count: Any,
    first: Any,
    following: Callable[[Any], Any],
    there: Callable[[Any], Any],
    rest: tuple[Any, Callable[[], Any]] | None = None,
) -> Any:
    """Return what a step gives for so many batches, one after the other, and how many there were.

    Args:
        one: The step.
        outputs: What its outputs look like.
        count: How many batches at most.
        first: The first one.
        following: Gives the one of a number.
        there: Whether there is one.
        rest: Whether there is another batch at the end, and what gives its outputs.
    """
    room = tf.nest.map_structure(
        lambda spec: tf.TensorArray(spec.dtype, 0, True, element_shape=[None, *spec.shape[1:]], infer_shape=False),
        outputs,
    )

    def written(number: Any, room: Any, found: Any) -> Any:
        return tf.nest.map_structure(lambda array, output: array.write(number, output), room, found)

    def body(number: Any, batch: Any, room: Any) -> Any:
        room = written(number, room, one(batch))
        return number + 1, tf.cond(number + 1 < count, lambda: following(number + 1), lambda: batch), room

    going = tf.constant(0), first, room
    ran, _, room = tf.while_loop(lambda n, batch, _: (n < count) & there(batch), body, going, parallel_iterations=1)
    if rest is not None:
        more, last = rest
        room = tf.cond(more, lambda: written(ran, room, last()), lambda: room)
        ran += tf.cast(more, ran.dtype)
    return tf.nest.map_structure(lambda array: array.concat(), room), ran
