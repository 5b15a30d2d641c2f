"""Predictions: a model's outputs for all of a source's data, collected inside programs."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from kopt.checks import require
from kopt.training.program import Program
from kopt.training.sources import Source
from kopt.training.stretches import ResidentStretch, StreamStretch


class Predictions:
    """Runs `predict_step` over stretches of data; every process computes all, on its first device.

    Args:
        program: A program of the model's predict_step, which decides whether to compile with XLA.
    """

    def __init__(self, program: Program):
        self.program, self.model = program, program.model

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
        resident = isinstance(work, ResidentStretch)
        spec = work.arrays.batch_spec(None) if resident else work.iterator.element_spec
        size = work.arrays.batch_size if resident else None
        make = lambda: self.compiled(spec, size, self.arguments(work))
        outputs, ran = self.program.made(("predict", str(spec), size), lambda: spec, make, *self.arguments(work))
        work.ran = int(ran)
        return outputs

    def arguments(self, work: Any) -> tuple[Any, ...]:
        if isinstance(work, StreamStretch):
            return tf.constant(work.steps), work.iterator
        return tf.constant(work.steps), tf.constant(work.parts[0][1]), *work.arrays.leaves

    def compiled(self, spec: Any, size: int | None, arguments: Any) -> Callable[..., Any]:
        """The function of how many batches, and of where to take them from: arrays where they have a size."""
        one = tf.function(self.model.predict_step, autograph=False, jit_compile=self.program.xla or None)
        outputs = one.get_concrete_function(spec).structured_outputs
        sparse = tf.RaggedTensor, tf.RaggedTensorSpec, tf.SparseTensor, tf.SparseTensorSpec
        dense = not any(isinstance(output, sparse) for output in tf.nest.flatten(outputs))
        require(dense, "model", "must give dense tensors here; its own predict takes others", self.model.name)

        def of_arrays(count: Any, begin: Any, *leaves: Any) -> Any:
            def step(number: Any) -> Any:
                first, left = (begin + number) * size, iter(leaves)
                rows = lambda part: None if part is None else next(left)[first : first + size]
                return one(tf.nest.map_structure(rows, spec))

            return collected(step, outputs, count, tf.constant(0), lambda number: number, lambda _: True)

        def of_iterator(count: Any, iterator: Any) -> Any:
            take = lambda batch: one(batch.get_value())
            following = lambda _: iterator.get_next_as_optional()
            there = lambda batch: batch.has_value()
            return collected(take, outputs, count, iterator.get_next_as_optional(), following, there)

        function = tf.function(of_arrays if size else of_iterator, autograph=False)
        return function.get_concrete_function(*arguments)


def collected(one: Any, outputs: Any, count: Any, first: Any, following: Any, there: Any) -> Any:
    """What a step gives for so many batches, one after the other, and how many there were."""
    room = tf.nest.map_structure(
        lambda spec: tf.TensorArray(spec.dtype, 0, True, element_shape=[None, *spec.shape[1:]], infer_shape=False),
        outputs,
    )

    def body(number: Any, batch: Any, room: Any) -> Any:
        room = tf.nest.map_structure(lambda array, output: array.write(number, output), room, one(batch))
        return number + 1, tf.cond(number + 1 < count, lambda: following(number + 1), lambda: batch), room

    going = tf.constant(0), first, room
    ran, _, room = tf.while_loop(lambda n, batch, _: (n < count) & there(batch), body, going, parallel_iterations=1)
    return tf.nest.map_structure(lambda array: array.concat(), room), ran
