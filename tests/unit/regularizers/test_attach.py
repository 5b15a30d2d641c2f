"""Regularizers on built models."""

import copy
import logging
import pickle

import keras
import numpy as np
import pytest
from keras import layers

from kopt import Knob, load_model, regularizers, select
from kopt.callbacks import Scheduled
from kopt.regularizers import L1, L2, GroupLasso, Orthogonal, TowardStart, attach, detach, strength
from kopt.schedules import Linear
from kopt.training import Loop


def test_attach_reaches_every_kernel_once_and_detach_takes_it_away(model) -> None:
    assert len(attach(model, L2(0.1))) == 6
    expected = sum(float(L2(0.1)(parameter.variable)) for parameter in select.kernels.choose(model))
    assert sum(map(float, model.losses)) == pytest.approx(expected, rel=1e-6)
    attach(model, L1(0.2), to=select.path("head/kernel"))
    assert model.get_layer("head").kernel_regularizer == L1(0.2)
    assert len(detach(model)) == 6
    assert model.losses == []


def test_attached_to_any_layer_it_survives_saving(model, tmp_path) -> None:
    attach(model, L2(0.1), to=select.everything)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert sum(map(float, loaded.losses)) == pytest.approx(sum(map(float, model.losses)), rel=1e-6)
    assert len(loaded.losses) == len(model.trainable_variables)


@pytest.mark.parametrize("loop", [False, True])
def test_attached_to_a_traced_model_it_counts_from_the_next_step(loop: bool, network, points) -> None:
    late, early = network(), network(regularizer=keras.regularizers.L2(0.1))
    fits = [Loop(model, jit=False).fit if loop else model.fit for model in (late, early)]
    fits[0](*points, epochs=1, shuffle=False, verbose=0)
    late.set_weights(early.get_weights())
    late.layers[0].kernel_regularizer = None
    attach(late, L2(0.1), to=select.depth(0) & select.kernels)
    for fit in fits:
        fit(*points, epochs=2, shuffle=False, verbose=0)
    for one, other in zip(late.get_weights(), early.get_weights()):
        np.testing.assert_array_equal(one, other)


def test_a_layer_that_would_lose_the_penalty_is_refused() -> None:
    class Odd(layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(2, 2), name="kernel")

        def call(self, x):
            return x @ self.kernel

    model = keras.Sequential([keras.Input((2,)), Odd(name="odd")], name="net")
    with pytest.raises(ValueError, match="^to must leave out .*odd/kernel: its layer saves no penalty, got kernels"):
        attach(model, L2(0.1))
    assert model.losses == []


def test_a_wrapper_that_lists_the_weight_inside_it_does_not_own_it(tmp_path) -> None:
    layer = layers.SpectralNormalization(layers.Dense(2, name="dense"), name="spectral")
    model = keras.Sequential([keras.Input((3,)), layer])
    assert attach(model, L2(0.1)) == ["spectral/dense/kernel"]
    model.save(tmp_path / "model.keras")
    assert len(keras.saving.load_model(tmp_path / "model.keras").losses) == 1


def test_an_attention_layer_is_taken_whole_and_survives_saving(tmp_path) -> None:
    inputs = keras.Input((5, 4))
    model = keras.Model(inputs, layers.MultiHeadAttention(2, 3, name="attention")(inputs, inputs))
    with pytest.raises(
        ValueError, match="^to must choose attention/key/kernel, .* too: its layer saves one penalty for 4 weights"
    ):
        attach(model, L2(0.1), to=select.path("attention/query/kernel"))
    assert model.losses == []
    assert len(attach(model, L2(0.1))) == 4
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert len(loaded.losses) == 4
    assert sum(map(float, loaded.losses)) == pytest.approx(sum(map(float, model.losses)), rel=1e-6)
    detach(loaded)
    loaded.save(tmp_path / "bare.keras")
    assert keras.saving.load_model(tmp_path / "bare.keras").losses == []


