"""Slices: a dataset of slices of tensors in memory is resident, in the order of the dataset's own shuffle."""

import numpy as np
import tensorflow as tf

from kopt import keras_internals as internals
from kopt.training.feed.chunks import LARGEST_BATCH, Arrays, ResidentChunk
from kopt.training.feed.class_weights import Weigh
from kopt.training.feed.iterators import Iterators
from kopt.training.feed.position import Position
from kopt.training.feed.sources import ResidentSource, Source
from kopt.values.types import Dataset, Phase


def arrays_of_slices(data: Dataset, weigh: Weigh | None, phase: Phase) -> Arrays | None:
    """Return the tensors of `from_tensor_slices(tensors).shuffle(buffer).batch(size)`; None for other data.

    Args:
        data: The dataset.
        weigh: Adds the weights of classes, or None.
        phase: What the data are for: predictions, whose resident arrays are in no order, of unshuffled data only.
    """
    slices = internals.slices_of(data)
    if slices is None or slices.batch_size > LARGEST_BATCH or phase == "predict" and slices.numbers is not None:
        return None
    leaves = tf.nest.flatten(slices.tensors)
    if any(leaf.dtype in (tf.string, tf.variant) for leaf in leaves) or not len(leaves[0]):
        return None
    return Arrays(
        weigh(slices.tensors) if weigh else slices.tensors,
        slices.batch_size,
        shuffle=False,
        seed=0,
        whole_only=slices.whole_only,
        numbers=slices.numbers,
    )


class ShuffledSource(ResidentSource):
    """Slices of tensors, in the orders that the dataset's own iterators have.

    An order is drawn when its epoch begins, and not ahead: it moves the state of the user's dataset.

    Args:
        arrays: The tensors, with the numbers of the examples.
        iterators: The iterators of the dataset.
        steps_per_epoch: As for ResidentSource.
        chunk_steps: As for ResidentSource.
        epochs: As for ResidentSource.
        epochs_per_chunk: As for ResidentSource.
        room: As for ResidentSource.
    """

    def __init__(
        self,
        arrays: Arrays,
        iterators: Iterators,
        steps_per_epoch: int | None,
        chunk_steps: int | None,
        *,
        epochs: int = 1,
        epochs_per_chunk: int = 1,
        room: int = 1,
    ):
        how = {"epochs": epochs, "epochs_per_chunk": epochs_per_chunk, "room": room}
        super().__init__(arrays, steps_per_epoch, chunk_steps, **how)
        self.iterators, self.drawing = iterators, False  # whether a pass that was drawn has not ended

    def reset(self) -> None:
        super().reset()
        self.iterators.reset()
        self.drawing = False

    def put_orders(self, number: int, needed: int) -> None:
        self.ordered = range(0)
        super().put_orders(number, needed)

    def drawn(self, needed: int) -> int:
        return needed

    def order(self, epoch: int) -> np.ndarray:
        if self.drawing:
            self.ended()
        self.drawing = True
        iterator = self.iterators.take(goes_on=self.steps_per_epoch is not None)
        return internals.order_of(iterator, self.arrays.numbers)

    def replay(self, position: Position, first: int, amid: bool) -> None:
        Source.replay(self, position, first, amid)

    def revisit(self, times: int) -> None:
        Source.revisit(self, times)

    def whole_epochs(self, number: int, last: int) -> ResidentChunk | None:
        chunk = super().whole_epochs(number, last)
        if chunk is not None:
            self.ended()
        return chunk

    def ended(self) -> None:
        self.iterators.ended()
        self.drawing = False
