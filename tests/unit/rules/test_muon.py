"""Muon: which parameters are hidden matrices, and how each is laid out."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kopt
from kopt import select
from kopt.optimizers import Optimizer
from kopt.rules import GradientDescent, Lookahead, Mechanic, Muon, Routed
from kopt.rules.muon import orthogonal

RULE = Muon(0.9, 0.0, nesterov=False, scale="original", rest=GradientDescent())


def attention_model() -> keras.Model:
    tokens = keras.Input((5,), dtype="int32")
    x = keras.layers.Embedding(7, 8, name="tokens")(tokens)
    x = keras.layers.MultiHeadAttention(2, 3, name="attention")(x, x)
    x = keras.layers.LayerNormalization(name="norm")(x)
    x = keras.layers.Conv1D(4, 3, name="conv")(x)
    x = keras.layers.DepthwiseConv1D(2, name="depthwise_1")(x)
    x = keras.layers.GRU(6, name="gru")(x)
    return keras.Model(tokens, keras.layers.Dense(2, name="head")(x))


def test_hidden_matrices_are_kernels_but_the_last_with_their_heads_and_windows_on_the_right_side() -> None:
    variables = attention_model().trainable_variables
    bound = RULE.bind(variables)
    found = {one.path: axes for one, axes in zip(variables, bound.axes(variables)) if axes}
    assert found == {
        "attention/query/kernel": 1,  # (8, 2 * 3)
        "attention/key/kernel": 1,
        "attention/value/kernel": 1,
        "attention/attention_output/kernel": 2,  # (2 * 3, 8)
        "conv/kernel": 2,  # (3 * 8, 4)
        "depthwise_1/kernel": 1,  # (2, 4 * 1)
        "gru/gru_cell/kernel": 1,
        "gru/gru_cell/recurrent_kernel": 1,
    }


def test_keras_muon_takes_what_has_two_axes() -> None:
    """The figure in the docstring: 2 of these 8 hidden matrices, and 5 variables that are none."""
    keras_own = keras.optimizers.Muon(exclude_layers=[])
    taken = {one.path for one in attention_model().trainable_variables if not keras_own._should_use_adamw(one)}
    assert taken == {
        "gru/gru_cell/kernel",
        "gru/gru_cell/recurrent_kernel",
        "gru/gru_cell/bias",
        "attention/query/bias",
        "attention/key/bias",
        "attention/value/bias",
        "head/kernel",
    }


@pytest.mark.parametrize(("path", "sizes"), [("query", (8, 6)), ("attention_output", (6, 8)), ("conv", (24, 4))])
def test_all_heads_and_windows_make_one_orthogonal_matrix(path: str, sizes: tuple[int, int]) -> None:
    model = attention_model()
    variables = model.trainable_variables
    place = next(at for at, one in enumerate(variables) if one.path.endswith(f"{path}/kernel"))
    parameters = [one.value for one in variables]
    random = np.random.default_rng(0)
    gradients = [tf.constant(random.normal(size=one.shape), "float32") for one in parameters]
    bound = RULE.bind(variables)
    update = bound.update(gradients, bound.init(parameters), parameters, 1.0, 1)[0][place]
    left, _, right = np.linalg.svd(gradients[place].numpy().reshape(sizes), full_matrices=False)
    values = np.diag(left.T @ -update.numpy().reshape(sizes) @ right.T)
    assert np.all(values > 0.6) and np.all(values < 1.3)
    kept = left @ np.diag(values) @ right
    np.testing.assert_allclose(-update.numpy().reshape(sizes), kept, atol=2e-3)


def test_what_is_to_be_orthogonal_can_be_said_and_what_has_one_axis_is_left_to_the_rest() -> None:
    variables = attention_model().trainable_variables
    rule = Muon(to=select.embeddings | select.biases)
    axes = dict(zip((one.path for one in variables), rule.bind(variables).axes(variables)))
    assert axes["tokens/embeddings"] == 1 and axes["conv/bias"] == 0 and axes["conv/kernel"] == 0
    with pytest.raises(ValueError, match="selector must be bound to the model"):
        Muon(to=select.path("conv/*")).bind(variables)
    with pytest.raises(ValueError, match="to must choose something"):
        Muon(to=select.embeddings).bind(variables[1:])


def test_it_trains_in_fit() -> None:
    model = attention_model()
    model.compile(Optimizer(Muon(rest_rate=0.5), 0.02), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x = np.random.default_rng(0).integers(0, 7, (64, 5))
    losses = model.fit(x, x[:, 2] % 2, epochs=8, batch_size=16, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]
    store: dict[str, np.ndarray] = {}
    model.optimizer.save_own_variables(store)
    assert sum(name.startswith("momentum.") for name in store) == 8


@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (1, 3), (3, 1)])
@pytest.mark.parametrize("size", [1e-4, 1.0, 1e30])
def test_singular_values_become_about_one_at_any_size(shape: tuple[int, int], size: float) -> None:
    matrix = tf.constant(size * np.random.default_rng(3).normal(size=shape), "float32")
    values = np.linalg.svd(orthogonal(matrix, 5, 1e-7).numpy(), compute_uv=False)
    assert np.all(values > 0.6) and np.all(values < 1.3)


def test_hidden_matrices_that_cannot_be_known_are_refused() -> None:
    """A part of the model does not show which kernel is its head's, and of one kernel none is left."""
    with pytest.raises(ValueError, match="^Muon must name its parameters by `to` in Routed"):
        Routed({select.kernels: Muon()}, rest=GradientDescent())
    with pytest.raises(ValueError, match="^Lookahead must name its parameters by `to` in Routed"):
        Routed({select.kernels: Lookahead(Muon())}, rest=GradientDescent())
    Routed({select.kernels: Muon(to=select.kernels)}, rest=GradientDescent())
    with pytest.raises(ValueError, match="^Mechanic must name its parameters by `to` in Routed"):
        Routed({select.kernels: Mechanic(Muon())}, rest=GradientDescent())
    with pytest.raises(ValueError, match="^to must name the hidden matrices"):
        Muon().bind([keras.Variable(np.zeros((2, 3)), name="kernel"), keras.Variable(np.zeros(3), name="bias")])


