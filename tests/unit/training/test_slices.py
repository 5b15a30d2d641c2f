"""Datasets of slices of tensors: what is recognised, the same training as in Keras, and the orders of a shuffle."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt import keras_internals as internals
from kopt.training import Loop
from kopt.training.feed.chunks import ChunkResult
from kopt.training.feed.placement import DataSpec
from kopt.training.feed.residents import ResidentSource
from kopt.training.feed.slices import arrays_of_slices
from kopt.training.feed.streams import StreamSource

slices = tf.data.Dataset.from_tensor_slices
X = np.random.default_rng(0).normal(size=(22, 3))
Y = X.sum(axis=1)


def model_of(x) -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = {"a": keras.Input((3,), name="a"), "b": keras.Input((3,), name="b")} if isinstance(x, dict) else None
    given = inputs or keras.Input((3,))
    merged = keras.layers.Concatenate()(list(given.values())) if inputs else given
    model = keras.Model(given, keras.layers.Dense(1)(merged))
    model.compile("adam", "mse", metrics=["mae"])
    return model


@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize(
    "elements",
    [
        (X, Y),
        (X.astype("float32"), Y[:, np.newaxis].astype("float32")),
        (X, Y, np.arange(22.0)),
        ({"a": X, "b": X[::-1].copy()}, Y),
    ],
    ids=["float64", "float32", "weights", "dict"],
)
def test_training_evaluation_and_predictions_are_keras_own(elements, drop: bool) -> None:
    data = slices(elements).batch(5, drop_remainder=drop).prefetch(2)
    inputs = data.map(lambda x, *_: x)
    ours, theirs = model_of(elements[0]), model_of(elements[0])
    loop = Loop(ours, jit=False)
    assert isinstance(loop.source("train", DataSpec(data)), ResidentSource)
    expected = theirs.fit(data, epochs=3, validation_data=data, shuffle=False, verbose=0).history
    assert loop.fit(data, epochs=3, validation_data=data, shuffle=False, verbose=0).history == expected
    assert loop.evaluate(data, verbose=0) == theirs.evaluate(data, return_dict=True, verbose=0)
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    found = loop.predict(slices(elements[0]).batch(5, drop_remainder=drop))
    np.testing.assert_array_equal(found, theirs.predict(inputs, verbose=0))
    assert len(found) == (20 if drop else 22)


def test_it_trains_in_xla_without_the_examples_that_are_dropped() -> None:
    data = slices((X, Y)).batch(5, drop_remainder=True)
    ours, theirs = model_of(X), model_of(X)
    found = Loop(ours, jit=True).fit(data, epochs=20, shuffle=False, verbose=0).history
    expected = theirs.fit(data, epochs=20, shuffle=False, verbose=0).history
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-5)
    assert int(ours.optimizer.iterations) == int(theirs.optimizer.iterations) == 80


def test_the_weights_of_classes_are_keras_own() -> None:
    data, weights = slices((X, (Y > 0).astype("int32"))).batch(5), {0: 1.0, 1: 3.0}
    ours, theirs = model_of(X), model_of(X)
    expected = theirs.fit(data, class_weight=weights, epochs=2, shuffle=False, verbose=0).history
    found = Loop(ours, jit=False).fit(data, class_weight=weights, epochs=2, shuffle=False, verbose=0).history
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-6)


@pytest.fixture
def unseeded():
    """No global seed, as in a program that sets none."""
    from tensorflow.python.eager import context

    context.context()._seed = None


@pytest.mark.parametrize("buffer", [4, 100])
def test_orders_are_those_of_a_shuffle_with_such_a_buffer(buffer: int, unseeded) -> None:
    arrays = arrays_of_slices(slices((X, Y)).shuffle(buffer).batch(5), None, "train")
    assert arrays is not None
    before = np.random.get_state()[1].tolist()
    orders = [arrays.order(0) for _ in range(50)]
    for order in orders:
        assert sorted(order) == list(range(22))
        assert all(number < place + buffer for place, number in enumerate(order))
    assert len({tuple(order) for order in orders}) == 50
    assert before == np.random.get_state()[1].tolist()
    if buffer == 100:  # every example is first as often
        firsts = np.bincount([arrays.order(0)[0] for _ in range(2200)], minlength=22)
        assert ((firsts - 100) ** 2 / 100).sum() < 50  # chi squared of 21 degrees of freedom: 3e-4


def test_each_epoch_trains_on_every_example_once_in_an_order_of_its_own(unseeded) -> None:
    data = slices((X, Y)).shuffle(22).batch(5)
    source = Loop(model_of(X)).source("train", DataSpec(data).planned(3))
    assert isinstance(source, ResidentSource)
    for epoch in range(3):
        for chunk in source.epoch(epoch):
            assert sorted(chunk.orders[chunk.parts[0][0]].numpy()) == list(range(22))
            break
    assert len({tuple(order) for order in source.orders.numpy()[:3].tolist()}) == 3


def test_an_epoch_that_goes_on_has_the_order_that_it_began_with(unseeded) -> None:
    data = slices((X, Y)).shuffle(22).batch(5)

    def made() -> ResidentSource:
        return Loop(model_of(X)).source("train", DataSpec(data).planned(3))

    before, after = made(), made()
    before.sizer.size = 2
    for chunk in before.epoch(0):
        before.advance(chunk, ChunkResult(chunk.steps, ()))
        break
    after.go_to(before.position, 0, amid=True, place=before.saved_place())
    rest = next(after.epoch(0))
    assert rest.parts == ((0, 2, 2),) and not rest.fresh
    np.testing.assert_array_equal(rest.orders[0], chunk.orders[chunk.parts[0][0]])


OTHERS = {
    "a seed": lambda: slices((X, Y)).shuffle(9, seed=3).batch(5),
    "the same order each time": lambda: slices((X, Y)).shuffle(9, reshuffle_each_iteration=False).batch(5),
    "a map": lambda: slices((X, Y)).map(lambda x, y: (x + 1, y)).batch(5),
    "a map of batches": lambda: slices((X, Y)).batch(5).map(lambda x, y: (x + 1, y)),
    "a shuffle of batches": lambda: slices((X, Y)).batch(5).shuffle(9),
    "a repetition": lambda: slices((X, Y)).batch(5).repeat(2),
    "a part": lambda: slices((X, Y)).take(10).batch(5),
    "a cache of a shuffle": lambda: slices((X, Y)).shuffle(9).cache().batch(5),
    "two shuffles": lambda: slices((X, Y)).shuffle(9).shuffle(9).batch(5),
    "ragged rows": lambda: slices(tf.ragged.constant([[1.0], [1.0, 2.0]])).batch(2),
    "sparse rows": lambda: slices(tf.sparse.from_dense(X)).batch(2),
    "no batch": lambda: slices((X, Y)),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_datasets_are_left_alone(kind: str, unseeded) -> None:
    assert internals.slices_of(OTHERS[kind]()) is None


def test_what_is_left_alone_streams() -> None:
    keras.utils.set_random_seed(0)
    seeded, model = slices((X, Y)).shuffle(9).batch(5), model_of(X)
    for source in (
        Loop(model).source("train", DataSpec(seeded)),
        Loop(model, budget=0).source("train", DataSpec(slices((X, Y)).batch(5))),
        Loop(model, engine="stream").source("train", DataSpec(slices((X, Y)).batch(5))),
    ):
        assert isinstance(source, StreamSource)
    words = slices((np.array(["a", "b"]), np.ones(2))).batch(2)
    assert arrays_of_slices(words, None, "train") is None


def test_predictions_of_a_shuffle_are_left_alone(unseeded) -> None:
    shuffled, plain = slices(X).shuffle(9).batch(5), slices(X).batch(5)
    assert arrays_of_slices(shuffled, None, "predict") is None
    assert arrays_of_slices(plain, None, "predict") is not None
    assert arrays_of_slices(shuffled, None, "train") is not None
    dropping = slices(X).shuffle(9).batch(5, drop_remainder=True)
    assert arrays_of_slices(dropping, None, "test") is None  # each evaluation leaves out others
    assert arrays_of_slices(shuffled, None, "test") is not None
    assert arrays_of_slices(slices(X).batch(2**31), None, "train") is None
