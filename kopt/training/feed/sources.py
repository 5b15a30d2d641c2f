"""Sources: an epoch's data as chunks of steps, from arrays on the device or from a dataset."""

import abc
import dataclasses
import warnings
from collections.abc import Iterator, Mapping

import numpy as np

from kopt.training.feed.chunks import Arrays, Chunk, ChunkResult, ChunkSizer, ResidentChunk
from kopt.training.feed.position import Position
from kopt.values.checks import require
from kopt.values.moved_names import moved_names
from kopt.values.types import Nest

__getattr__ = moved_names(
    __name__,
    {
        "Resident": "kopt.training.feed.residents.ResidentSource",
        "ResidentSource": "kopt.training.feed.residents.ResidentSource",
        "Stream": "kopt.training.feed.streams.StreamSource",
        "StreamSource": "kopt.training.feed.streams.StreamSource",
    },
)

LARGEST_CHUNK = 2**31 - 1  # steps


class Source(abc.ABC):
    """An epoch's data as chunks, with fit's meaning of `steps_per_epoch`: the next epoch goes on where one was cut.

    `epoch` yields a chunk, the caller has it run and passes the result to `advance`, then asks for the next chunk.

    Args:
        num_batches: The number of batches; None when only their end will show it.
        steps_per_epoch: Steps after which an epoch is cut; None for the end of the data.
        chunk_steps: Steps a chunk, where a callback or the user asks for a number; None for as many as is fast.
        epochs: The number of epochs that are planned.

    Attributes:
        known: The number of batches, where it is known beforehand.
        given: The number of batches that it was made with.
        is_resident: Whether the arrays lie on the device.
        passes_are_alike: Whether a pass gives the same whether those before it, which have begun, were read or not.
        arrays: The arrays whose batches are in an order of kopt's or of the dataset's own; None for other data.
        sizer: The number of steps of the next chunk.
        engine: Where its data lie, and why, for the log.
    """

    arrays: Arrays | None = None
    engine = ""
    is_resident = False
    passes_are_alike = False

    def __init__(self, num_batches: int | None, steps_per_epoch: int | None, chunk_steps: int | None, epochs: int = 1):
        self.known, self.steps_per_epoch, self.sizer = num_batches, steps_per_epoch, ChunkSizer(chunk_steps)
        self.given = num_batches
        self.epochs = epochs
        self.found = num_batches  # batches, as far as it is known by now
        self.begun = 0  # epochs
        self.running, self.passes, self.seen = False, 0, 0  # whether a pass over the data runs; passes; its steps
        self.done, self.exhausted = 0, False  # steps of the epoch; whether its data ended too early
        self.resumed = False  # whether the next epoch goes on where `go_to` has put it

    @property
    def num_batches(self) -> int | None:
        """Steps an epoch, as far as it is known."""
        return self.steps_per_epoch or self.found

    @property
    def examples(self) -> int | None:
        """Examples an epoch, as far as it is known."""
        return None

    @property
    def planned(self) -> int | None:
        """The steps of all epochs; of those that are left, where their length was found at an epoch's end."""
        if self.num_batches is None:
            return None
        found_late = self.known is None and self.steps_per_epoch is None
        return (self.epochs - self.begun + 1 if found_late else self.epochs) * self.num_batches

    def reset(self) -> None:
        """Begin the data anew, before the first epoch and before each evaluation."""
        self.running = False

    def epoch(self, number: int) -> Iterator[Chunk]:
        """Yield the chunks of an epoch; `advance` must be called for each before the next is asked for."""
        if self.resumed:
            self.resumed = False
        else:
            self.open()
            self.done, self.exhausted, self.begun = 0, False, self.begun + 1
        total = self.steps_per_epoch or self.known
        while not self.exhausted and (total is None or self.done < total):
            if not self.running:
                if self.steps_per_epoch and self.done:
                    break  # the data ended in the middle of an epoch
                self.start(self.passes if self.steps_per_epoch else number)
                self.running, self.seen, self.passes = True, 0, self.passes + 1
            yield self.chunk(self.next_size(total))
        self.close()
        require(self.done > 0 or self.passes > 1, "x", "must not be empty", "no batch")
        if self.steps_per_epoch and self.done < self.steps_per_epoch or self.done == 0:
            warnings.warn(
                "Your input ran out of data; interrupting training. Make sure that your dataset or generator can "
                "generate at least `steps_per_epoch * epochs` batches.",
                stacklevel=2,
            )

    def next_size(self, total: int | None) -> int:
        """Return the number of steps of the next chunk of an epoch that has so many in all."""
        steps = self.sizer.call(self.done) or self.sizer.bounded(self.sizer.size)
        # As in fit, an asked number of steps a call may go beyond steps_per_epoch.
        steps = steps if total is None or self.sizer.asked else min(steps, total - self.done)
        return steps if self.known is None else min(steps, self.known - self.seen)

    def advance(self, chunk: Chunk, result: ChunkResult) -> None:
        """Go on after a chunk that has been run."""
        self.seen, self.done = self.seen + result.steps, self.done + (chunk.asked or result.steps)
        if result.steps < chunk.steps:
            self.running, self.exhausted, self.found = False, True, self.seen
        elif self.seen == self.known:
            self.running = False
            self.ended()

    @property
    def position(self) -> Position:
        """The position in the data."""
        numbers = self.begun, self.passes, self.seen, self.done
        return Position(*numbers, self.running, self.exhausted, self.found, self.sizer.size)

    def saved_place(self) -> dict[str, np.ndarray] | None:
        """Return the place in the data as arrays, where that is quicker than to draw them again."""
        return None

    def go_to(self, position: Position, first: int, amid: bool, place: Mapping[str, np.ndarray] | None = None) -> None:
        """Go to a position that a source of the same data had, so that the next epoch begins or goes on there.

        Args:
            position: The position.
            first: The number of the first epoch.
            amid: Whether the position is in an epoch that goes on, and not between two.
            place: What `saved_place` returned at the position.
        """
        if place:
            self.jump(position, first)
            self.restore_place(place)
        else:
            self.replay(position, first, amid)
        self.resumed, self.sizer.size = amid, position.size

    def restore_place(self, place: Mapping[str, np.ndarray]) -> None:
        """Put back what `saved_place` returned."""

    def replay(self, position: Position, first: int, amid: bool) -> None:
        """Draw what was drawn up to a position, and train on nothing."""
        self.sizer.size = self.sizer.asked or LARGEST_CHUNK
        for count in range(1, position.begun + 1):
            cut = amid and count == position.begun
            if not cut and not self.steps_per_epoch and self.passes_are_alike:
                self.pass_over(first + count - 1, position.found)
                continue
            for chunk in self.epoch(first + count - 1):
                steps = min(chunk.steps, position.done - self.done) if cut else chunk.steps
                found = self.draw(chunk, steps)
                ended = position.exhausted if cut else found < steps
                self.advance(dataclasses.replace(chunk, steps=found + ended), ChunkResult(found, ()))
                if cut and self.done >= position.done:
                    self.done = position.done  # a call was cut short there
                    break

    def revisit(self, position: Position) -> None:
        """Draw all of the data as often as evaluations have done up to a position, and evaluate nothing.

        Nothing is drawn where that changes nothing: each evaluation begins the data anew.

        Args:
            position: The position after the last evaluation.
        """
        for _ in range(position.begun):
            self.reset()
            if self.passes_are_alike:
                self.sizer.size = self.sizer.asked or LARGEST_CHUNK
                self.pass_over(0, position.found)
            else:
                self.replay(Position(1, 0, 0, 0, False, False, None, 1), 0, amid=False)

    def pass_over(self, number: int, found: int | None) -> None:
        """Go through an epoch, and draw nothing.

        Args:
            number: The number of the epoch.
            found: The number of batches, where it is known.
        """
        for chunk in self.epoch(number):
            steps = chunk.steps if found is None else min(chunk.steps, found - self.seen)
            ended = steps < chunk.steps
            self.advance(dataclasses.replace(chunk, steps=steps + ended), ChunkResult(steps, ()))

    def jump(self, position: Position, first: int) -> None:
        """Go to a position in data whose order is a function of the pass: draw nothing but the order."""
        self.begun, self.passes, self.found = position.begun, position.passes, position.found
        self.done, self.running, self.exhausted = position.done, position.running, position.exhausted
        if position.running:
            self.start(self.passes - 1 if self.steps_per_epoch else first + self.begun - 1)
        self.seen = position.seen

    def draw(self, chunk: Chunk, steps: int) -> int:
        """Draw so many batches of a chunk; return how many there were."""
        return steps

    def whole_epochs(self, number: int, last: int) -> ResidentChunk | None:
        """Return a chunk of several whole epochs, from one up to before another; None when one cannot hold two."""
        return None

    # What a kind of source does

    @property
    @abc.abstractmethod
    def batch_spec(self) -> Nest:
        """The spec of a batch of the data, of any size where a short one is left."""

    def open(self) -> None:
        """Begin an epoch."""

    @abc.abstractmethod
    def start(self, number: int) -> None:
        """Begin a pass over the data: that of an epoch's number or, where epochs cut the data, of its own number."""

    @abc.abstractmethod
    def chunk(self, steps: int) -> Chunk:
        """Return the next steps."""

    def ended(self) -> None:
        """Prepare the next pass, after one that has come to the end of the data."""

    def close(self) -> None:
        """End an epoch."""
