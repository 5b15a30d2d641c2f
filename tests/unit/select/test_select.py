"""Selectors on every kind of model."""

import keras
import numpy as np
import pytest
from keras import layers

from kopt import select
from kopt.callbacks import LayerRates
from kopt.optimizers import Decayed
from kopt.regularizers import L2, attach, detach
from kopt.regularizers.live import strength
from kopt.select import parameters


def chosen(selector: select.Selector, model) -> list[str]:
    return [parameter.path for parameter in selector.choose(model)]


def test_roles(model) -> None:
    assert chosen(select.kernels, model) == [
        "lstm/lstm_cell/kernel",
        "lstm/lstm_cell/recurrent_kernel",
        "separable/depthwise_kernel",
        "separable/pointwise_kernel",
        "shared/kernel",
        "head/kernel",
    ]
    assert chosen(select.recurrent_kernels, model) == ["lstm/lstm_cell/recurrent_kernel"]
    assert chosen(select.biases, model) == ["lstm/lstm_cell/bias", "separable/bias", "shared/bias", "head/bias"]
    assert chosen(select.norms, model) == ["batch/gamma", "batch/beta", "norm/gamma", "norm/beta"]
    assert chosen(select.norm_scales, model) == ["batch/gamma", "norm/gamma"]
    assert chosen(select.norm_offsets, model) == ["batch/beta", "norm/beta"]
    assert chosen(select.embeddings, model) == ["embed/embeddings"]
    roles = select.kernels | select.biases | select.norms | select.embeddings
    assert chosen(roles, model) == chosen(select.everything, model)
    assert len(select.everything.choose(model)) == len(model.trainable_variables)


def test_a_name_is_taken_whole(network) -> None:
    """Keras' exclude_from_weight_decay takes "beta" for a part of "alphabeta_kernel"."""

    class Odd(layers.Layer):
        def build(self, shape):
            for name in ("alphabeta_kernel", "gammas", "rescale", "w"):
                setattr(self, name, self.add_weight(shape=(2,), name=name))

        def call(self, x):
            return x

    model = keras.Sequential([keras.Input((2,)), Odd(name="odd")])
    assert chosen(select.kernels, model) == ["odd/alphabeta_kernel"]
    assert chosen(~select.kernels, model) == ["odd/gammas", "odd/rescale", "odd/w"]
    with pytest.raises(ValueError, match="^selector must choose something in model .*, got norms"):
        select.norms.choose(model)


def test_set_operations_and_paths(model) -> None:
    assert chosen(select.path("head/*"), model) == ["head/kernel", "head/bias"]
    assert chosen(select.kernels & ~select.path("lstm/*") & ~select.path("sep?rable/*"), model) == [
        "shared/kernel",
        "head/kernel",
    ]
    assert chosen(select.path("(head|shared)/k.*", regex=True), model) == ["shared/kernel", "head/kernel"]
    for part in ("hea", "head", "kernel", "head/kern"):
        with pytest.raises(ValueError, match=rf"^selector must choose something in model 'net', got path\('{part}'\)"):
            select.path(part).choose(model)
    with pytest.raises(ValueError, match=r"^pattern must be a regular expression, got '\('"):
        select.path("(", regex=True)


def nested():
    backbone = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="a"), layers.Dense(3, name="b")], name="body")
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Dense(2, name="head")(backbone(inputs)), name="net")


def sequential():
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(3, name="a"), layers.Dense(3, name="b"), layers.Dense(2, name="head")],
        name="net",
    )


class Blocks(keras.Model):
    def __init__(self, name="net"):
        super().__init__(name=name)
        self.blocks = [layers.Dense(3, name=f"block_{place}") for place in range(2)]
        self.head = layers.Dense(2, name="head")

    def build(self, shape):
        self.gain = self.add_weight(shape=(), name="gain")
        super().build(shape)

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x) * self.gain


def subclassed():
    model = Blocks()
    model(np.zeros((1, 4)))
    return model


