"""The inference copy of a run: Keras' own layers and penalties, refused where it would be another model."""

import keras
import numpy as np
import pytest

import kopt
from kopt import data, models, regularizers
from kopt.experiment.inference import in_plain_keras, inference_copy, inference_writer
from kopt.models import layers
from kopt.report import run_writer

QUICK = {"schedule": kopt.schedules.Cosine(0.01), "training": kopt.Training(epochs=1, batch_size=32)}


def network(**arguments: object) -> keras.Model:
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(3, "relu", **arguments)(inputs)
    return keras.Model(inputs, keras.layers.Dense(2)(hidden))


def penalties_of(model: keras.Model) -> list[str]:
    found = [one.kernel_regularizer for one in model.layers if hasattr(one, "kernel_regularizer")]
    return [f"{type(one).__module__.partition('.')[0]} {type(one).__name__}" for one in found if one is not None]


@pytest.mark.parametrize(
    ("penalty", "plain"),
    [
        (regularizers.L1(0.1), True),
        (regularizers.L2(0.1, samples=5), True),
        (regularizers.L1L2(0.1, 0.2), True),
        (regularizers.GroupLasso(0.1), False),
        (regularizers.Orthogonal(0.1), False),
        (keras.regularizers.L2(0.1), True),
    ],
)
def test_penalties_are_those_of_keras_where_it_has_them(penalty, plain: bool) -> None:
    model = network(kernel_regularizer=penalty)
    copy = in_plain_keras(model)
    assert penalties_of(copy) == ["keras L2" if "keras" in type(penalty).__module__ else "keras L1L2"] * plain
    if plain:
        assert float(copy.losses[0]) == pytest.approx(float(model.losses[0]), rel=1e-6)
    x = np.random.default_rng(0).normal(size=(5, 4))
    np.testing.assert_array_equal(copy(x), model(x))


def test_a_live_strength_and_penalties_inside_other_layers() -> None:
    inputs = keras.Input((3, 4))
    both = keras.layers.Bidirectional(keras.layers.GRU(2))(inputs)
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model = keras.Model(inputs, inner(both))
    regularizers.attach(model, regularizers.L2(0.1))
    regularizers.strength(model).set(0.5)
    copy = in_plain_keras(model)
    assert sum(map(float, copy.losses)) == pytest.approx(sum(map(float, model.losses)), rel=1e-6) and copy.losses
    x = np.random.default_rng(0).normal(size=(5, 3, 4))
    np.testing.assert_array_equal(copy(x), model(x))


def test_layers_of_kopt_say_what_they_are_in_keras() -> None:
    for layer in layers.registry.values():
        assert layer.plain is not layers.OwnLayer.plain, layer


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_a_copy_of_coarse_layers(policy: str, tmp_path) -> None:
    keras.config.set_dtype_policy(policy)
    try:
        model = models.TwoTower(20, width=4, hidden=8).build()
    finally:
        keras.config.set_dtype_policy("float32")
    x = (np.random.default_rng(0).uniform(size=(6, 20)) > 0.5).astype("float32")
    for name, write in inference_writer("ranking", model, None, x).items():
        write(tmp_path / name)
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / name)(x) > -1e8, x == 0)


def test_a_wrong_copy_is_not_written(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(layers.HideSeen, "plain", lambda self, inputs: inputs[0])
    recipe = kopt.Recipe("films", data.Likes(examples=60), model=models.Autoencoder(2080, width=4), **QUICK)
    done = kopt.run(recipe, folder=tmp_path, verbose=False)
    why = "ValueError: inference.keras must give the outputs of model.keras, within 1e-06 of the largest, got inf."
    assert done.metrics["not_written"] == {"inference.keras": why}
    assert not (done.folder / "inference.keras").exists() and (done.folder / "model.keras").exists()
    card = (done.folder / "README.md").read_text()
    assert "There is no `inference.keras` (ValueError: " in card and 'load_model("model.keras")' in card


@keras.saving.register_keras_serializable(package="tests")
class Twice(keras.layers.Layer):
    def call(self, x):
        return 2 * x


def test_a_layer_of_the_users_needs_its_class_and_is_not_in_a_copy(tmp_path) -> None:
    inputs = keras.Input((4,))
    model = keras.Model(inputs, Twice()(inputs))
    writers = inference_writer("regression", model, None, np.ones((2, 4)))
    lacking = run_writer.write_parts(tmp_path, writers)
    assert lacking == {
        "inference.keras": "ValueError: layers must be Keras' own, to load where these are not, got ['tests>Twice']."
    }
    assert list(tmp_path.iterdir()) == []


def test_the_copy_is_not_compiled_and_leaves_the_model_as_it_was() -> None:
    model = network(kernel_regularizer=regularizers.L2(0.1))
    model.compile("adam", "mse")
    copy = inference_copy(model, None, "classification")
    assert not copy.compiled and model.compiled and model.layers[1].kernel_regularizer == regularizers.L2(0.1)
    x = np.random.default_rng(0).normal(size=(5, 4))
    np.testing.assert_allclose(np.sum(copy(x), 1), 1, rtol=1e-6)
    model.fit(x, np.zeros((5, 2)), verbose=0)
    assert len(model.losses) == 1
