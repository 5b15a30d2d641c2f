"""Several seeds of a recipe, and the ensemble of them."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt import data, models, schedules
from kopt.experiment.recipe import Recipe, Training
from kopt.tuning import population
from kopt.tuning.population.member_run import Member, member_of
from kopt.values.field_paths import replace

SMALL = Recipe(
    "seeds",
    data.Digits(examples=120),
    model=models.MLP((8, 8, 1), 10, units=(8,), scale=1 / 16),
    schedule=schedules.Constant(0.01),
    training=Training(epochs=3, batch_size=16),
)


@pytest.fixture(scope="module")
def repeated() -> population.Repeated:
    return population.repeat(SMALL, 4, jit=False)


def test_mean_and_spread(repeated) -> None:
    values = [run.metrics["value"] for run in repeated.runs]
    assert [run.recipe.seed for run in repeated.runs] == [0, 1, 2, 3]
    np.testing.assert_allclose([repeated.mean, repeated.spread], [np.mean(values), np.std(values, ddof=1)])
    assert repeated.figure().axes[0].get_xlabel() == "accuracy on the test split"


def test_the_ensemble_averages_probabilities_in_plain_keras(repeated, tmp_path) -> None:
    whole = population.ensemble(repeated.runs, best=3)
    whole.save(tmp_path / "ensemble.keras")
    x = SMALL.data.load().test.x[:9]
    chosen = sorted(repeated.runs, key=lambda run: -run.validation)[:3]
    outputs = [keras.ops.softmax(run.model()(x, training=False)) for run in chosen]
    np.testing.assert_allclose(whole(x), np.mean(outputs, 0), atol=1e-6)
    config = json.dumps(keras.saving.serialize_keras_object(whole))
    assert "kopt" not in config.replace("ensemble", "")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "ensemble.keras")(x), whole(x))


def test_each_member_of_an_ensemble_has_its_own_encoder(tmp_path) -> None:
    """Vocabularies of 60 and of 600 words, where the same texts are other numbers; two members share the first one."""
    text = models.TextBag(2, vocabulary=60, length=20, width=4)
    small = replace(SMALL, {"data": data.Reviews(examples=120), "model": text, "training.epochs": 1})
    others = [replace(small, {"schedule.rate": 0.02}), replace(small, {"model.vocabulary": 600})]
    runs = population.train([small, *others], jit=False)
    assert runs[0].encoder is runs[1].encoder and runs[2].encoder is not runs[0].encoder
    x = tf.constant(small.data.load().test.x[:5])
    outputs = [keras.ops.softmax(run.model()(run.encoder(x), training=False)) for run in runs]
    whole = population.ensemble(runs)
    np.testing.assert_allclose(whole(x), np.mean(outputs, 0), atol=1e-6)
    whole.save(tmp_path / "ensemble.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "ensemble.keras")(x), whole(x))


def member(scores: list[float], patience: int | None) -> Member:
    recipe = replace(SMALL, {"training.patience": patience})
    return member_of(recipe, {"val_accuracy": scores}, {"accuracy": 0.5, "loss": 1.0}, [], None, None, 0.0)


def test_the_score_is_that_of_the_trained_weights() -> None:
    """Patience keeps the weights of the best epoch; else they are those of the last one."""
    scores = [0.2, 0.9, float("nan"), 0.4]
    assert member(scores, None).validation == 0.4 and member(scores, 2).validation == 0.9
    assert np.isnan(member([float("nan")], 2).validation)


def test_a_member_without_a_score_is_the_last_of_an_ensemble(repeated) -> None:
    first, history = repeated.runs[0], {"val_accuracy": [float("nan")]}
    scores, values = {"accuracy": 0.1, "loss": 1.0}, [0 * value for value in first.values]
    broken = member_of(first.recipe, history, scores, values, first.splits, None, 0.0)
    whole = population.ensemble([broken, *repeated.runs[1:]], best=1)
    best = max(repeated.runs[1:], key=lambda run: run.validation)
    x = SMALL.data.load().test.x[:5]
    np.testing.assert_allclose(whole(x), keras.ops.softmax(best.model()(x)), atol=1e-6)


def test_refusals(repeated) -> None:
    with pytest.raises(ValueError, match=r"seeds must be one or more, got \[\]"):
        population.repeat(SMALL, [])
    for seeds in (0, -1, 2.5, True, "12"):
        said = f"seeds must be a whole number >= 1 or a sequence of seeds, got {seeds!r}"
        with pytest.raises(ValueError, match=said):
            population.repeat(SMALL, seeds)
    with pytest.raises(ValueError, match="runs must be one or more, got 0"):
        population.ensemble([])
    for best in (0, 2.5, "3", True):
        with pytest.raises(ValueError, match=f"best must be a whole number >= 1, got {best!r}"):
            population.ensemble(repeated.runs, best=best)
