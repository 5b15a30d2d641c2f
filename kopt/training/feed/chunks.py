"""Chunks: the steps of one program call, what running them gives, and how many steps a chunk has."""

import functools
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from kopt.training.feed.iterators import Pass
from kopt.training.feed.order import order
from kopt.values.types import Dataset, Nest, Tensor, TensorSpec

LARGEST_BATCH = 2**30  # programs count rows in 32 bits
CHUNK_SECONDS = 0.2  # how long a program call may take: progress and Ctrl-C wait for it


@dataclass(frozen=True)
class Arrays:
    """Tensors on the device, the size of a batch, and the order of the examples.

    Attributes:
        data: (x, y, sample_weight), or what a dataset's elements are.
        batch_size: Examples a batch.
        shuffle: Whether an order is drawn by the seed and the number of its epoch.
        seed: The seed.
        whole_only: Whether a short last batch is left out.
        numbers: A dataset that draws an order of the examples at each iteration, in place of the seed.
    """

    data: Nest
    batch_size: int
    shuffle: bool
    seed: int
    whole_only: bool = False
    numbers: Dataset | None = None

    @functools.cached_property
    def leaves(self) -> list[Tensor]:
        """The tensors, without the parts that are missing."""
        return [leaf for leaf in tf.nest.flatten(self.data) if leaf is not None]

    @functools.cached_property
    def examples(self) -> int:
        return int(self.leaves[0].shape[0])

    @property
    def fixed_size(self) -> int:
        """The examples of the first batch: fewer than asked for where there are fewer."""
        return min(self.batch_size, self.examples)

    @functools.cached_property
    def whole_batch(self) -> Nest:
        """The spec of a whole batch."""
        return self.batch_spec(self.fixed_size)

    @functools.cached_property
    def batch_key(self) -> str:
        """The key of this kind of batch."""
        return str(self.whole_batch)

    @property
    def even(self) -> bool:
        """Whether no short batch is left."""
        return self.whole_only or self.examples % self.batch_size == 0

    def key(self, xla: bool, room: int) -> Hashable:
        """Return the key of a program over arrays with room for so many orders; without XLA, of any length."""
        return self.batch_size, self.batch_key, self.even, self.examples if xla else room > 1

    @property
    def batches(self) -> int:
        whole = self.examples // self.batch_size
        return whole if self.even else whole + 1

    def batch_spec(self, size: int | None) -> Nest:
        """Return the spec of a batch of this size, or of any size when None."""

        def spec(leaf: Tensor) -> TensorSpec:
            return None if leaf is None else tf.TensorSpec([size, *leaf.shape[1:]], leaf.dtype)

        return tf.nest.map_structure(spec, self.data)

    def order(self, epoch: int) -> np.ndarray:
        """Return the order of the examples in an epoch."""
        if self.numbers is not None:
            return next(iter(self.numbers)).numpy()
        return order(self.examples, seed=self.seed, epoch=epoch, shuffle=self.shuffle)


@dataclass(frozen=True, kw_only=True, eq=False)
class Chunk:
    """Consecutive steps that one call of an executor runs; the data may end before.

    Attributes:
        first: The number of the first step in its epoch.
        steps: The number of steps.
        fresh: Whether an epoch begins with the chunk, so that metrics are reset.
        asked: The number of steps a call that the user or a callback asks for; None for as many as is fast.
        planned: The number of steps that the run plans over the data; None when their end is unknown.
    """

    first: int
    steps: int
    fresh: bool
    asked: int | None = None
    planned: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class ResidentChunk(Chunk):
    """Steps over arrays on the device: parts of one or of several epochs.

    Attributes:
        arrays: The data.
        orders: Orders of the examples, a row an epoch, and rows of zeros: as many rows for any number of epochs.
        parts: The parts of epochs, each as (row of its order, first batch, number of steps).
    """

    arrays: Arrays
    orders: Tensor
    parts: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class StreamChunk(Chunk):
    """Steps over the batches that an iterator gives.

    Attributes:
        one_pass: The pass over the data.
    """

    one_pass: Pass

    @property
    def iterator(self) -> Nest:
        """The pass' TensorFlow iterator, plain or distributed, or one of Python's."""
        return self.one_pass.iterator


@dataclass(frozen=True)
class ChunkResult:
    """The result of running a chunk.

    Attributes:
        steps: The number of steps that ran: fewer than the chunk has where the data ended.
        logs: The logs at the end of each part of an epoch: one but for a chunk of several epochs. Of a prediction, the
            outputs.
        waited: Seconds that the steps waited for data.
    """

    steps: int
    logs: tuple[Nest, ...] = field(repr=False)
    waited: float = 0.0

    def last(self, chunk: Chunk) -> int:
        """Return the number of the last step, as callbacks are given it: that of all steps that were asked for."""
        return chunk.first + (chunk.asked or self.steps) - 1


class ChunkSizer:
    """The number of steps a chunk has: as many as asked for, or as many as take about `CHUNK_SECONDS`.

    Args:
        asked: Steps a chunk that the user or a callback asks for; None for as many as is fast.
    """

    def __init__(self, asked: int | None):
        self.asked, self.size, self.calls = asked, asked or 1, 0
        self.most: Callable[[], int | None] = lambda: None  # that the next chunk may have, as callbacks need it

    def call(self, done: int) -> int | None:
        """Return how many of the asked steps the next chunk has, after so many of an epoch; None where none are asked.

        After a chunk that `most` has cut short, the rest follows: calls end where they would have without it, too.
        """
        left, most = self.asked and self.asked - done % self.asked, self.most()
        return left if left is None or most is None else min(left, most)

    def bounded(self, steps: int) -> int:
        """Return a number of steps, or less where callbacks need it."""
        most = self.most()
        return steps if most is None else min(steps, most)

    def measure(self, steps: int, seconds: float, most: int) -> None:
        """Adapt the size to the time that a chunk has taken.

        The first call is left out, because it compiled; so are chunks of much fewer steps than the size or, when that
        is less, than the most that a chunk can have.
        """
        self.calls += 1
        if self.asked is None and self.calls > 1 and 2 * steps >= min(self.size, most):
            self.size = max(1, int(min(8 * steps, CHUNK_SECONDS * steps / seconds)))
