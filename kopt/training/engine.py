"""The engine: where the data of an epoch live, and how many steps one program call holds.

*Resident*: arrays lie on the device, a program gathers its batches in the graph. *Stream*: a tf.data iterator is
consumed inside the graph. Both give an epoch as stretches of steps, whose number is a runtime number, and
`program.Program` runs them.
"""

import functools
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from kopt import keras_internals as internals
from kopt.checks import require
from kopt.distribute import workers
from kopt.training.order import order

__all__ = ["Resident", "Stream"]

log = logging.getLogger("kopt")

Engine = Literal["auto", "resident", "stream"]
Jit = Literal["auto"] | bool

BUDGET = 2**30  # bytes of arrays that may lie on the device
ORDERS = 2**20  # examples in the orders that lie on the device for epochs to come
STRETCH_SECONDS = 0.2  # how long a program call may take: progress and Ctrl-C wait for it


@dataclass(frozen=True)
class Arrays:
    """(x, y, sample_weight) as tensors on the device, and how to go through them."""

    data: Any
    batch_size: int
    shuffle: bool
    seed: int

    @functools.cached_property
    def leaves(self) -> list[Any]:
        """The tensors, without the parts that are missing."""
        return [leaf for leaf in tf.nest.flatten(self.data) if leaf is not None]

    @functools.cached_property
    def examples(self) -> int:
        return int(self.leaves[0].shape[0])

    @functools.cached_property
    def key(self) -> str:
        """What a program over the arrays depends on."""
        return f"{self.batch_size} {self.batch_spec(self.examples)}"

    @property
    def batches(self) -> int:
        return -(-self.examples // self.batch_size)

    def batch_spec(self, size: int | None) -> Any:
        return tf.nest.map_structure(
            lambda leaf: None if leaf is None else tf.TensorSpec([size, *leaf.shape[1:]], leaf.dtype), self.data
        )

    def order(self, epoch: int) -> Any:
        return order(self.examples, seed=self.seed, epoch=epoch, shuffle=self.shuffle)


@dataclass
class Stretch:
    """`steps` steps that are one program call, from the one numbered `first` on.

    `fresh` says that metrics start anew; `shown` is how many steps callbacks are told of where a number was asked for;
    whoever runs it sets `ran`, fewer than asked where the data ended.
    """

    first: int
    steps: int
    fresh: bool
    shown: int | None
    ran: int = 0

    @property
    def last(self) -> int:
        return self.first + (self.shown or self.ran) - 1


@dataclass
class ResidentStretch(Stretch):
    """Steps over arrays: parts of one or several epochs, each as (place of its order, first batch, steps).

    Whoever runs it leaves the logs of each part.
    """

    arrays: Any = None
    orders: Any = None
    parts: tuple[tuple[int, int, int], ...] = ()
    logs: Any = None


@dataclass
class StreamStretch(Stretch):
    """Steps over what an iterator gives."""

    iterator: Any = None


class Pace:
    """How many steps a stretch holds: as many as asked for, or what takes about `STRETCH_SECONDS`.

    Args:
        asked: Steps a stretch that the user or a callback needs; None for as many as is fast.
    """

    def __init__(self, asked: int | None):
        self.asked, self.size, self.calls = asked, asked or 1, 0

    def measure(self, steps: int, seconds: float, whole: int) -> None:
        """Grow to what `seconds` for `steps` allow; shorter calls than could be, of `whole` at most, say little.

        The first call is left out: it compiled.
        """
        self.calls += 1
        if self.asked is None and self.calls > 1 and 2 * steps >= min(self.size, whole):
            self.size = max(1, int(min(8 * steps, STRETCH_SECONDS * steps / seconds)))


class Source:
    """An epoch's data in stretches, with fit's meaning of `steps_per_epoch`: data go on where an epoch cut them.

    Args:
        num_batches: How many there are; None where only their end will tell.
        steps_per_epoch: Where to cut an epoch; None for the end of the data.
        steps: Steps a stretch, where a callback or the user asks for a number; None for as many as is fast.
    """

    def __init__(self, num_batches: int | None, steps_per_epoch: int | None, steps: int | None):
        self.known, self.steps_per_epoch, self.pace = num_batches, steps_per_epoch, Pace(steps)
        self.running, self.seen, self.passes, self.found = False, 0, 0, num_batches

    @property
    def num_batches(self) -> int | None:
        """Steps an epoch, as far as it is known."""
        return self.steps_per_epoch or self.found

    def start(self, number: int) -> None:
        """Begin to go through the data, for the epoch or, where epochs cut the data, the pass of this number."""

    def stretch(self, **how: Any) -> Stretch:
        raise NotImplementedError

    def span(self, number: int, last: int) -> "ResidentStretch | None":
        """Several whole epochs from this one to before another as one stretch, where there is time for two or more."""
        return None

    def close(self) -> None:
        """Called at the end of an epoch."""

    def epoch(self, number: int) -> Iterator[Stretch]:
        """The stretches of an epoch; each must have been run before the next is asked for."""
        total, done = self.steps_per_epoch or self.known, 0
        while total is None or done < total:
            if not self.running:
                if self.steps_per_epoch and done:
                    break  # the data ended in the middle of an epoch
                self.start(self.passes if self.steps_per_epoch else number)
                self.running, self.seen, self.passes = True, 0, self.passes + 1
            steps = self.pace.size
            # As in fit, an asked number of steps a call may go beyond steps_per_epoch.
            steps = steps if total is None or self.pace.asked else min(steps, total - done)
            steps = steps if self.known is None else min(steps, self.known - self.seen)
            work = self.stretch(first=done, steps=steps, fresh=done == 0, shown=self.pace.asked)
            yield work
            self.seen, done = self.seen + work.ran, done + (self.pace.asked or work.ran)
            if work.ran < steps or self.seen == self.known:
                self.running = False
                if work.ran < steps:
                    self.found = self.seen
                    break
        self.close()
        if self.steps_per_epoch and done < self.steps_per_epoch or done == 0:
            warnings.warn(
                "Your input ran out of data; interrupting training. Make sure that your dataset or generator can "
                "generate at least `steps_per_epoch * epochs` batches.",
                stacklevel=2,
            )


class Resident(Source):
    """Arrays on the device.

    Args:
        arrays: The data.
        steps_per_epoch: Where to cut an epoch; None for the end of the data.
        steps: Steps a stretch, where a number is asked for.
        epochs: How many epochs a stretch may hold, where nothing has to happen between them.
    """

    def __init__(self, arrays: Arrays, steps_per_epoch: int | None, steps: int | None, epochs: int = 1):
        super().__init__(arrays.batches, steps_per_epoch, steps)
        whole = steps_per_epoch is None and steps is None
        self.arrays, self.room = arrays, max(1, min(epochs, ORDERS // arrays.examples, 64)) if whole else 1
        self.block, self.orders = -1, None

    def start(self, number: int) -> None:
        """Have the orders of the block of epochs that this one is in."""
        self.place = number % self.room
        if self.block != number // self.room:
            self.block = number // self.room
            numbers = range(self.block * self.room, (self.block + 1) * self.room)
            self.orders = tf.constant(np.stack([self.arrays.order(one) for one in numbers]))

    def stretch(self, **how: Any) -> Stretch:
        part = self.place, self.seen, how["steps"]
        return ResidentStretch(**how, arrays=self.arrays, orders=self.orders, parts=(part,))

    def span(self, number: int, last: int) -> ResidentStretch | None:
        batches = self.arrays.batches
        count = min(self.pace.size // batches, last - number, self.room - number % self.room)
        if count < 2:
            return None
        self.start(number)
        parts = tuple((self.place + place, 0, batches) for place in range(count))
        return ResidentStretch(0, count * batches, True, None, arrays=self.arrays, orders=self.orders, parts=parts)


class Stream(Source):
    """A dataset, read inside the graph.

    Args:
        dataset: A tf.data.Dataset of global batches, or a distributed one of each replica's.
        adapter: Keras' adapter, which is told of the beginning and the end of an epoch.
        ordered: The arrays and the variable that holds their order, where kopt decides it.
    """

    def __init__(
        self, dataset: Any, adapter: Any, num_batches: int | None, steps_per_epoch: int | None, steps: int | None
    ):
        super().__init__(num_batches, steps_per_epoch, steps)
        self.dataset, self.adapter = dataset, adapter
        self.ordered: tuple[Arrays, Any] | None = None

    def start(self, number: int) -> None:
        self.adapter.on_epoch_begin()
        if self.ordered:
            arrays, variable = self.ordered
            variable.assign(arrays.order(number))
        self.iterator = iter(self.dataset)

    def stretch(self, **how: Any) -> Stretch:
        return StreamStretch(**how, iterator=self.iterator)

    def close(self) -> None:
        self.adapter.on_epoch_end()


def source(
    model: Any,
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    engine: Engine,
    seed: int = 0,
    stretch: int | None,
    batch_size: Any = None,
    shuffle: Any = False,
    class_weight: Any = None,
    steps_per_epoch: int | None = None,
    buildable: bool = True,
    epochs: int = 1,
) -> Source:
    """Choose how an epoch's data come, and say why in the log.

    Args:
        model: The model that is to see them; it is built from them where it can be.
        x: Inputs, as for fit.
        y: Targets, as for fit.
        sample_weight: As for fit.
        engine: "auto" or what to use.
        seed: Of the order of examples.
        stretch: Steps a program call, or None for as many as is fast.
        batch_size: As for fit, or "full".
        shuffle: As for fit.
        class_weight: As for fit.
        steps_per_epoch: As for fit.
        epochs: How many epochs a stretch may hold.
        buildable: Whether Keras can build the model from its call, as it can where its steps are Keras' own.
    """
    full = batch_size == "full"
    how = {"shuffle": shuffle, "class_weight": class_weight, "batch_size": None if full else batch_size}
    adapter = internals.data_adapter(x, y, sample_weight, steps_per_epoch=steps_per_epoch, **how)
    arrays = None if shuffle == "batch" else arrays_of(adapter, batch_size, bool(shuffle), seed)
    known = internals.is_of_arrays(adapter)
    require(not full or known, "batch_size", "must be a number where the data are no arrays", batch_size)
    if arrays and buildable:
        internals.build(model, arrays.batch_spec(arrays.batch_size))
    why = refusal(model, arrays)
    require(engine != "resident" or not why, "engine", f"must be 'stream' here: {why}", engine)
    if engine != "stream" and not why:
        assert arrays is not None
        log.info("engine: resident, %d examples in batches of %d", arrays.examples, arrays.batch_size)
        return Resident(arrays, steps_per_epoch, stretch, epochs)
    log.info("engine: stream, %s", why or "asked for")
    if arrays:
        return streamed(arrays, adapter, steps_per_epoch, stretch)
    dataset = distributed(adapter.get_tf_dataset(), model.distribute_strategy)
    if buildable and isinstance(dataset, tf.data.Dataset):
        internals.build(model, dataset.element_spec)
    return Stream(dataset, adapter, adapter.num_batches, steps_per_epoch, stretch)


def arrays_of(adapter: Any, batch_size: Any, shuffle: bool, seed: int) -> Arrays | None:
    """The data as tensors, or None where they are no dense arrays of numbers."""
    data = internals.tensors(adapter) if internals.is_of_arrays(adapter) else None
    if data is None or any(leaf.dtype == tf.string for leaf in tf.nest.flatten(data) if leaf is not None):
        return None
    examples = next(leaf for leaf in tf.nest.flatten(data) if leaf is not None).shape[0]
    require(examples > 0, "x", "must not be empty", f"{examples} examples")
    return Arrays(data, examples if batch_size == "full" else batch_size or 32, shuffle, seed)


def refusal(model: Any, arrays: Arrays | None) -> str:
    """Why the data cannot be resident; empty where they can."""
    if arrays is None:
        return "the data are no dense arrays of numbers"
    if model.run_eagerly:
        return "the model runs eagerly"
    size = sum(leaf.dtype.size * leaf.shape.num_elements() for leaf in arrays.leaves)
    return f"{size} bytes are more than {BUDGET}" if size > BUDGET else ""


def streamed(arrays: Arrays, adapter: Any, steps_per_epoch: int | None, stretch: int | None) -> Stream:
    """A dataset over arrays in kopt's order."""
    variable = tf.Variable(arrays.order(0), trainable=False)

    def batch(number: Any) -> Any:
        rows = variable[number * arrays.batch_size : (number + 1) * arrays.batch_size]
        return tf.nest.map_structure(lambda leaf: None if leaf is None else tf.gather(leaf, rows), arrays.data)

    batches = tf.data.Dataset.range(arrays.batches).map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    data = Stream(batches.prefetch(tf.data.AUTOTUNE), adapter, arrays.batches, steps_per_epoch, stretch)
    data.ordered = arrays, variable
    return data


def distributed(dataset: Any, strategy: Any) -> Any:
    """The dataset as it is, to be split batch by batch; TensorFlow's shards of it where its options ask for them."""
    if not isinstance(dataset, tf.data.Dataset):
        return dataset
    policies = tf.data.experimental.AutoShardPolicy
    policy = dataset.options().experimental_distribute.auto_shard_policy
    sharded = policy in (policies.FILE, policies.DATA, policies.HINT) and workers(strategy) > 1
    return strategy.experimental_distribute_dataset(dataset) if sharded else dataset
