"""Datasets of slices of tensors: what is recognised, the same training as in Keras, and the orders of a shuffle."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt import keras_internals as internals
from kopt.training import Loop
from kopt.training.execute.resident import ResidentExecutor
from kopt.training.feed import chunks
from kopt.training.feed.placement import DataSpec
from kopt.training.feed.slices import ShuffledSource, arrays_of_slices
from kopt.training.feed.sources import ResidentSource, StreamSource

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


SHUFFLES = {
    "no seed": {},
    "a seed": {"seed": 3},
    "the same order each time": {"seed": 3, "reshuffle_each_iteration": False},
}


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("kind, buffer", list(zip(SHUFFLES, (4, 100, 22))))
def test_a_shuffle_has_the_orders_that_it_has_in_keras(kind: str, buffer: int) -> None:
    def trained(fit, evaluate, predict, model) -> list:
        keras.utils.set_random_seed(1)
        train = slices((X, Y)).shuffle(buffer, **SHUFFLES[kind]).batch(5).prefetch(1)
        held_out = slices((X, Y)).shuffle(buffer, seed=8).batch(4, drop_remainder=True)
        next(iter(train))  # the user has looked at it
        found = [
            fit(train, epochs=3, validation_data=held_out, shuffle=False, verbose=0).history,
            fit(train, epochs=5, initial_epoch=3, shuffle=False, verbose=0).history,
            fit(train, epochs=6, steps_per_epoch=3, shuffle=False, verbose=0).history,
            evaluate(held_out, verbose=0),
            predict(slices(X).shuffle(buffer, seed=2).batch(5), verbose=0).tolist(),
            [batch[0].numpy().tolist() for batch in train],  # and looks again
        ]
        return [*found, *(weights.tolist() for weights in model.get_weights())]

    ours, theirs = model_of(X), model_of(X)
    loop, options = Loop(ours, jit=False), {"return_dict": True}
    assert isinstance(
        loop.source("train", DataSpec(slices((X, Y)).shuffle(buffer, **SHUFFLES[kind]).batch(5))), ShuffledSource
    )
    expected = trained(theirs.fit, lambda *a, **k: theirs.evaluate(*a, **k, **options), theirs.predict, theirs)
    assert trained(loop.fit, loop.evaluate, loop.predict, ours) == expected


def test_several_epochs_a_chunk_have_the_orders_that_they_have_in_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_SECONDS", 10.0)
    sizes = []
    run = ResidentExecutor.run
    monkeypatch.setattr(ResidentExecutor, "run", lambda self, chunk: sizes.append(len(chunk.parts)) or run(self, chunk))
    ours, theirs = model_of(X), model_of(X)
    found, expected = [], []
    for histories, fit in ((found, Loop(ours, jit=False).fit), (expected, theirs.fit)):
        data = slices((X, Y)).shuffle(22, seed=5).batch(5)
        histories += [fit(data, epochs=epochs, shuffle=False, verbose=0).history for epochs in (40, 3)]
        histories += [batch[0].numpy().tolist() for batch in data]
    assert max(sizes) > 2
    assert found == expected


def test_no_generator_of_numpy_moves() -> None:
    before = np.random.get_state()[1].tolist()
    Loop(model_of(X)).evaluate(slices((X, Y)).shuffle(22).batch(5), verbose=0)
    keras.utils.set_random_seed(0)
    assert before == np.random.get_state()[1].tolist()


OTHERS = {
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
def test_other_datasets_are_left_alone(kind: str) -> None:
    assert internals.slices_of(OTHERS[kind]()) is None


def test_what_is_left_alone_streams() -> None:
    mapped, model = slices((X, Y)).map(lambda x, y: (x, y)).shuffle(9).batch(5), model_of(X)
    for source in (
        Loop(model).source("train", DataSpec(mapped)),
        Loop(model, budget=0).source("train", DataSpec(slices((X, Y)).batch(5))),
        Loop(model, engine="stream").source("train", DataSpec(slices((X, Y)).batch(5))),
    ):
        assert isinstance(source, StreamSource)
    words = slices((np.array(["a", "b"]), np.ones(2))).batch(2)
    assert arrays_of_slices(words, None, "train") is None
    assert arrays_of_slices(slices(X).batch(2**31), None, "train") is None
