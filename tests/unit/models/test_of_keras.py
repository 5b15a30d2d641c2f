"""Keras models and functions that build one, as models of recipes: kept by config, in logits, without weights."""

import json
import logging
import pathlib

import keras
import numpy as np
import pytest
from keras import layers, ops

import kopt
from kopt import data, models
from kopt.experiment.ablation import Trial, trial
from kopt.experiment.serving import prepared
from kopt.models import of_keras
from kopt.models.keras_config import EXAMPLE
from kopt.models.of_keras import as_model
from kopt.values import from_json, to_json
from kopt.values.field_paths import replace

DIGITS = data.Digits(examples=100)
TRAINING = kopt.Training(epochs=2)
TWO = data.arrays(np.random.default_rng(0).normal(size=(80, 4)), np.arange(80) % 2)


def dense(*last, inputs=(8, 8, 1)):
    """A Sequential model with these layers at its end."""
    return keras.Sequential([keras.Input(inputs), layers.Rescaling(1 / 16), layers.Flatten(), *last])


def recipe(model, of=DIGITS, **fields) -> kopt.Recipe:
    return kopt.Recipe("given", of, model=model, **{"training": TRAINING} | fields)


def ran(model, tmp_path, of=DIGITS, **fields) -> kopt.report.Run:
    return kopt.run(recipe(model, of, **fields), folder=tmp_path, verbose=False)


def trained(model, of=DIGITS, **fields) -> Trial:
    """Train without a folder, a baseline and a report."""
    whole = recipe(model, of, **fields)
    _, splits, whole = prepared(whole, whole.data.load())
    return trial(whole, splits)


def build(inputs, outputs):
    return dense(layers.Dense(outputs, "softmax", name="out"), inputs=inputs)


def operation(model):
    return keras.Model(model.inputs[0], ops.softmax(model.outputs[0]))


ENDS = {
    "logits": lambda: dense(layers.Dense(10)),
    "softmax": lambda: dense(layers.Dense(10, "softmax")),
    "a Softmax layer": lambda: dense(layers.Dense(10), layers.Softmax()),
    "an Activation": lambda: dense(layers.Dense(10), layers.Activation("softmax")),
    "an operation": lambda: operation(dense(layers.Dense(10))),
    "in a model": lambda: dense(keras.Sequential([keras.Input((64,)), layers.Dense(10, "softmax")])),
    "functional": lambda: (lambda one: keras.Model(one.inputs[0], one.outputs[0]))(dense(layers.Dense(10, "softmax"))),
    "a named output": lambda: (lambda one: keras.Model(one.inputs[0], {"kind": one.outputs[0]}))(ENDS["softmax"]()),
    "a function": lambda: build,
}


@pytest.mark.parametrize("end", ENDS)
def test_the_loss_is_from_logits_however_the_model_ends(end: str) -> None:
    """All train alike: as a model that ends in logits, and not with a softmax of a softmax."""
    if "logits" not in TRAINED:
        TRAINED["logits"] = trained(ENDS["logits"]())
    found, expected = trained(ENDS[end]()), TRAINED["logits"]
    np.testing.assert_allclose(found.history["loss"], expected.history["loss"], rtol=1e-5)
    assert found.test == pytest.approx(expected.test, rel=1e-5)


TRAINED: dict[str, Trial] = {}


def test_the_folder_has_the_config_and_the_model(tmp_path) -> None:
    done = ran(build, tmp_path)
    saved = json.loads((done.folder / "recipe.json").read_text())["recipe"]["config"]["model"]["config"]
    assert saved["inputs"] == [8, 8, 1] and saved["outputs"] == 10 and saved["ended"] == "softmax"
    assert kopt.load_model(done.folder / "model.keras").output_shape == (None, 10)
    assert kopt.report.read_run(done.folder).recipe == done.recipe
    assert len((done.folder / "README.md").read_text()) < 4000 < len(done.recipe.model.config) * 4
    # A run that is begun anew from its folder does not call the function, which has drawn weights.
    assert done.history["loss"] == trained(done.recipe.model).history["loss"].tolist()


@pytest.mark.parametrize("activation", ["sigmoid", None])
def test_one_output_is_the_logits_of_two_classes(activation, tmp_path) -> None:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1, activation)])
    value = of_keras(model, weights=saved_weights(model, tmp_path))
    x, y = TWO.load().train
    logits, theirs = value.build()(x), model(x) if activation else ops.sigmoid(model(x))
    np.testing.assert_allclose(ops.softmax(logits)[:, 1:], theirs, atol=1e-6)
    own = float(keras.losses.BinaryCrossentropy()(y[:, None], theirs))
    assert float(value.loss()(y, logits)) == pytest.approx(own, rel=1e-5)
    assert value.outputs == 2 and np.isfinite(trained(model, TWO).test["loss"])


