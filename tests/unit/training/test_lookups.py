"""Indices out of range: in a program that XLA compiles they raise, as they do in Keras' fit on a CPU."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from kopt import callbacks
from kopt.training import Loop
from kopt.training.execute.lookups import LOOKUPS, Lookups

INVALID = tf.errors.InvalidArgumentError
ENGINES = ("resident", "stream")


def classifier(**compiled):
    keras.utils.set_random_seed(0)
    body = [layers.Embedding(10, 2), layers.Flatten(), layers.Dense(4)]
    model = keras.Sequential([keras.Input((3,), dtype="int32"), *body])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), **compiled)
    return model


# Labels of resident data are looked at before any work.
@pytest.mark.parametrize(("engine", "kind"), [("resident", "index"), ("stream", "index"), ("stream", "label")])
def test_an_index_out_of_range_raises_as_in_keras(engine: str, kind: str, xla_pays, caplog) -> None:
    caplog.set_level(logging.DEBUG, "kopt")
    draw = np.random.default_rng(0)
    x, y = draw.integers(0, 10, (44, 3)), draw.integers(0, 4, 44)
    good = x.copy(), y.copy()
    if kind == "index":
        x[21, 1] = 25
    else:
        y[21] = 7
    stock, model = classifier(), classifier()
    with pytest.raises(INVALID):
        stock.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    batches = lambda *arrays: tf.data.Dataset.from_tensor_slices(arrays).batch(8)
    resident = engine == "resident"
    given = lambda *arrays: {"x": arrays[0], "y": arrays[1], "batch_size": 8} if resident else {"x": batches(*arrays)}
    loop, bound = Loop(model, engine=engine), r"must be in \[0, 10\), got 25" if kind == "index" else r"\[0, 4\), got 7"
    with pytest.raises(INVALID, match=bound):
        loop.fit(**given(x, y), shuffle=False, verbose=0, epochs=3)
    assert "jit: True" in caplog.text and int(model.optimizer.iterations) == 2
    for ours, theirs in zip(model.get_weights(), stock.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    # A dataset of slices is evaluated as arrays are.
    refused = pytest.raises(ValueError, match="y must have labels from 0 to 3, got 7")
    with refused if kind == "label" else pytest.raises(INVALID, match=bound):
        loop.evaluate(**given(x, y), verbose=0)
    if kind == "index":
        with pytest.raises(INVALID, match=bound):
            loop.predict(x, batch_size=8) if resident else loop.predict(tf.data.Dataset.from_tensor_slices(x).batch(8))
    loop.fit(**given(*good), shuffle=False, verbose=0)
    assert int(model.optimizer.iterations) == 8


TABLE = tf.reshape(tf.range(12.0), [6, 2])
VARIABLE = tf.Variable(TABLE)
PAIRS = tf.ones([3, 2])


def scattered(kind: str):
    write = getattr(tf.raw_ops, f"ResourceScatter{kind}")

    def run(i):
        with tf.control_dependencies([write(resource=VARIABLE.handle, indices=i, updates=PAIRS)]):
            return VARIABLE.read_value()

    return run


OPERATIONS = {
    "GatherV2": lambda i: tf.gather(TABLE, i),
    "ResourceGather": lambda i: tf.raw_ops.ResourceGather(resource=VARIABLE.handle, indices=i, dtype=tf.float32),
    "GatherNd": lambda i: tf.gather_nd(TABLE, tf.stack([i, i - i], 1)),
    "ScatterNd": lambda i: tf.scatter_nd(i[:, tf.newaxis], PAIRS, [6, 2]),
    "SparseSoftmaxCrossEntropyWithLogits": lambda i: tf.nn.sparse_softmax_cross_entropy_with_logits(i, tf.ones([3, 6])),
    **{
        f"TensorScatter{kind}": lambda i, kind=kind: getattr(tf.raw_ops, f"TensorScatter{kind}")(
            tensor=TABLE, indices=i[:, tf.newaxis], updates=PAIRS
        )
        for kind in ("Add", "Sub", "Max", "Min", "Update")
    },
    **{
        f"UnsortedSegment{kind}": lambda i, kind=kind: getattr(tf.raw_ops, f"UnsortedSegment{kind}")(
            data=PAIRS, segment_ids=i, num_segments=6
        )
        for kind in ("Sum", "Prod", "Max", "Min")
    },
    **{
        f"Segment{kind}V2": lambda i, kind=kind: getattr(tf.raw_ops, f"Segment{kind}V2")(
            data=PAIRS, segment_ids=i, num_segments=6
        )
        for kind in ("Sum", "Prod", "Max", "Min")
    },
    **{f"ResourceScatter{kind}": scattered(kind) for kind in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Update")},
}


@pytest.mark.parametrize("name", LOOKUPS)
def test_each_lookup_is_watched_in_xla_where_tensorflow_raises(name: str) -> None:
    lookups = Lookups()

    def watched(indices):
        with lookups.watch():
            return OPERATIONS[name](indices)

    compiled = tf.function(watched, jit_compile=True)
    traced = compiled.get_concrete_function(tf.TensorSpec([3], tf.int32))
    assert name in {op.type for op in traced.graph.get_operations()}
    for good in ([0, 1, 5], [0, 0, 0]):
        compiled(tf.constant(good))
        lookups.raise_if_found()
    compiled(tf.constant([0, 1, 6]))
    with pytest.raises(INVALID, match=r"must be in \[0, 6\), got 6"):
        lookups.raise_if_found()
    lookups.raise_if_found()
    if not name.startswith("Segment"):  # has no kernel outside XLA
        with pytest.raises(INVALID):
            tf.function(OPERATIONS[name])(tf.constant([0, 1, 6]))
    free = name.startswith("UnsortedSegment")  # leaves negative ones out, there too
    compiled(tf.constant([-1, 0, 1]))
    if free:
        lookups.raise_if_found()
        return
    with pytest.raises(INVALID, match="got -1"):
        lookups.raise_if_found()


class Table(callbacks.Callback):
    """Write the number of each update into a table, at a place that a counter says."""

    any_chunk = True

    def build(self, model) -> None:
        self.add_array("count", (2,), dtype="int64")
        self.add_array("table", (8,))

    def on_update(self, update) -> None:
        count, table = (tf.convert_to_tensor(self.arrays[name]) for name in ("count", "table"))
        written = tf.tensor_scatter_nd_update(table, [[count[0]]], [tf.cast(count[0], "float32") + 1])
        self.arrays["table"].assign(written)
        self.arrays["count"].assign(count + tf.constant([1, 2], "int64"))


@pytest.mark.parametrize("jit", [True, False])
def test_a_hook_that_looks_up_by_its_own_counter_keeps_its_arrays(jit: bool, network, points) -> None:
    hook = Table()
    Loop(network("adam"), jit=jit).fit(*points, batch_size=20, verbose=0, callbacks=[hook])
    assert hook.read_array("count").tolist() == [5, 10]
    assert hook.read_array("table").tolist() == [1, 2, 3, 4, 5, 0, 0, 0]
