"""Sources: an epoch's data as stretches of steps, from arrays on the device or from a dataset."""

import abc
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from kopt import keras_internals as internals
from kopt.training.feed.chunks import Arrays, Pace, ResidentStretch, StreamStretch, Stretch
from kopt.values.checks import require

__all__ = ["Resident", "Stream"]

ORDERS = 2**20  # examples in the orders that lie on the device for epochs to come


class Source(abc.ABC):
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

    @property
    def examples(self) -> int | None:
        """Examples an epoch, as far as it is known."""
        return None

    def start(self, number: int) -> None:
        """Begin to go through the data, for the epoch or, where epochs cut the data, the pass of this number."""

    @abc.abstractmethod
    def stretch(self, **how: Any) -> Stretch:
        """The next steps."""

    def span(self, number: int, last: int) -> "ResidentStretch | None":
        """Several whole epochs from this one to before another as one stretch, where there is time for two or more."""
        return None

    def reset(self) -> None:
        """Begin the data anew, before the first epoch and before each evaluation."""
        self.running = False

    def open(self) -> None:
        """Called at the beginning of an epoch."""

    def ended(self) -> None:
        """Prepare the next epoch, after one that has come to the end of the data."""

    def close(self) -> None:
        """Called at the end of an epoch."""

    def epoch(self, number: int) -> Iterator[Stretch]:
        """The stretches of an epoch; each must have been run before the next is asked for."""
        self.open()
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
                self.ended()
        self.close()
        require(done > 0 or self.passes > 1, "x", "must not be empty", "no batch")
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

    @property
    def examples(self) -> int | None:
        return None if self.steps_per_epoch else self.arrays.examples

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

    Iterators are made when Keras makes them: each moves the state of a dataset that shuffles, so that its epochs have
    the order that they have in fit.

    Args:
        dataset: A tf.data.Dataset of global batches, or a distributed one of each replica's.
        adapter: Keras' adapter, which is told of the beginning and the end of an epoch.
        num_batches: How many batches there are; None when unknown before their end.
        steps_per_epoch: Where to cut an epoch; None for the end of the data.
        steps: Steps a stretch, where a number is asked for.
        looked_at: Whether Keras would take a batch of an iterator of its own before it begins.
        ordered: The arrays and the variable that holds their order, where kopt decides it.
    """

    def __init__(
        self,
        dataset: Any,
        adapter: Any,
        num_batches: int | None,
        steps_per_epoch: int | None,
        steps: int | None,
        *,
        looked_at: bool = False,
        ordered: tuple[Arrays, Any] | None = None,
    ):
        super().__init__(num_batches, steps_per_epoch, steps)
        self.dataset, self.adapter, self.ordered = dataset, adapter, ordered
        self.as_given = internals.is_of_dataset(adapter) and isinstance(dataset, tf.data.Dataset)
        self.looked_at, self.changing = looked_at and self.as_given, internals.is_of_py_dataset(adapter)
        self.following: Any = None

    @property
    def examples(self) -> int | None:
        return self.ordered[0].examples if self.ordered and not self.steps_per_epoch else None

    def start(self, number: int) -> None:
        if self.ordered:
            arrays, variable = self.ordered
            variable.assign(arrays.order(number))
        goes_on = self.steps_per_epoch and self.following is not None
        self.iterator, self.following = self.following if goes_on else iter(self.dataset), None

    def reset(self) -> None:
        super().reset()
        self.following = None
        if self.looked_at:
            next(iter(self.dataset), None)
        self.adapter.on_epoch_end()  # as fit does before it begins: data that change there are those of fit

    def open(self) -> None:
        self.adapter.on_epoch_begin()
        if self.changing and not self.running:
            self.known = self.found = self.adapter.num_batches

    def ended(self) -> None:
        if self.as_given:
            self.following = iter(self.dataset)

    def stretch(self, **how: Any) -> Stretch:
        return StreamStretch(**how, iterator=self.iterator)

    def close(self) -> None:
        self.adapter.on_epoch_end()