def stack(frozen: str = "") -> keras.Model:
    layers = [keras.layers.Dense(3, name=name) for name in ("first", "second", "head")]
    model = keras.Sequential([keras.Input((3,)), *layers])
    for layer in layers:
        layer.trainable = layer.name != frozen
    return model


def multi(rule) -> keras.optimizers.Optimizer:
    """An optimizer of the rule for all but the head."""
    inner = {".*(first|second)/.*": Optimizer(rule, 0.01)}
    return keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.01), inner))


@pytest.mark.parametrize("train", [keras.Model.fit, kopt.fit], ids=["keras", "kopt"])
@pytest.mark.parametrize(("frozen", "around"), [("head", Optimizer), ("", lambda rule, _: multi(rule))])
@pytest.mark.parametrize("rule", [Muon(), Lookahead(Muon())], ids=repr)
def test_a_head_that_the_optimizer_does_not_update_is_refused_in_fit_without_to(train, frozen, around, rule) -> None:
    """It would take the last hidden kernel for the head, and leave it to the rest."""
    model = stack(frozen)
    model.compile(around(rule, 0.01), "mse")
    with pytest.raises(
        ValueError, match=rf"^{type(rule).__name__} must name its parameters by `to` where the optimizer"
    ):
        train(model, np.eye(3), np.eye(3), verbose=0)
    named = stack(frozen)
    named.compile(around(Muon(to=select.kernels), 0.01), "mse")
    train(named, np.eye(3), np.eye(3), verbose=0)


@pytest.mark.parametrize("frozen", ["", "first"])
def test_a_frozen_layer_below_leaves_the_head_known(frozen: str, tmp_path) -> None:
    model = stack(frozen)
    model.compile(Optimizer(Muon(), 0.01), "mse")
    model.fit(np.eye(3), np.eye(3), verbose=0)
    pairs = zip(model.optimizer.trained, model.optimizer.bound.leading, strict=True)
    assert {one.path.split("/")[-2] for one, axes in pairs if axes} == {"first", "second"} - {frozen}
    model.save(tmp_path / "model.keras")
    keras.saving.load_model(tmp_path / "model.keras").fit(np.eye(3), np.eye(3), verbose=0)
