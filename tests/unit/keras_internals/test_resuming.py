"""Canaries: private APIs of what resumed training needs behave as in Keras 3.15 and TensorFlow 2.21."""

import random

import keras
import numpy as np
import tensorflow as tf

from kopt import keras_internals as internals
from kopt.keras_internals.resuming import (
    build_optimizers,
    called_last,
    optimized_places,
    random_states,
    seed_states,
    seeds_made,
    set_random_states,
)


def test_functions_without_a_seed_draw_by_one_global_generator() -> None:
    keras.utils.clear_session()
    before = random.getstate()
    assert internals.global_seeds() == [] and random.getstate() == before  # to ask makes none
    keras.random.normal((1,))
    (seed,) = internals.global_seeds()
    start = seed.numpy()
    first = keras.random.normal((3,)).numpy()
    assert (seed.numpy() != start).any()
    seed.assign(start)
    np.testing.assert_array_equal(keras.random.normal((3,)), first)


def test_optimizers_are_built_for_what_they_updated(network) -> None:
    def two():
        model = network()
        model.others = {"first": keras.optimizers.Adam(), "second": keras.optimizers.SGD(momentum=0.9)}
        return model

    model = two()
    chosen = model.trainable_variables[1:3]
    model.others["first"].build(chosen)
    assert optimized_places(model) == {"others[first]": [1, 2]}
    again = two()
    build_optimizers(again, {"others[first]": [1, 2], "optimizer": None})
    built = [[one.shape for one in each.others["first"].variables] for each in (model, again)]
    assert built[0] == built[1]
    assert again.optimizer.built and not again.others["second"].built


def test_a_weights_file_has_the_optimizers_of_models_inside(network, tmp_path) -> None:
    def made():
        inner = keras.Sequential([keras.Input((10,)), keras.layers.Dense(10)])
        inner.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
        model = keras.Sequential([keras.Input((10,)), inner, keras.layers.Dense(1)])
        model.compile("adam", "mse")
        return model, inner

    (model, inner), (again, loaded) = made(), made()
    weights = inner.trainable_variables
    inner.optimizer.build(weights)
    inner.optimizer.apply([keras.ops.ones_like(weight) for weight in weights], weights)
    places = optimized_places(model)
    assert places == {"2.optimizer": [0, 1]} and list(internals.optimizers_inside(model)) == [
        "optimizer",
        "2.optimizer",
    ]
    build_optimizers(again, places)
    model.save_weights(tmp_path / "model.weights.h5")
    again.load_weights(tmp_path / "model.weights.h5")
    for one, other in zip(inner.optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, other)


def test_random_numbers_go_on_from_their_states() -> None:
    keras.utils.set_random_seed(1)

    def draw():
        return [random.random(), np.random.rand(), float(keras.random.uniform(())), float(tf.random.uniform(()))]

    draw()
    states = random_states()
    first = draw()
    assert draw() != first
    set_random_states(states)
    assert draw() == first


def test_seeds_are_found_in_models_and_beside_them() -> None:
    with seeds_made() as made:
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dropout(0.5)])
        beside = keras.random.SeedGenerator(3)
    keras.random.SeedGenerator(4)
    states = seed_states(model, made)
    assert len(states) == 2 and states[1] is beside.state and states[0] is model.layers[0].seed_generator.state


def test_a_callback_is_called_last_and_knows_the_others(network) -> None:
    last, other = keras.callbacks.Callback(), keras.callbacks.Callback()
    with called_last(last):
        found = keras.callbacks.CallbackList([last, other], add_history=True, model=network())
        assert found.callbacks[-1] is last and last.beside == found.callbacks[:2] and last.beside[0] is other
    assert keras.callbacks.CallbackList([last, other], model=network()).callbacks[0] is last
