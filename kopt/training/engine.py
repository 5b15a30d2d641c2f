"""The engine: where the data of an epoch live, and how many steps one program call holds.

*Resident*: arrays lie on the device, a program gathers its batches in the graph and runs a stretch of steps; how many
is a runtime number. *Stream*: batches come from Keras' iterator. Both give what fit's loop iterates over, (first step,
last step, work), and `program.Program` runs the work.
"""

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import tensorflow as tf

from kopt import keras_internals as internals
from kopt.checks import require
from kopt.training.order import order

__all__ = ["Resident", "Stream"]

log = logging.getLogger("kopt")

Engine = Literal["auto", "resident", "stream"]
Jit = Literal["auto"] | bool

BUDGET = 2**30  # bytes of arrays that may lie on the device
STRETCH_SECONDS = 0.2  # how long a program call may take: progress and Ctrl-C wait for it


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

    def first_batch(self) -> Any:
        return tf.nest.map_structure(lambda leaf: None if leaf is None else leaf[: self.batch_size], self.data)

    def order(self, epoch: int) -> Any:
        return tf.constant(order(self.examples, seed=self.seed, epoch=epoch, shuffle=self.shuffle))


class Stretch(NamedTuple):
    """Some batches of resident arrays: `steps` from the one numbered `first` on, in this order of examples."""

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


def source(
    model: Any, engine: Engine, seed: int, stretch: int | None, own_step: bool, x: Any, y: Any, **how: Any
) -> Resident | Stream:
    """Choose how an epoch's data come, and say why in the log.

    Args:
        model: The model that is trained.
        engine: "auto" or what to use.
        seed: Of the order of examples.
        stretch: Steps a program call, or None for as many as is fast.
        own_step: Whether the logs come from a step of the user's own.
        x: Inputs, as for fit.
        y: Targets, as for fit.
        **how: fit's batch_size, shuffle, sample_weight, class_weight, steps_per_epoch.
    """
    arrays = arrays_of(x, y, seed, **how)
    why = refusal(model, arrays, own_step)
    require(engine != "resident" or not why, "engine", f"must be 'stream' here: {why}", engine)
    if engine != "stream" and not why:
        assert arrays is not None
        log.info("engine: resident, %d examples in batches of %d", arrays.examples, arrays.batch_size)
        internals.build(model, arrays.first_batch())
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


def refusal(model: Any, arrays: Arrays | None, own_step: bool) -> str:
    """Why the data cannot be resident; empty where they can."""
    if arrays is None:
        return "the data are no dense arrays, or steps_per_epoch cuts them"
    if model.run_eagerly:
        return "the model runs eagerly"
    if own_step or internals.has_own_metrics(model):
        return "the logs come from a step or compute_metrics of its own"
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
    if not internals.has_own_train_step(model):
        internals.build(model, arrays.first_batch())
    return Stream(iterator, (arrays, variable))