def test_a_depthwise_kernel_is_saved_under_its_own_name(tmp_path) -> None:
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, layers.DepthwiseConv2D(3)(inputs))
    attach(model, L2(0.1))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert len(loaded.losses) == 1
    detach(loaded)
    loaded.save(tmp_path / "bare.keras")
    assert keras.saving.load_model(tmp_path / "bare.keras").losses == []


def test_bad_arguments_are_refused(model) -> None:
    with pytest.raises(ValueError, match="^to must be a selector, .*, or a pattern of paths, .*, got 'kernels'"):
        attach(model, L2(0.1), to="kernels")
    with pytest.raises(ValueError, match="^model must be a Keras model, got 'net'"):
        detach("net")
    with pytest.raises(ValueError, match="^regularizer must be a kopt regularizer, its text or None, got 3"):
        attach(model, 3)


def test_a_text_says_what_to_attach(model) -> None:
    attach(model, "l1_l2(1e-3, l2=0.1)", to=select.path("head/kernel"))
    assert model.get_layer("head").kernel_regularizer == regularizers.L1L2(1e-3, 0.1)


def test_a_shape_that_the_penalty_does_not_take_is_refused_before_anything_is_set(model) -> None:
    with pytest.raises(ValueError, match="^weights must be a tensor of two axes or more for Orthogonal"):
        attach(model, Orthogonal(0.1), to=select.path("head/*"))
    assert model.losses == [] and model.get_layer("head").kernel_regularizer is None


def test_a_second_attach_replaces_the_first_and_says_so(model, caplog) -> None:
    attach(model, L2(0.1))
    with caplog.at_level(logging.INFO, "kopt"):
        attach(model, L1(0.2), to=select.path("head/kernel"))
    assert caplog.messages == ["attach: L1(0.2) in place of L2(0.1) on head/kernel"]
    assert len(model.losses) == 6 and model.get_layer("head").kernel_regularizer == L1(0.2)


def test_a_frozen_weight_counts_when_it_trains_again(network, points) -> None:
    model = network()
    attach(model, L2(0.1))
    model.layers[0].trainable = False
    model.compile("sgd", "mse")
    alone = float(L2(0.1)(model.layers[1].kernel))
    assert sum(map(float, model.losses)) == pytest.approx(alone, rel=1e-6)
    assert model.evaluate(*points, verbose=0, return_dict=True)["penalty"] == pytest.approx(alone, rel=1e-6)
    model.layers[0].trainable = True
    assert len(model.losses) == 2


@pytest.mark.parametrize("loop", [False, True])
def test_the_penalty_is_in_the_history_apart_from_the_data_loss(loop: bool, network, points) -> None:
    model, bare = network(), network()
    attach(model, L2(0.05))
    fit = Loop(model, jit=False).fit if loop else model.fit
    history = fit(*points, epochs=3, validation_split=0.2, verbose=0).history
    assert sorted(history) == ["loss", "mae", "penalty", "val_loss", "val_mae", "val_penalty"]
    expected = sum(0.05 * float(np.square(layer.kernel).sum()) for layer in model.layers)
    assert history["penalty"][-1] == pytest.approx(expected, rel=1e-6)
    bare.set_weights(model.get_weights())
    data_loss = bare.evaluate(points[0][80:], points[1][80:], verbose=0)[0]
    assert history["val_loss"][-1] - history["val_penalty"][-1] == pytest.approx(data_loss, rel=1e-5)
    detach(model)
    assert sorted(fit(*points, verbose=0).history) == ["loss", "mae"]


def test_the_penalty_can_be_left_out_of_the_logs(network, points) -> None:
    model = network()
    attach(model, L2(0.05), report=False)
    assert sorted(model.fit(*points, verbose=0).history) == ["loss", "mae"]


def test_weights_restored_alone_keep_the_penalty(network, points, tmp_path) -> None:
    model, other = network(), network()
    for one in (model, other):
        attach(one, L2(0.05))
        one.optimizer.build(one.trainable_variables)
        strength(one)
    strength(model).set(0.25)
    model.fit(*points, verbose=0)
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    assert float(strength(other)) == 0.25
    assert sum(map(float, other.losses)) == pytest.approx(sum(map(float, model.losses)), rel=1e-6)