def saved_weights(model, folder):
    path = str(folder / "start.weights.h5")
    model.save_weights(path)
    return path


def test_outputs_of_numbers_are_left_as_they_are() -> None:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1, "sigmoid")])
    value = of_keras(model, task="regression")
    assert value.ended == "sigmoid" and value.outputs == 1 and len(value.notes()) == 1
    assert value.build().layers[-1].activation is keras.activations.sigmoid


REFUSED = [
    (lambda: keras.Sequential([keras.Input((4,)), layers.Dense(3, "sigmoid")]), "must end in logits or in softmax"),
    (lambda: keras.Sequential([keras.Input((4,)), layers.Dense(3, "relu")]), "must end .*, got 'relu over 3'"),
    (lambda: keras.Sequential([keras.Input((4,)), layers.Dense(1, "tanh")]), "must end in logits or in sigmoid"),
    (lambda: on_four(lambda x: ops.softmax(layers.Dense(3)(x)) * 1.0), "not in probabilities by another way"),
    (lambda: on_four(lambda x: ops.sigmoid(layers.Dense(1)(x)) * 1.0), "not in probabilities by another way"),
    (
        lambda: keras.Sequential([keras.Input((4,)), layers.Normalization(), layers.Dense(3)]),
        "give Normalization its mean=",
    ),
    (lambda: on_four(layers.Softmax(axis=1)), "must end in logits .*, got 'softmax over axis 1 over 4'"),
    (lambda: on_four(twice(layers.Dense(4, "softmax"))), "must end in a layer that is called once .*, got 2"),
    (lambda: keras.Sequential([layers.Dense(3)]), "must be built: let it begin with keras.Input"),
    (lambda: keras.Model([keras.Input((4,)), (x := keras.Input((4,)))], x), r"must have one input .*, got \(2, 1\)"),
]


def twice(layer):
    return lambda x: layer(layer(x))


def on_four(rest):
    x = keras.Input((4,))
    return keras.Model(x, rest(x))


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_what_the_loss_or_the_config_cannot_take_is_refused_in_one_sentence(make, message: str) -> None:
    with pytest.raises(ValueError, match=f"^model .*{message}") as caught:
        of_keras(make())
    assert "\n" not in str(caught.value)


class Own(layers.Layer):
    """A layer that is not registered."""

    def call(self, x):
        return x


