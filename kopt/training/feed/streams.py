"""The source of a dataset, whose batches are read inside the graph."""

import itertools
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from kopt import keras_internals as internals
from kopt.training.feed.batches import without_missing
from kopt.training.feed.chunks import Arrays, Chunk, StreamChunk
from kopt.training.feed.iterators import Iterators, Pass
from kopt.training.feed.position import Position
from kopt.training.feed.saved_iterators import restore, saved
from kopt.training.feed.sources import Source
from kopt.values.types import DataAdapter, Dataset, Nest, Variable


class StreamSource(Source):
    """A dataset, read inside the graph.

    Args:
        dataset: A tf.data.Dataset of global batches, or a distributed one of each replica's.
        adapter: Keras' adapter, whose hooks are called at the beginning and the end of an epoch.
        num_batches: The number of batches; None when unknown before their end.
        steps_per_epoch: Steps after which an epoch is cut; None for the end of the data.
        chunk_steps: Steps a chunk, where a number is asked for.
        epochs: The number of epochs that are planned.
        looked_at: Whether Keras would take a batch of an iterator of its own before it begins.
        ordered: The arrays and the variable that holds their order, where kopt decides it.
    """

    def __init__(
        self,
        dataset: Dataset,
        adapter: DataAdapter,
        num_batches: int | None,
        steps_per_epoch: int | None,
        chunk_steps: int | None,
        *,
        epochs: int = 1,
        looked_at: bool = False,
        ordered: tuple[Arrays, Variable] | None = None,
    ):
        super().__init__(num_batches, steps_per_epoch, chunk_steps, epochs)
        self.adapter, self.ordered = adapter, ordered
        as_given = internals.is_of_dataset(adapter) and isinstance(dataset, tf.data.Dataset)
        self.iterators = Iterators(dataset, as_given=as_given, looked_at=looked_at)
        self.changing = internals.is_of_py_dataset(adapter)
        self.passes_are_alike = as_given and internals.passes_are_alike(dataset)
        self.current = Pass(None, beside=False)
        self.arrays = ordered[0] if ordered else None

    @property
    def batch_spec(self) -> Nest:
        return without_missing(self.iterators.dataset.element_spec)

    @property
    def examples(self) -> int | None:
        return self.ordered[0].examples if self.ordered and not self.steps_per_epoch else None

    def reset(self) -> None:
        super().reset()
        self.iterators.reset()
        self.adapter.on_epoch_end()  # as fit does before it begins: data that change there are those of fit

    def open(self) -> None:
        self.adapter.on_epoch_begin()
        if self.changing and not self.running:
            self.known = self.found = self.adapter.num_batches

    def start(self, number: int) -> None:
        if self.ordered:
            arrays, variable = self.ordered
            variable.assign(arrays.order(number))
        last, self.current = self.current, self.iterators.take(goes_on=self.steps_per_epoch is not None)
        last.end()

    def chunk(self, steps: int) -> StreamChunk:
        asked, planned = self.sizer.call(self.done), self.planned
        return StreamChunk(
            first=self.done, steps=steps, fresh=self.done == 0, asked=asked, planned=planned, one_pass=self.current
        )

    def saved_place(self) -> dict[str, np.ndarray] | None:
        # One iterator for all epochs: its state is the whole place, and reading again would take as long as the run.
        one = self.steps_per_epoch is not None and self.passes == 1 and self.running
        return saved(self.current.iterator) if one and self.iterators.as_given else None

    def restore_place(self, place: Mapping[str, np.ndarray]) -> None:
        restore(self.current.iterator, place)

    def draw(self, chunk: Chunk, steps: int) -> int:
        return draw(self.current.iterator, steps)

    def replay(self, position: Position, first: int, amid: bool) -> None:
        if self.ordered is None:
            super().replay(position, first, amid)
        else:
            self.jump(position, first)
            if position.running:  # else there is no iterator yet
                draw(self.current.iterator, position.seen)

    def ended(self) -> None:
        self.iterators.ended()
        if self.current.beside:
            self.current.end()

    def close(self) -> None:
        self.adapter.on_epoch_end()


def draw(iterator: Nest, steps: int) -> int:
    """Draw so many batches of an iterator; return how many there were."""
    return sum(1 for _ in itertools.islice(iterator, steps))