def test_the_live_strength_is_saved_by_any_file(network, points, tmp_path) -> None:
    model = network()
    attach(model, L2(0.05))
    head = strength(model, to=select.depth(-1) & select.kernels)
    whole = strength(model)
    head.set(0.5), whole.set(0.1)
    assert strength(model) is whole and isinstance(whole, Knob)
    expected = [0.1 * 0.05 * float(np.square(model.layers[0].kernel).sum())]
    expected += [0.05 * 0.05 * float(np.square(model.layers[1].kernel).sum())]
    assert list(map(float, model.losses)) == pytest.approx(expected, rel=1e-6)
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    for loaded in (keras.saving.load_model(tmp_path / "model.keras"), load_model(tmp_path / "model.keras")):
        assert list(map(float, loaded.losses)) == pytest.approx(expected, rel=1e-6)
        assert float(strength(loaded)) == pytest.approx(0.1)
        assert float(strength(loaded, to=select.depth(-1) & select.kernels)) == 0.5
        strength(loaded).set(0.2)
        assert list(map(float, loaded.losses)) == pytest.approx([2 * value for value in expected], rel=1e-6)


def test_a_clone_begins_with_the_penalty_as_it_is(network) -> None:
    model = network()
    attach(model, L2(0.05))
    strength(model).set(0.1)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    now = list(map(float, model.losses))
    assert list(map(float, clone.losses)) == pytest.approx(now, rel=1e-6)
    assert float(strength(clone)) == 1
    strength(clone).set(2)
    assert list(map(float, clone.losses)) == pytest.approx([2 * value for value in now], rel=1e-6)
    attach(clone, L1(0.1))
    assert clone.layers[0].kernel_regularizer.of == L1(0.1)