class Subclass(keras.Model):
    """A model of a user's."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)

    def call(self, x):
        return self.dense(x)


def subclass():
    model = Subclass()
    model(np.zeros((1, 4), "float32"))
    return model


UNSAVED = [
    (lambda: keras.Sequential([keras.Input((4,)), layers.Lambda(lambda x: x), layers.Dense(3)]), "a lambda"),
    (lambda: keras.Sequential([keras.Input((4,)), layers.Dense(3, lambda x: x)]), "holds no Python code"),
    (lambda: keras.Sequential([keras.Input((4,)), Own(), layers.Dense(3)]), "'Own' is not registered"),
    (subclass, "a subclass of keras.Model"),
    (lambda: Subclass(), "a subclass of keras.Model"),  # whether it is built or not
]


@pytest.mark.parametrize(("make", "why"), UNSAVED)
def test_what_has_no_config_is_refused_and_shown_the_model_value(make, why: str) -> None:
    with pytest.raises(
        ValueError, match=f"^model must be a model that Keras can save by its config, .*: .*{why}"
    ) as caught:
        recipe(make())
    sentence, code = str(caught.value).split("\n", 1)
    assert sentence.endswith(".") and code == EXAMPLE and len(EXAMPLE.strip().splitlines()) == 7


def test_the_seven_lines_are_those_that_the_docs_run() -> None:
    page = pathlib.Path(kopt.__file__).resolve().parent.parent / "docs" / "own_data.md"
    assert f"```python{EXAMPLE}" in page.read_text()


def test_weights_are_fresh_by_the_seed_and_it_is_said(caplog) -> None:
    model = dense(layers.Dense(10))
    caplog.set_level(logging.INFO, logger="kopt")
    first, again, other = (trained(model, seed=seed).history["loss"].tolist() for seed in (0, 0, 1))
    assert first == again != other
    said = [record.getMessage() for record in caplog.records if record.getMessage().startswith("model: the weights")]
    assert "fresh, by the recipe's seed: those of the model that was given are not used" in said[0]


def test_a_trained_model_must_say_what_becomes_of_its_weights(tmp_path) -> None:
    model = dense(layers.Dense(10, "softmax"))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(*DIGITS.load().train, verbose=0)
    with pytest.raises(
        ValueError, match="^weights must be 'fresh', or a file of model.save_weights, for a model that was"
    ):
        recipe(model)
    with pytest.raises(ValueError, match="^weights must be 'fresh' or a file that .*, got 'no.weights.h5'"):
        of_keras(model, weights="no.weights.h5")
    assert of_keras(model, weights="fresh").weights is None
    value = of_keras(model, weights=saved_weights(model, tmp_path))
    x = DIGITS.load().test.x
    np.testing.assert_allclose(ops.softmax(value.build()(x)), model(x), atol=1e-6)
    assert value.notes()[0].startswith("the weights are those of ")
    assert trained(value).history["loss"][0] < trained(of_keras(model, weights="fresh")).history["loss"][0]


def test_it_survives_json_and_a_config_with_foreign_code_is_refused(tmp_path, monkeypatch) -> None:
    value = of_keras(dense(layers.Dense(10, "softmax")))
    assert from_json(to_json(value)) == value
    imported = []
    monkeypatch.setattr("importlib.import_module", lambda name, *more: imported.append(name))
    for part in (
        {"module": "os", "class_name": "system", "config": {}, "registered_name": None},
        {"module": "builtins", "class_name": "function", "config": "eval", "registered_name": "function"},
        {"class_name": "__lambda__", "config": {"value": "4wE="}},
    ):
        form = json.loads(value.config)
        form["config"]["layers"][-1] = part
        with pytest.raises(ValueError, match="^model must be a model that Keras can save by its config"):
            replace(value, {"config": json.dumps(form)}).build()
    assert imported == []


def test_layers_with_dtypes_of_their_own_refuse_another_precision() -> None:
    mixed = recipe(dense(layers.Dense(10)), training=kopt.Training(epochs=1, precision="mixed_bfloat16"))
    with pytest.raises(ValueError, match="^precision must be 'float32' for a Keras model, .*, got 'mixed_bfloat16'"):
        trained(mixed.model, training=mixed.training)


def test_wrong_shapes_of_a_keras_model_are_refused_with_both() -> None:
    with pytest.raises(ValueError, match=r"^model.inputs must be \(8, 8, 1\) for these data, got \(4,\)"):
        trained(keras.Sequential([keras.Input((4,)), layers.Dense(10)]))
    with pytest.raises(ValueError, match="^model.outputs must be >= 10, the classes of these data, got 3"):
        trained(dense(layers.Dense(3)))
    any_size = dense(layers.Reshape((8, 8, 1)), layers.Conv2D(4, 3), layers.GlobalMaxPooling2D(), layers.Dense(10))
    assert of_keras(any_size).inputs == (8, 8, 1)
    free = keras.Sequential([keras.Input((None, None, 1)), layers.GlobalMaxPooling2D(), layers.Dense(10)])
    assert of_keras(free).inputs == (None, None, 1) and trained(free).test["accuracy"] >= 0


def test_outputs_of_rows_of_rows_are_refused() -> None:
    ends = [keras.layers.Reshape((4, 1)), keras.layers.Dense(3)]
    for task in ("classification", "regression"):
        with pytest.raises(ValueError, match=f"^model must have outputs of .rows, numbers. for {task}, as after keras"):
            models.of_keras(keras.Sequential([keras.Input((4,)), *ends]), task=task)


def test_functions() -> None:
    value = as_model(build, "classification")
    assert as_model(build, "classification") == value and recipe(build).model == value

    def same_name():
        def build(inputs, outputs):
            return None

        return build

    one, other = as_model(same_name(), "regression"), as_model(same_name(), "regression")
    assert one != other and str(other.function).endswith(" 2")
    with pytest.raises(ValueError, match=r"^model must be a function of \(inputs, outputs\), got .*lambda"):
        as_model(lambda inputs: None, "classification")
    with pytest.raises(ValueError, match="^model must be a function that returns a Keras model, .*, got None"):
        trained(lambda inputs, outputs: None)
    with pytest.raises(ValueError, match="^model must be a function that was given to a recipe in this process"):
        trained(models.OfFunction("nowhere.build"))
    with pytest.raises(ValueError, match="^model must be built by a recipe, whose data give"):
        value.build()
    with pytest.raises(ValueError, match="^model must be a Model or None, got "):
        recipe(models.MLP)


def test_a_table_by_name_is_encoded_for_a_function(tmp_path) -> None:
    rows = {"size": np.arange(60.0), "kind": np.array(list("ab"), object)[np.arange(60) % 2]}
    function = lambda inputs, outputs: keras.Sequential([keras.Input(inputs), layers.Dense(outputs)])
    done = ran(function, tmp_path, data.arrays(rows, np.arange(60) % 2))
    assert done.recipe.model.inputs == (4,) and set(kopt.load_model(done.folder / "model.keras").input) == {
        "size",
        "kind",
    }
