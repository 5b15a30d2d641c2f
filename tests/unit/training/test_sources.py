"""Sources: the chunks of an epoch, by what has run of the chunks before."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from kopt import keras_internals as internals
from kopt.training.feed import placement
from kopt.training.feed.chunks import Arrays, Chunk, ChunkResult, ChunkSizer
from kopt.training.feed.residents import ResidentSource
from kopt.training.feed.sources import Source
from kopt.training.feed.streams import StreamSource

DATA = tf.reshape(tf.range(10.0), (10, 1))


def resident(*, steps_per_epoch: int | None = None, chunk_steps: int | None = None, epochs: int = 1) -> ResidentSource:
    arrays = Arrays((DATA, DATA, None), 2, False, 0)
    return ResidentSource(arrays, steps_per_epoch, chunk_steps, epochs=epochs, epochs_per_chunk=epochs, room=4)


def stream(*, chunk_steps: int | None = None, steps_per_epoch: int | None = None) -> StreamSource:
    data = tf.data.Dataset.from_tensor_slices((DATA, DATA)).batch(2).filter(lambda *_: True)
    adapter = internals.data_adapter(data, None, None, shuffle=False)
    return StreamSource(adapter.get_tf_dataset(), adapter, None, steps_per_epoch, chunk_steps)


def run(source: Source, number: int, *, have: int | None = None) -> list[tuple[int, int, int, bool]]:
    """Go through an epoch, whose data have so many steps; return (first, steps, steps run, fresh) of each chunk."""
    found = []
    for chunk in source.epoch(number):
        left = chunk.steps if have is None else have - sum(ran for _, _, ran, _ in found)
        result = ChunkResult(min(chunk.steps, left), ())
        found.append((chunk.first, chunk.steps, result.steps, chunk.fresh))
        source.advance(chunk, result)
    return found


def test_nothing_writes_into_a_chunk_or_a_result() -> None:
    source = resident()
    chunk, result = next(source.epoch(0)), ChunkResult(1, ({},))
    assert isinstance(chunk, Chunk)
    for one in (chunk, result):
        for field in dataclasses.fields(one):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(one, field.name, None)


def test_chunks_hold_what_is_asked_for_or_what_the_sizer_allows() -> None:
    assert run(resident(chunk_steps=2), 0) == [(0, 2, 2, True), (2, 2, 2, False), (4, 1, 1, False)]
    source = resident()
    source.sizer.size = 4
    assert run(source, 0) == [(0, 4, 4, True), (4, 1, 1, False)]


def test_an_epoch_that_is_cut_goes_on_in_the_data_and_in_their_order() -> None:
    source = resident(steps_per_epoch=3)
    source.sizer.size = 8
    assert run(source, 0) == [(0, 3, 3, True)]
    with pytest.warns(UserWarning, match="ran out of data"):
        assert run(source, 1) == [(0, 2, 2, True)]
    assert source.passes == 1 and not source.running
    assert run(source, 2) == [(0, 3, 3, True)] and source.passes == 2


def test_data_of_unknown_size_end_where_fewer_steps_ran() -> None:
    source = stream()
    source.sizer.size = 4
    source.reset()
    assert source.num_batches is None
    assert run(source, 0, have=5) == [(0, 4, 4, True), (4, 4, 1, False)]
    assert source.num_batches == 5


def test_the_next_iterator_is_made_when_the_data_have_ended_and_not_before(monkeypatch) -> None:
    source = resident(chunk_steps=5)
    ended: list[int] = []
    monkeypatch.setattr(source, "ended", lambda: ended.append(source.seen))
    for chunk in source.epoch(0):
        assert not ended
        source.advance(chunk, ChunkResult(chunk.steps, ()))
        assert ended == [5]


def test_an_epoch_that_is_left_is_not_closed(monkeypatch) -> None:
    """As in fit, where training is stopped in the middle of an epoch."""
    source, closed = resident(), []
    monkeypatch.setattr(source, "close", lambda: closed.append(True))
    for _ in source.epoch(0):
        break
    assert not closed
    run(resident(), 0)


def test_several_whole_epochs_are_one_chunk_where_there_is_time_for_two() -> None:
    source = resident(epochs=4)
    assert source.whole_epochs(1, 4) is None
    source.sizer.size = 10
    chunk = source.whole_epochs(1, 4)
    assert chunk is not None and chunk.steps == 10 and chunk.parts == ((0, 0, 5), (1, 0, 5))
    assert np.shape(chunk.orders) == (4, 10) and chunk.fresh
    assert source.ordered == range(1, 5) and source.whole_epochs(3, 4) is None


def test_a_chunk_of_several_epochs_has_no_more_than_there_are_orders() -> None:
    source = resident(epochs=9)  # with room for four
    source.sizer.size = 1000
    chunk = source.whole_epochs(0, 9)
    assert chunk is not None and [row for row, *_ in chunk.parts] == [0, 1, 2, 3]
    assert source.whole_epochs(3, 9) is None  # one order is left: that epoch is a chunk of its own
    chunk = source.whole_epochs(4, 9)
    assert chunk is not None and len(chunk.parts) == 4 and source.ordered == range(4, 8)


def test_the_sizer_leaves_out_the_call_that_compiled_and_short_chunks() -> None:
    sizer = ChunkSizer(None)
    sizer.measure(1, 9.0, 100)
    assert sizer.size == 1
    sizer.measure(1, 0.001, 100)
    assert sizer.size == 8  # at most eight times as many
    sizer.measure(3, 0.001, 100)
    assert sizer.size == 8
    sizer.measure(8, 0.1, 100)
    assert sizer.size == 16  # of 0.2 s
    asked = ChunkSizer(3)
    asked.measure(3, 0.001, 100)
    asked.measure(3, 0.001, 100)
    assert asked.size == 3


@pytest.mark.parametrize("arrays", [False, True])
def test_calls_that_callbacks_cut_short_are_found_again(arrays: bool, network, points) -> None:
    """Three steps are asked for, and an end after the fifth one."""

    def source():
        rows = points if arrays else (tf.data.Dataset.from_tensor_slices(points).map(lambda x, y: (x, y)).batch(10),)
        return placement.place(network(), placement.DataSpec(*rows, batch_size=10 if arrays else None, chunk_steps=3))

    whole, done = source(), [0]
    whole.sizer.most = lambda: 5 - done[0] if done[0] < 5 else None
    firsts, positions = [], []
    for chunk in whole.epoch(0):
        firsts.append((chunk.first, chunk.steps))
        whole.advance(chunk, ChunkResult(chunk.steps, ()))
        done[0] = whole.done
        positions.append(whole.position)
    assert firsts == [(0, 3), (3, 2), (5, 1), (6, 3), (9, 1)]
    again = source()
    again.go_to(positions[1], 0, amid=True)
    left = []
    for chunk in again.epoch(0):
        left.append((chunk.first, chunk.steps))
        again.advance(chunk, ChunkResult(chunk.steps, ()))
    assert left == firsts[2:]