def test_a_strength_of_zero_in_a_file_can_rise_again(network, tmp_path) -> None:
    """The file's penalty is nothing; what it was of is in the file all the same."""
    model = network()
    attach(model, L2(0.05))
    full = sum(map(float, model.losses))
    strength(model).set(0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert sum(map(float, loaded.losses)) == float(strength(loaded)) == 0
    strength(loaded).set(1)
    assert sum(map(float, loaded.losses)) == pytest.approx(full, rel=1e-6)


def test_a_strength_survives_a_second_file_and_a_copy(network, tmp_path) -> None:
    model = network()
    attach(model, L2(0.05, samples=5))
    strength(model).set(0.5)
    for _ in range(2):
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        assert float(strength(again)) == 0.5
        assert sum(map(float, again.losses)) == pytest.approx(sum(map(float, model.losses)), rel=1e-6)
        model = again
    kernel = model.layers[0].kernel
    for one in (copy.copy(model.layers[0].kernel_regularizer), pickle.loads(pickle.dumps(L2(0.0025)))):
        assert float(one(kernel)) == pytest.approx(0.0025 * float(np.square(kernel).sum()), rel=1e-6)


def test_one_metric_more_makes_evaluates_number_a_list(points) -> None:
    given = []
    for report in (True, False):
        model = keras.Sequential([keras.Input((10,)), layers.Dense(1, kernel_initializer="ones")])
        model.compile("sgd", "mse")
        attach(model, L2(0.05), report=report)
        given.append(model.evaluate(*points, verbose=0))
    (loss, penalty), number = given
    assert loss == pytest.approx(number) and penalty == pytest.approx(0.5)


def test_a_new_penalty_keeps_the_live_strength(network) -> None:
    model = network()
    attach(model, L2(0.05))
    strength(model).set(0.5)
    attach(model, L1(0.1))
    assert sum(map(float, model.losses)) == pytest.approx(
        sum(0.05 * float(np.abs(layer.kernel).sum()) for layer in model.layers), rel=1e-6
    )


@pytest.mark.parametrize("loop", [False, True])
def test_the_live_strength_follows_a_schedule_without_a_retrace(loop: bool, network, points) -> None:
    model = network()
    attach(model, L2(0.05))
    rising = Scheduled(strength(model), Linear(0, end=1))
    history = (Loop(model, jit=False).fit if loop else model.fit)(
        *points, epochs=4, callbacks=[rising], verbose=0
    ).history
    total = sum(0.05 * float(np.square(layer.kernel).sum()) for layer in model.layers)
    assert history["penalty"][0] == 0 and history["penalty"][-1] == pytest.approx(0.75 * total, rel=1e-5)


def test_a_strength_of_nothing_is_refused(network) -> None:
    with pytest.raises(ValueError, match="^to must choose weights that have a penalty, got everything"):
        strength(network())


@pytest.mark.parametrize("loop", [False, True])
def test_toward_start_pulls_back_to_the_weights_at_attach(loop: bool, network, points, tmp_path) -> None:
    model = network(keras.optimizers.SGD(0.05))
    model.fit(*points, epochs=2, verbose=0)
    start = [layer.kernel.numpy() for layer in model.layers]
    attach(model, TowardStart(5.0))
    (Loop(model, jit=False).fit if loop else model.fit)(*points, epochs=5, verbose=0)
    moved = sum(float(np.square(layer.kernel - old).sum()) for layer, old in zip(model.layers, start))
    assert 0 < moved < 2e-2
    assert sum(map(float, model.losses)) == pytest.approx(5 * moved, rel=1e-4)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert sum(map(float, loaded.losses)) == pytest.approx(5 * moved, rel=1e-4)
    with pytest.raises(ValueError, match="^regularizer must be attached to weights to start from them"):
        TowardStart(0.1)(start[0])


def test_toward_start_on_attention_and_adapters(tmp_path) -> None:
    """One attribute saves the penalty of several weights, each with a start of its own."""
    inputs = keras.Input((5, 4))
    dense = layers.Dense(3, name="dense")
    model = keras.Model(inputs, dense(layers.MultiHeadAttention(2, 3, name="attention")(inputs, inputs)))
    dense.enable_lora(2)
    assert len(attach(model, TowardStart(1.0))) == 7
    for parameter in select.kernels.choose(model):
        parameter.variable.assign_add(np.full(parameter.variable.shape, 0.5))
    trained = [parameter.variable for parameter in select.kernels.choose(model) if parameter.variable.trainable]
    expected = [0.25 * float(np.prod(variable.shape)) for variable in trained]
    assert sorted(map(float, model.losses)) == pytest.approx(sorted(expected), rel=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    # Keras' file holds the kernel with its adapter added, and a fresh adapter.
    assert sorted(map(float, loaded.losses))[-4:] == pytest.approx([6.0] * 4, rel=1e-5)


def test_group_lasso_empties_whole_inputs(points) -> None:
    """Of ten inputs the targets depend on two: the rows of the others go to zero."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((10,)), layers.Dense(8, "tanh"), layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.01), "mse")
    attach(model, GroupLasso(0.02, "rows"), to=select.depth(0) & select.kernels)
    Loop(model, jit=False, seed=0).fit(*points, epochs=150, verbose=0)
    lengths = np.linalg.norm(model.layers[0].kernel, axis=1)
    assert set(np.argsort(lengths)[-2:]) == {0, 1}
    assert lengths[:2].min() > 5 * lengths[2:].max()


def test_every_kind_of_layer_saves_its_penalty(tmp_path) -> None:
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2DTranspose(2, 2)(layers.Conv2D(3, 2)(inputs))
    x = layers.SeparableConv2D(3, 2)(layers.GroupNormalization(1)(x))
    x = layers.TimeDistributed(layers.Dense(3))(x)
    x = layers.ConvLSTM1D(2, 2)(x)
    x = layers.Bidirectional(layers.LSTM(3))(x)
    x = layers.RNN([layers.GRUCell(2), layers.SimpleRNNCell(2)])(layers.Reshape((3, 2))(x))
    x = layers.PReLU()(layers.EinsumDense("ab,bc->ac", 2, bias_axes="c")(x))
    model = keras.Model(inputs, x)
    attach(model, L2(0.1), to=select.everything)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert len(loaded.losses) == len(model.losses) == len(model.trainable_variables)
    assert sum(map(float, loaded.losses)) == pytest.approx(sum(map(float, model.losses)), rel=1e-6)
