"""The engine: where the data of an epoch live, and how many steps one program call holds.

*Resident*: arrays lie on the device, a program gathers its batches in the graph and runs a stretch of steps; how many
is a runtime number. *Stream*: batches come from Keras' iterator. Both give what fit's loop iterates over, (first step,
last step, work), and `Program` runs the work.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import tensorflow as tf

from kopt import keras_internals as internals
from kopt.checks import require
from kopt.training.order import order

__all__ = ["Program", "Resident", "Stream"]

log = logging.getLogger("kopt")

Engine = Literal["auto", "resident", "stream"]
Jit = Literal["auto"] | bool

BUDGET = 2**30  # bytes of arrays that may lie on the device
STRETCH_SECONDS = 0.2  # how long a program call may take: progress and Ctrl-C wait for it

# Operations that XLA runs many times slower than TensorFlow's own kernels on a CPU.
SLOW_IN_XLA = {"While", "StatelessWhile", "TensorListSetItem"}
SLOW_IN_XLA_PREFIXES = ("Conv", "_FusedConv", "Depthwise", "MaxPool", "AvgPool")


class Arrays(NamedTuple):
    """(x, y, sample_weight) as tensors on the device, and how to go through them."""

    data: Any
    batch_size: int
    shuffle: bool
    seed: int

    @property
    def examples(self) -> int:
        return int(tf.nest.flatten(self.data)[0].shape[0])

    @property
    def batches(self) -> int:
        return -(-self.examples // self.batch_size)

    def order(self, epoch: int) -> Any:
        return tf.constant(order(self.examples, seed=self.seed, epoch=epoch, shuffle=self.shuffle))


class Stretch(NamedTuple):
    """Some batches of resident arrays: `count` from the one numbered `first` on, in this order of examples."""

    arrays: Arrays
    order: Any
    first: int
    steps: int


class Resident:
    """An epoch over arrays on the device, in stretches that grow until a program call takes `STRETCH_SECONDS`.

    Args:
        arrays: The data.
        steps: Steps a stretch, where a callback or the user asks for a number; None for as many as is fast.
    """

    def __init__(self, arrays: Arrays, steps: int | None):
        self.arrays, self.steps, self.num_batches = arrays, steps, arrays.batches
        self.size, self.compiled, self.epoch = steps or 1, False, 0

    def begin(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[int, int, Stretch]]:
        first, ordered = 0, self.arrays.order(self.epoch)
        while first < self.num_batches:
            count = min(self.size, self.num_batches - first)
            started = time.perf_counter()
            # As in fit, the last step is numbered as if the stretch were whole.
            yield first, first + (self.steps or count) - 1, Stretch(self.arrays, ordered, first, count)
            self.pace(count, time.perf_counter() - started)
            first += count

    def pace(self, count: int, seconds: float) -> None:
        """Grow the stretch; the first call is left out, it compiled."""
        if self.steps is None and self.compiled and count == self.size and seconds < STRETCH_SECONDS / 2:
            self.size = int(count * min(8.0, STRETCH_SECONDS / seconds)) + 1
        self.compiled = True

    def catch_stop_iteration(self) -> Any:
        return contextlib.nullcontext()


class Stream:
    """An epoch over whatever fit takes, by Keras' iterator.

    Args:
        iterator: Keras' epoch iterator.
        ordered: The arrays and the variable that holds their order, where kopt decides it.
    """

    def __init__(self, iterator: Any, ordered: tuple[Arrays, Any] | None = None):
        self.iterator, self.ordered = iterator, ordered

    @property
    def num_batches(self) -> int | None:
        return self.iterator.num_batches

    def begin(self, epoch: int) -> None:
        if self.ordered:
            arrays, variable = self.ordered
            variable.assign(arrays.order(epoch))

    def __iter__(self) -> Any:
        yield from self.iterator

    def catch_stop_iteration(self) -> Any:
        return self.iterator.catch_stop_iteration()


def source(model: Any, engine: Engine, seed: int, stretch: int | None, x: Any, y: Any, **how: Any) -> Resident | Stream:
    """Choose how an epoch's data come, and say why in the log.

    Args:
        model: The model that is trained.
        engine: "auto" or what to use.
        seed: Of the order of examples.
        stretch: Steps a program call, or None for as many as is fast.
        x: Inputs, as for fit.
        y: Targets, as for fit.
        **how: fit's batch_size, shuffle, sample_weight, class_weight, steps_per_epoch.
    """
    arrays = arrays_of(x, y, seed, **how)
    why = refusal(model, arrays, how["steps_per_epoch"])
    require(engine != "resident" or not why, "engine", f"must be 'stream' here: {why}", engine)
    if engine != "stream" and not why:
        assert arrays is not None
        log.info("engine: resident, %d examples in batches of %d", arrays.examples, arrays.batch_size)
        first = tf.nest.map_structure(lambda leaf: None if leaf is None else leaf[: arrays.batch_size], arrays.data)
        internals.build(model, first)
        return Resident(arrays, stretch)
    log.info("engine: stream, %s", why or "asked for")
    return stream(model, arrays, x, y, how)


def arrays_of(
    x: Any, y: Any, seed: int, *, batch_size: Any, shuffle: Any, steps_per_epoch: Any, **weights: Any
) -> Arrays | None:
    """The data as tensors, or None where they are no dense arrays, or fit's order of them is not kopt's."""
    full = batch_size == "full"
    adapter = internals.array_adapter(x, y, batch_size=None if full else batch_size, shuffle=shuffle, **weights)
    require(not full or adapter is not None, "batch_size", "must be a number where the data are no arrays", batch_size)
    if adapter is None or steps_per_epoch is not None or shuffle == "batch":
        return None
    data = internals.tensors(adapter)
    if data is None or any(leaf.dtype == tf.string for leaf in tf.nest.flatten(data) if leaf is not None):
        return None
    examples = tf.nest.flatten(data)[0].shape[0]
    require(examples > 0, "x", "must not be empty", f"{examples} examples")
    return Arrays(data, examples if full else batch_size or 32, bool(shuffle), seed)


def refusal(model: Any, arrays: Arrays | None, steps_per_epoch: int | None) -> str:
    """Why the data cannot be resident; empty where they can."""
    if arrays is None:
        return "the data are no dense arrays, or steps_per_epoch cuts them"
    if model.distribute_strategy.num_replicas_in_sync > 1:
        return f"{model.distribute_strategy.num_replicas_in_sync} replicas"
    if model.run_eagerly:
        return "the model runs eagerly"
    if internals.has_own_metrics(model):
        return "the model has its own train_step or compute_metrics"
    size = sum(leaf.dtype.size * leaf.shape.num_elements() for leaf in tf.nest.flatten(arrays.data) if leaf is not None)
    return f"{size} bytes are more than {BUDGET}" if size > BUDGET else ""


def stream(model: Any, arrays: Arrays | None, x: Any, y: Any, how: dict[str, Any]) -> Stream:
    """Keras' iterator over a dataset in kopt's order where the data are arrays, else over the data as they are."""
    if arrays is None:
        iterator = internals.epoch_iterator(model, x=x, y=y, **how)
        internals.build_from(model, iterator)
        return Stream(iterator)
    variable = tf.Variable(arrays.order(0), trainable=False)

    def batch(number: Any) -> Any:
        rows = variable[number * arrays.batch_size : (number + 1) * arrays.batch_size]
        return tf.nest.map_structure(lambda leaf: None if leaf is None else tf.gather(leaf, rows), arrays.data)

    batches = tf.data.Dataset.range(arrays.batches).map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    iterator = internals.epoch_iterator(
        model, x=batches.prefetch(tf.data.AUTOTUNE), steps_per_epoch=None, shuffle=False
    )
    internals.build_from(model, iterator)
    return Stream(iterator, (arrays, variable))


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

        def one(data: Any) -> Any:
            return self.model.distribute_strategy.run(self.step, args=(data,))

        def spec(leaf: Any) -> Any:
            return None if leaf is None else tf.TensorSpec([size, *leaf.shape[1:]], leaf.dtype)

        return tf.function(one, autograph=False).get_concrete_function(tf.nest.map_structure(spec, arrays.data))

    def build(self, arrays: Arrays, size: int, uneven: bool) -> Callable[..., Any]:
        """A program over any number of batches of arrays of these shapes."""
        step, model, structure, examples = (
            self.trace(arrays, None if uneven else size),
            self.model,
            arrays.data,
            arrays.examples,
        )

        def stretch(count: Any, start: Any, ordered: Any, leaves: Any) -> Any:
            def batch(number: Any) -> Any:
                first = start + number * size
                # A gather: tf.slice would make the start a constant of the XLA program, compiled for each value.
                rows = tf.gather(
                    ordered, tf.range(first, tf.minimum(first + size, examples)) if uneven else first + tf.range(size)
                )
                left = iter(leaves)
                return tf.nest.map_structure(
                    lambda leaf: None if leaf is None else tf.gather(next(left), rows), structure
                )

            def body(number: Any) -> Any:
                with tf.control_dependencies(tf.nest.flatten(step(batch(number)))):
                    return (number + 1,)

            tf.while_loop(lambda number: number < count, body, (tf.constant(0),), parallel_iterations=1)
            return model.get_metrics_result()

        return tf.function(stretch, jit_compile=self.xla, autograph=False)


def operations(traced: Any) -> set[str]:
    """The names of every operation in a concrete function, the functions that it calls included."""
    graph = traced.graph.as_graph_def()
    return {node.op for node in graph.node} | {
        node.op for function in graph.library.function for node in function.node_def
    }


def slow_in_xla(operation: str) -> bool:
    return operation in SLOW_IN_XLA or operation.startswith(SLOW_IN_XLA_PREFIXES)
