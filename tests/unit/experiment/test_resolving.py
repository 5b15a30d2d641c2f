"""What a recipe leaves open: its model, and the sizes of a model."""

import json

import keras
import numpy as np
import pytest

import kopt
from kopt import data, models
from kopt.experiment.ablation import ablate
from kopt.experiment.resolving import chosen, resolved
from kopt.models.base import choices
from kopt.values.field_paths import replace

RANDOM = np.random.default_rng(0)
N = 60
Y, NUMBERS = np.arange(N) % 3, RANDOM.normal(size=N) * 1e5 + 3e5
TABLE = {"size": RANDOM.normal(size=N), "kind": np.array(list("abc"))[Y]}
TEXTS = np.array(["good food", "bad food", "no food"], object)[Y]
CASES = [
    ("a table, classes", data.arrays(TABLE, Y), models.MLP, {"bins": 16}),
    ("a table, numbers", data.arrays(TABLE, NUMBERS), models.MLP, {"task": "regression"}),
    ("numbers, classes", data.arrays(RANDOM.normal(size=(N, 4)), Y), models.MLP, {"standardize": True, "inputs": (4,)}),
    ("numbers, numbers", data.arrays(RANDOM.normal(size=(N, 4)), NUMBERS), models.MLP, {"task": "regression"}),
    (
        "numbers, the next ones",
        data.arrays(RANDOM.normal(size=(N, 4)), RANDOM.normal(size=(N, 2)), task="forecast"),
        models.MLP,
        {"task": "forecast", "outputs": 2},
    ),
    ("images", data.Digits(examples=N), models.ConvNet, {"inputs": (8, 8, 1), "outputs": 10}),
    ("small images", data.arrays(RANDOM.normal(size=(N, 4, 4, 1)), Y), models.MLP, {"inputs": (4, 4, 1)}),
    ("texts", data.arrays(TEXTS, Y), models.TextBag, {"outputs": 3}),
    (
        "windows",
        data.arrays(RANDOM.normal(size=(N, 9, 2)), RANDOM.normal(size=(N, 4)), task="forecast"),
        models.ForecastMLP,
        {"inputs": (9, 2), "outputs": 4},
    ),
    ("pairs", data.Ratings(examples=3000), models.Factorization, {}),
    ("items", data.Likes(examples=100), models.Autoencoder, {}),
    ("characters", data.Characters(32, examples=60), models.CharGRU, {"length": 32}),
]


@pytest.mark.parametrize(("made", "kind", "fields"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_model_is_chosen_for_the_task_and_the_kind_of_data(made, kind, fields) -> None:
    recipe = kopt.Recipe("mine", made)
    whole = chosen(recipe, made.load())
    assert type(whole.model) is kind and recipe.model is None
    sized = resolved(whole, kopt.experiment.serving.encoded(whole, made.load())[1]).model
    assert sized.open_sizes() == [] and {name: getattr(sized, name) for name in fields} == fields
    if "regression" in (sized.task, made.task) and kind is models.MLP:
        assert sized.start == pytest.approx(NUMBERS.mean(), rel=0.2) and sized.spread == pytest.approx(1e5, rel=0.5)


def test_a_kind_and_a_task_have_one_usual_model() -> None:
    cases = [case for kind in models.registry.values() for case in kind.suits]
    assert len(cases) == len(set(cases)) == len(choices()) > 8
    for (_, task), model in choices().items():
        assert model.task == task


def test_data_without_a_usual_model_are_refused() -> None:
    recipe = kopt.Recipe("mine", data.arrays(TEXTS, NUMBERS))
    with pytest.raises(ValueError, match="^model must be given for regression on texts, .*no usual one, got None"):
        chosen(recipe, recipe.data.load())


def test_sizes_that_are_given_and_wrong_are_refused_with_both_numbers() -> None:
    named = data.arrays(RANDOM.normal(size=(N, 4)), np.array(["a", "b", "c"], object)[Y])
    for model, message in (
        (models.MLP((5,)), "model.inputs must be (4,) for these data, got (5,)."),
        (models.MLP(outputs=2), "model.outputs must be >= 3, the classes of these data, got 2."),
        (models.MLP(outputs=4), "model.outputs must be 3, the classes of these data, got 4."),
    ):
        recipe = kopt.Recipe("mine", named, model=model)
        with pytest.raises(ValueError) as caught:
            resolved(recipe, named.load())
        assert str(caught.value) == message


def test_variants_of_a_recipe_have_encoders_of_their_own() -> None:
    recipe = kopt.Recipe("mine", data.arrays(TABLE, Y), training=kopt.Training(epochs=1))
    found = list(ablate(recipe, {"as it is": [{}], "fewer bins": [{"model.bins": 2}]}, seeds=1))
    assert found[0].trials[0].test["loss"] != found[1].trials[0].test["loss"]


def test_the_default_schedule_fits_runs_of_any_length() -> None:
    for epochs in (1, 2, 300):
        recipe = kopt.Recipe("mine", data.Digits(), training=kopt.Training(epochs=epochs))
        assert repr(recipe.schedule) == "Cosine(0.001).warmup(0.5)"


def test_numbers_are_standardized_in_the_model_and_targets_have_a_spread() -> None:
    x = RANDOM.normal(size=(50, 2, 3)).astype("float32") * [1.0, 1e4, 0.0] + 7
    model = models.MLP((2, 3), 1, standardize=True, task="regression", start=300.0, spread=50.0)
    encoder = model.encoder(x)
    found = np.asarray(encoder(x))
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(found.std(0), [[1, 1, 0]] * 2, atol=1e-3)
    again = keras.Model.from_config(json.loads(json.dumps(encoder.get_config())))
    np.testing.assert_array_equal(again(x), found)
    network = model.build()
    assert float(network(np.zeros((1, 2, 3), "float32"))[0, 0]) == 300.0
    assert len(network.layers) == len(replace(model, {"spread": 1.0}).build().layers) + 1
    with pytest.raises(ValueError, match="^spread must be > 0, got 0.0"):
        models.MLP(spread=0)


def test_a_search_finds_sizes_trial_by_trial_and_chooses_the_model_before() -> None:
    ranges = {"model.bins": kopt.tuning.Choice((0, 4)), "schedule.rate": kopt.tuning.Range(1e-3, 1e-2)}
    recipe = kopt.Recipe("mine", data.arrays(TABLE, Y))
    hypermodel = kopt.tuning.HyperModel(recipe, ranges)
    import keras_tuner

    shapes = {}
    for bins in (0, 4):
        hp = keras_tuner.HyperParameters()
        hp.Fixed("model.bins", bins)
        shapes[bins] = hypermodel.build(hp).input_shape
    assert shapes[4][1] == shapes[0][1] + 4
    with pytest.raises(ValueError, match="^value must have its inputs and outputs, for it brings no data, got MLP"):
        kopt.tuning.HyperModel(models.MLP(), {"dropout": kopt.tuning.Range(0, 0.5)})
