"""Selectors, and regularizers on built models."""

import keras
import numpy as np
import pytest

from kopt import select
from kopt.regularizers import L1, L2, attach, detach
from kopt.training import Loop


@pytest.fixture
def model():
    layers = keras.layers
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 4, name="embed")(inputs)
    x = layers.LSTM(3, name="lstm", return_sequences=True)(x)
    x = layers.SeparableConv1D(5, 2, name="separable")(x)
    x = layers.LayerNormalization(name="norm")(layers.BatchNormalization(name="batch")(x))
    shared = layers.Dense(5, name="shared")
    return keras.Model(inputs, layers.Dense(2, name="head")(layers.Flatten()(shared(shared(x)))), name="net")


def names(selector: select.Selector, model) -> set[str]:
    return {"/".join(variable.path.split("/")[-2:]) for variable, _ in selector.choose(model)}


def test_roles(model) -> None:
    assert names(select.kernels, model) == {
        "lstm_cell/kernel",
        "lstm_cell/recurrent_kernel",
        "separable/depthwise_kernel",
        "separable/pointwise_kernel",
        "shared/kernel",
        "head/kernel",
    }
    assert names(select.biases, model) == {"lstm_cell/bias", "separable/bias", "shared/bias", "head/bias"}
    assert names(select.norms, model) == {"batch/gamma", "batch/beta", "norm/gamma", "norm/beta"}
    assert names(select.embeddings, model) == {"embed/embeddings"}
    everything = select.kernels | select.biases | select.norms | select.embeddings
    assert names(everything, model) == names(select.everything, model)
    assert len(select.everything.choose(model)) == len(model.trainable_variables)


def test_set_operations_and_paths(model) -> None:
    assert names(select.path("*head/*"), model) == {"head/kernel", "head/bias"}
    assert names(select.kernels & select.path("*head/*"), model) == {"head/kernel"}
    assert names(select.kernels & ~select.path("*lstm*") & ~select.path("*separable*"), model) == {
        "shared/kernel",
        "head/kernel",
    }


def test_a_part_of_a_name_is_no_match(model) -> None:
    with pytest.raises(ValueError, match=r"^selector must choose something in model 'net', got path\('hea'\)"):
        select.path("hea").choose(model)


def test_an_unbuilt_model_is_refused() -> None:
    with pytest.raises(ValueError, match="^model must be built, got 'raw'"):
        select.kernels.choose(keras.Sequential([keras.layers.Dense(1)], name="raw"))


def test_frozen_parameters_are_chosen_too(model) -> None:
    model.get_layer("head").trainable = False
    assert "head/kernel" in names(select.kernels, model)


def test_attach_reaches_every_kernel_once_and_detach_takes_it_away(model) -> None:
    assert len(attach(model, L2(0.1))) == 6
    expected = sum(float(L2(0.1)(variable)) for variable, _ in select.kernels.choose(model))
    assert sum(map(float, model.losses)) == pytest.approx(expected, rel=1e-6)
    attach(model, L1(0.2), to=select.path("*head/kernel"))
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
    attach(late, L2(0.1), to=select.path("*" + late.layers[0].kernel.path))
    for fit in fits:
        fit(*points, epochs=2, shuffle=False, verbose=0)
    for one, other in zip(late.get_weights(), early.get_weights()):
        np.testing.assert_array_equal(one, other)


def test_a_layer_that_would_lose_the_penalty_is_refused() -> None:
    class Odd(keras.layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(2, 2), name="kernel")

        def call(self, x):
            return x @ self.kernel

    model = keras.Sequential([keras.Input((2,)), Odd(name="odd")], name="net")
    with pytest.raises(ValueError, match="^to must leave out .*odd/kernel: its layer saves no penalty, got kernels"):
        attach(model, L2(0.1))
    assert model.losses == []


def test_an_attention_layer_is_taken_whole_and_survives_saving(tmp_path) -> None:
    inputs = keras.Input((5, 4))
    model = keras.Model(inputs, keras.layers.MultiHeadAttention(2, 3, name="attention")(inputs, inputs))
    with pytest.raises(
        ValueError, match="^to must choose .*/kernel too: its attention layer saves one penalty for all"
    ):
        attach(model, L2(0.1), to=select.path("*query/kernel"))
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
    model = keras.Model(inputs, keras.layers.DepthwiseConv2D(3)(inputs))
    attach(model, L2(0.1))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert len(loaded.losses) == 1
    detach(loaded)
    loaded.save(tmp_path / "bare.keras")
    assert keras.saving.load_model(tmp_path / "bare.keras").losses == []


def test_bad_arguments_are_refused(model) -> None:
    with pytest.raises(ValueError, match="^to must be a selector, such as kopt.select.kernels, got 'kernels'"):
        attach(model, L2(0.1), to="kernels")
    with pytest.raises(ValueError, match="^model must be a Keras model, got 'net'"):
        detach("net")
    with pytest.raises(ValueError, match="^regularizer must be a kopt regularizer, got 'l2'"):
        attach(model, "l2")
