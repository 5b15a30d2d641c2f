"""Several seeds of a recipe, and the ensemble of them."""

import json

import keras
import numpy as np
import pytest

from kopt import data, models, schedules
from kopt.experiment.recipe import Recipe, Training
from kopt.tuning import population

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
    chosen = sorted(repeated.runs, key=lambda run: -run.history["val_accuracy"][-1])[:3]
    outputs = [keras.ops.softmax(run.model()(x, training=False)) for run in chosen]
    np.testing.assert_allclose(whole(x), np.mean(outputs, 0), atol=1e-6)
    config = json.dumps(keras.saving.serialize_keras_object(whole))
    assert "kopt" not in config.replace("ensemble", "")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "ensemble.keras")(x), whole(x))


def test_refusals(repeated) -> None:
    with pytest.raises(ValueError, match="seeds must be one or more, got 0"):
        population.repeat(SMALL, 0)
    with pytest.raises(ValueError, match="runs must be one or more, got 0"):
        population.ensemble([])
    with pytest.raises(ValueError, match="best must be >= 1, got 0"):
        population.ensemble(repeated.runs, best=0)
