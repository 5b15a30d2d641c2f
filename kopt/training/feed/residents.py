"""The source of arrays that lie on the device."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from kopt.training.feed.chunks import Arrays, ResidentChunk
from kopt.training.feed.position import Position
from kopt.training.feed.sources import Source
from kopt.values.types import Nest, Tensor

ORDERS = 2**20  # examples in the orders that lie on the device for epochs to come
MOST_ORDERS = 64
ORDER = "iterator.order"  # its name in a checkpoint
FEW_ORDERS = 8  # that are drawn at a time where each epoch is a chunk of its own


class ResidentSource(Source):
    """Arrays on the device.

    Args:
        arrays: The data.
        steps_per_epoch: Steps after which an epoch is cut; None for the end of the data.
        chunk_steps: Steps a chunk, where a number is asked for.
        epochs: The number of epochs that are planned.
        epochs_per_chunk: The most epochs that a chunk may hold: 1 where something has to happen between them.
        room: The number of epochs whose orders lie on the device at a time; no other number of epochs changes it.
    """

    is_resident = True

    def __init__(
        self,
        arrays: Arrays,
        steps_per_epoch: int | None,
        chunk_steps: int | None,
        *,
        epochs: int = 1,
        epochs_per_chunk: int = 1,
        room: int = 1,
    ):
        super().__init__(arrays.batches, steps_per_epoch, chunk_steps, epochs)
        whole = steps_per_epoch is None and chunk_steps is None
        self.arrays: Arrays = arrays
        self.room, self.epochs_per_chunk = room, epochs_per_chunk if whole else 1
        self.orders: Tensor = None
        self.ordered, self.row = range(0), 0  # the epochs whose orders are on the device; the row of the pass

    @property
    def batch_spec(self) -> Nest:
        return self.arrays.batch_spec(self.arrays.batch_size if self.arrays.even else None)

    @property
    def examples(self) -> int | None:
        return None if self.steps_per_epoch else self.arrays.examples

    def start(self, number: int) -> None:
        """Put the orders of this epoch, and of those that follow, on the device."""
        if number not in self.ordered:
            most = min(self.room, self.epochs, self.room if self.epochs_per_chunk > 1 else FEW_ORDERS)
            self.ordered = range(number, number + max(1, most))
            orders = np.zeros([self.room, self.arrays.examples], "int32")
            for row, epoch in enumerate(self.ordered):
                orders[row] = self.arrays.order(epoch)
            self.orders = tf.constant(orders)
        self.row = number - self.ordered.start

    def saved_place(self) -> dict[str, np.ndarray] | None:
        """Return the order of the pass, where no seed says it."""
        drawn = self.arrays.numbers is not None and self.running
        return {ORDER: self.orders[self.row].numpy()} if drawn else None

    def restore_place(self, place: Mapping[str, np.ndarray]) -> None:
        orders = np.zeros([self.room, self.arrays.examples], "int32")
        orders[0] = place[ORDER]
        self.orders, self.ordered, self.row = tf.constant(orders), range(self.ordered.start, self.ordered.start + 1), 0

    def replay(self, position: Position, first: int, amid: bool) -> None:
        self.jump(position, first)

    def revisit(self, position: Position) -> None:
        self.begun += position.begun

    def chunk(self, steps: int) -> ResidentChunk:
        return ResidentChunk(
            first=self.done,
            steps=steps,
            fresh=self.done == 0,
            asked=self.sizer.call(self.done),
            planned=self.planned,
            arrays=self.arrays,
            orders=self.orders,
            parts=((self.row, self.seen, steps),),
        )

    def whole_epochs(self, number: int, last: int) -> ResidentChunk | None:
        batches = self.arrays.batches
        count = min(self.sizer.bounded(self.sizer.size) // batches, last - number, self.epochs_per_chunk, self.room)
        if count < 2:
            return None
        self.start(number)
        count = min(count, self.ordered.stop - number)
        if count < 2:
            return None
        return ResidentChunk(
            first=0,
            steps=count * batches,
            fresh=True,
            planned=self.planned,
            arrays=self.arrays,
            orders=self.orders,
            parts=tuple((self.row + place, 0, batches) for place in range(count)),
        )


def room_of(arrays: Arrays) -> int:
    """Return the number of epochs whose orders lie on the device at a time in training."""
    return max(1, min(ORDERS // arrays.examples, MOST_ORDERS))