def test_paths_and_depths_are_the_same_however_the_model_was_made() -> None:
    """Keras' own paths begin with a Sequential model's name, and leave out a functional model inside another."""
    assert chosen(select.path("head/*"), nested()) == chosen(select.path("head/*"), sequential())
    assert chosen(select.path("head/*"), subclassed()) == ["head/kernel", "head/bias"]
    assert chosen(select.path("body/*") & select.kernels, nested()) == ["body/a/kernel", "body/b/kernel"]
    assert chosen(select.path("block_?/*") & select.biases, subclassed()) == ["block_0/bias", "block_1/bias"]
    assert chosen(select.kernels & select.depths(0, 2), nested()) == ["body/a/kernel", "body/b/kernel"]
    assert chosen(select.kernels & select.depths(0, 2), sequential()) == ["a/kernel", "b/kernel"]
    assert chosen(select.depths(-2) & select.biases, sequential()) == ["b/bias", "head/bias"]
    assert chosen(select.depth(-1), sequential()) == ["head/kernel", "head/bias"]
    assert chosen(select.depths(1, -1) & select.kernels, sequential()) == ["b/kernel"]
    assert chosen(select.path("gain"), subclassed()) == ["gain"]


def test_layer_types_reach_into_layers() -> None:
    inputs = keras.Input((5, 4))
    x = layers.MultiHeadAttention(2, 3, name="attention")(inputs, inputs)
    x = layers.Bidirectional(layers.GRU(3, name="gru"), name="both")(x)
    model = keras.Model(inputs, layers.Dense(2, name="head")(x))
    attention = chosen(select.layers(layers.MultiHeadAttention) & select.kernels, model)
    assert attention == [f"attention/{part}/kernel" for part in ("query", "key", "value", "attention_output")]
    assert {parameter.depth for parameter in parameters(model) if "attention" in parameter.path} == {0}
    assert chosen(select.layers(layers.RNN) & select.recurrent_kernels, model) == [
        "both/forward_gru/gru_cell/recurrent_kernel",
        "both/backward_gru/gru_cell/recurrent_kernel",
    ]
    assert chosen(select.layers(layers.Dense), model) == ["head/kernel", "head/bias"]
    assert chosen(select.layers("GRU", "Dense") & select.biases, model)[-1] == "head/bias"


@pytest.mark.parametrize("layer", [layers.Dense(3, name="a"), layers.EinsumDense("ab,bc->ac", 3, name="a")])
def test_a_low_rank_adapter_has_the_role_of_its_kernel(layer) -> None:
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layer(inputs))
    layer.enable_lora(2)
    assert chosen(select.kernels, model) == ["a/kernel", "a/lora_kernel_a", "a/lora_kernel_b"]


def test_the_adapter_of_a_table_has_its_role() -> None:
    inputs, table = keras.Input((2,)), layers.Embedding(5, 4, name="table")
    model = keras.Model(inputs, table(inputs))
    table.enable_lora(2)
    assert chosen(select.embeddings, model) == [
        "table/embeddings",
        "table/lora_embeddings_a",
        "table/lora_embeddings_b",
    ]


def test_an_unbuilt_model_is_refused() -> None:
    with pytest.raises(ValueError, match="^model must be built, got 'raw'"):
        select.kernels.choose(keras.Sequential([layers.Dense(1)], name="raw"))
    with pytest.raises(ValueError, match="^model must be a Keras model, got 'net'"):
        parameters("net")


def test_frozen_parameters_are_chosen_too(model) -> None:
    model.get_layer("head").trainable = False
    assert "head/kernel" in chosen(select.kernels, model)


def test_a_selection_can_be_frozen(network, points) -> None:
    model = network("adam")
    before = model.get_weights()
    for parameter in select.depth(0).choose(model):
        parameter.variable.trainable = False
    model.fit(*points, verbose=0)
    changed = [bool((old != new).any()) for old, new in zip(before, model.get_weights())]
    assert changed == [False, False, True, True]


