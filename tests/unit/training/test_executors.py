"""Executors: which one runs a chunk, a user's own, and what is in the keys of traces and programs."""

import gc
import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt.callbacks import EMA, Average
from kopt.training import Loop
from kopt.training.execute.base import Executor
from kopt.training.execute.program import EXECUTORS
from kopt.training.execute.resident import ResidentExecutor
from kopt.training.feed.chunks import Arrays, Chunk, ChunkResult, ResidentChunk
from kopt.training.feed.placement import DataSpec


class InPython(Executor):
    """Runs each step over arrays as a call from Python."""

    def takes(self, chunk):
        return isinstance(chunk, ResidentChunk)

    def run(self, chunk):
        ((row, first, steps),) = chunk.parts
        arrays, last = chunk.arrays, None
        for number in range(first, first + steps):
            rows = chunk.orders[row][number * arrays.batch_size : (number + 1) * arrays.batch_size]
            gather = lambda leaf, rows=rows: None if leaf is None else tf.gather(leaf, rows)
            last = self.traced.on_batch(tf.nest.map_structure(gather, arrays.data))
        return ChunkResult(steps, (tf.nest.map_structure(lambda log: log.numpy(), self.traced.results(last)),))


class Recorded(ResidentExecutor):
    """Runs chunks as kopt does, and records how many epochs each had."""

    parts: list[int] = []

    def run(self, chunk):
        self.parts.append(len(chunk.parts))
        return super().run(chunk)


class Calls(keras.callbacks.Callback):
    """Records the calls of its methods."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def on_epoch_end(self, epoch, logs=None):
        self.calls.append(("epoch", epoch, sorted(logs)))

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append(("batch", batch, sorted(logs)))


def test_a_users_executor_trains_as_kopts_own(network, points) -> None:
    found = []
    for executors in ((InPython,), ()):
        model, calls = network("adam"), Calls()
        loop = Loop(model, jit=False, seed=1, executors=executors)
        how = {"batch_size": 30, "epochs": 4, "validation_split": 0.2, "verbose": 0}
        history = loop.fit(*points, **how, callbacks=[calls]).history
        found.append((history, calls.calls, model.get_weights()))
    (ours, our_calls, our_weights), (theirs, their_calls, their_weights) = found
    assert our_calls == their_calls and list(ours) == list(theirs)
    for name, values in ours.items():
        np.testing.assert_allclose(values, theirs[name], rtol=1e-5, err_msg=name)
    for one, other in zip(our_weights, their_weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_an_executor_gets_several_epochs_only_where_it_says_that_it_can_run_them(network, points) -> None:
    how = {"batch_size": "full", "epochs": 40, "verbose": 0}
    Recorded.parts = []
    history = Loop(network(), executors=(Recorded,)).fit(*points, **how).history
    assert sum(Recorded.parts) == 40 and max(Recorded.parts) > 1
    alone = Loop(network(), executors=(InPython,)).fit(*points, **how).history  # it would fail on two parts
    assert len(alone["loss"]) == len(history["loss"]) == 40


def test_programs_are_kept_between_loops_of_the_same_executors(network, points) -> None:
    model, functions = network(), []
    for executors in ((), [], (Recorded,), (Recorded,), ()):
        Loop(model, executors=executors).fit(*points, verbose=0)
        functions.append(model.train_function)
    assert [one is other for one, other in zip(functions, functions[1:])] == [True, False, True, False]
    assert all(len(one.traced.programs) == 1 for one in functions)


@pytest.mark.parametrize("wrong", [object, [object], [InPython, 3], 5])
def test_what_is_no_executor_is_refused(wrong, network) -> None:
    with pytest.raises(ValueError, match="^executors must be a list of subclasses of Executor, got"):
        Loop(network(), executors=wrong)


def test_a_chunk_that_no_executor_takes_is_refused(network) -> None:
    model = network()
    Loop(model).begin()
    with pytest.raises(ValueError, match="^executors must have one that takes the chunk, got 'Chunk'"):
        model.train_function.run(Chunk(first=0, steps=1, fresh=True))


def test_an_executor_that_returns_no_result_is_refused(network, points) -> None:
    class Forgets(Executor):
        def takes(self, chunk):
            return True

        def run(self, chunk):
            self.traced.on_batch(chunk.arrays.data)

    with pytest.raises(ValueError, match=r"^Forgets\.run must return a ChunkResult, got None"):
        Loop(network("sgd"), executors=[Forgets], jit=False).fit(*points, verbose=0)


def test_each_kind_of_chunk_has_one_executor_of_kopts_own(network, points) -> None:
    data, names = tf.data.Dataset.from_tensor_slices(points).batch(25).map(lambda *pair: pair), {}
    for eager in (False, True):
        for given in (points, (data,)):
            model = network(run_eagerly=eager)
            loop = Loop(model)
            loop.begin()
            source = loop.source("train", DataSpec(*given))
            source.reset()
            chunk = next(source.epoch(0))
            taking = [one for one in model.train_function.executors if one.takes(chunk)]
            names[eager, len(given)] = type(taking[0]).__name__
    eager = {(True, 2): "EagerExecutor", (True, 1): "EagerExecutor"}
    assert names == {(False, 2): "ResidentExecutor", (False, 1): "StreamExecutor"} | eager
    assert len(EXECUTORS) == 4


def test_the_trace_that_decides_is_the_one_that_the_program_has(network, points, caplog) -> None:
    caplog.set_level(logging.WARNING, "kopt")
    x, model = points[0].copy(), network("adam")
    loop = Loop(model, jit=True, seed=1)
    loop.fit(x, points[1], batch_size=25, verbose=0)
    traces = model.train_function.traced.traces
    assert [(key.checked, key.xla) for key in traces] == [(False, True)]
    x[3] = np.inf
    loop.fit(x, points[1], batch_size=25, verbose=0)  # by a trace with checks
    assert [(key.checked, key.xla) for key in traces] == [(False, True), (True, True)]
    assert "1 step was skipped" in caplog.text
    loop.fit(x, points[1], batch_size=25, verbose=0)
    assert len(traces) == 2


def test_beside_hooks_and_lookups_one_trace_with_checks_decides_and_trains(points) -> None:
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(3)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    labels = np.arange(len(points[0])) % 3
    Loop(model, jit=True).fit(points[0], labels, batch_size=25, verbose=0, callbacks=[Average(EMA(0.9))])
    assert [(key.checked, key.xla) for key in model.train_function.traced.traces] == [(True, True)]


@pytest.mark.parametrize("jit", [False, True])
def test_programs_that_are_kept_do_not_keep_the_data(jit: bool, network, points) -> None:
    model = network()
    Loop(model, jit=jit).fit(*points, batch_size=30, validation_split=0.3, verbose=0)
    Loop(model, jit=jit).predict(points[0])
    gc.collect()
    assert model.train_function.traced.programs and model.predict_function.traced.programs
    assert not [one for one in gc.get_objects() if type(one) is Arrays]


def test_the_key_of_a_program_has_what_is_watched(network, points) -> None:
    model = network()
    loop = Loop(model, jit=False)
    loop.fit(*points, verbose=0)
    (key,) = model.train_function.traced.programs
    assert key.executor == "resident" and not key.xla and not key.hooks
    assert [name for name, _ in key.watched] == ["skipped steps"]
    loop.evaluate(*points, verbose=0)
    (key,) = model.test_function.traced.programs
    assert key.watched == ()
