"""Stretches: the steps of one program call, and how many those are."""

import functools
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from kopt.training.feed.order import order

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
    def whole_batch(self) -> Any:
        """What a whole batch looks like."""
        return self.batch_spec(min(self.batch_size, self.examples))

    @functools.cached_property
    def batch_key(self) -> str:
        """The key of a kind of batch."""
        return str(self.whole_batch)

    def key(self, xla: bool, room: int) -> tuple[Any, ...]:
        """Return the key of a program over arrays: their length under XLA, else whether a short batch is left."""
        if xla:
            return self.batch_size, self.batch_key, self.examples, room
        return self.batch_size, self.batch_key, self.examples % self.batch_size == 0, room > 1

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
    whoever runs it sets `ran`, fewer than asked where the data ended, and `waited`, the seconds that data took.
    """

    first: int
    steps: int
    fresh: bool
    shown: int | None
    ran: int = 0
    waited: float = 0.0

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