def test_bound_it_needs_no_model() -> None:
    model = nested()
    bound = (select.kernels & select.path("body/*")).bind(model)
    assert chosen(bound, model) == ["body/a/kernel", "body/b/kernel"]
    assert bound.choose_from(model.trainable_variables) == [model.trainable_variables[0], model.trainable_variables[2]]
    with pytest.raises(ValueError, match=r"^selector must be bound to the model, by .bind\(model\), .*got path"):
        (select.kernels & select.path("body/*")).choose_from(model.trainable_variables)
    with pytest.raises(ValueError, match="^selector must choose something among the optimizer's variables, got norms"):
        select.norms.choose_from(model.trainable_variables)


def test_a_name_of_two_variables_is_bound_whole_or_not_at_all() -> None:
    class Twins(Blocks):
        def __init__(self):
            super().__init__()
            self.blocks = [layers.Dense(4, name="twin") for _ in range(2)]

    model = Twins()
    model(np.zeros((1, 4)))
    assert len(select.path("twin/kernel").bind(model).choose(model)) == 2
    with pytest.raises(ValueError, match="^selector must choose all variables named 'net/twin/kernel' or none"):
        (select.depth(2) & select.kernels).bind(model)


def test_show_prints_what_is_reached_and_what_is_left(model, capsys) -> None:
    model.get_layer("head").trainable = False
    select.show(model, select.kernels)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if "shared/" in line] == ["yes", "-"]
    assert next(line for line in lines if "head/kernel" in line).split()[-1] == "frozen"
    counted = [
        variable for variable in model.variables if variable.dtype == "float32" and "moving" not in variable.name
    ]
    total = sum(int(np.prod(variable.shape)) for variable in counted)
    assert lines[-1].startswith("kernels: 6 of 15 parameters, ") and lines[-1].endswith(f" of {total:,} numbers")
    with pytest.raises(ValueError, match="^selector must choose something"):
        select.show(model, select.path("nothing"))


def test_a_pattern_of_paths_stands_for_its_selector_wherever_one_is_taken(model, capsys) -> None:
    assert select.as_selector("head/*") == select.path("head/*")
    assert select.as_selector(select.kernels) is select.kernels
    assert select.kernels & "head/*" == select.kernels & select.path("head/*")
    assert select.kernels | "head/*" == select.kernels | select.path("head/*")
    assert attach(model, L2(0.1), to="head/*") == ["head/kernel", "head/bias"]
    assert float(strength(model, "head/*")) == 1.0 and strength(model, "head/*") is not None
    assert detach(model, "head/k*") == ["head/kernel"]
    assert list(LayerRates({"head/*": 0.5, select.norms: 0.1}).rates) == [select.path("head/*"), select.norms]
    assert Decayed("sgd", 0.1, to="head/*").to == select.path("head/*")
    select.show(model, "head/*")
    assert capsys.readouterr().out.endswith("path('head/*'): 2 of 15 parameters, 52 of 260 numbers\n")


@pytest.mark.parametrize("bad", ["kernels", "", 3, None, ["head/*"], b"head/*"])
def test_what_is_neither_a_selector_nor_a_pattern_is_refused(bad, model) -> None:
    """A name such as 'kernels' would be a pattern that matches no path."""
    for take in (
        lambda: attach(model, L2(0.1), to=bad),
        lambda: detach(model, to=bad),
        lambda: Decayed("sgd", 0.1, to=bad),
        lambda: select.show(model, bad),
        lambda: select.kernels & bad,
        lambda: select.kernels | bad,
    ):
        with pytest.raises(ValueError, match="must be a selector, such as kopt.select.kernels, or a pattern of paths"):
            take()
    for rates, message in (({"kernels": 1.0}, "a key of rates must be a selector"), ("a/*", "rates must be a mapping")):
        with pytest.raises(ValueError, match=message):
            LayerRates(rates)
    with pytest.raises(ValueError, match="rates must have different selectors as keys"):
        LayerRates({"head/*": 1.0, select.path("head/*"): 2.0})
