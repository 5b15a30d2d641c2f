"""Tuner.ensemble: the best trials of a search as one Keras model."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kopt
from kopt import data, models, schedules
from kopt.tuning import Choice, HyperModel, Range, Tuner

DIGITS = kopt.Recipe(
    "digits",
    data.Digits(examples=100),
    model=models.MLP((8, 8, 1), 10, units=(8,), scale=1 / 16),
    schedule=schedules.Constant(0.02),
    training=kopt.Training(epochs=2, batch_size=32),
)
TEXT = kopt.values.replace(
    DIGITS, {"data": data.Reviews(examples=100), "model": models.TextBag(2, vocabulary=60, length=20, width=4)}
)
DROPOUT = {"dropout": Range(0.0, 0.5)}
RATES = {"schedule.rate": Range(1e-3, 1e-1, log=True)}


def searched(folder, recipe, ranges, **how) -> Tuner:
    how = {"max_trials": 4, "sampler": "random", "keep": 3, "seed": 0} | how
    tuner = Tuner(HyperModel(recipe, ranges, jit=False), f"val_{recipe.data.score().name}", directory=folder, **how)
    tuner.search(verbose=0)
    return tuner


@pytest.fixture(scope="module")
def tuner(tmp_path_factory: pytest.TempPathFactory) -> Tuner:
    return searched(tmp_path_factory.mktemp("search"), DIGITS, RATES, population=4)


def test_the_mean_of_the_best_trials_probabilities_in_plain_keras(tuner, tmp_path) -> None:
    whole, x = tuner.ensemble(2), DIGITS.data.load().test.x[:9]
    outputs = [keras.ops.softmax(model(x, training=False)) for model in tuner.get_best_models(2)]
    np.testing.assert_allclose(whole(x), np.mean(outputs, 0), atol=1e-6)
    whole.save(tmp_path / "ensemble.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "ensemble.keras")(x), whole(x))


def test_trials_have_their_own_encoders(tmp_path) -> None:
    tuner = searched(tmp_path, TEXT, {"model.vocabulary": Choice([60, 600])}, max_trials=2, sampler="grid")
    x, outputs = TEXT.data.load().test.x[:5], []
    for trial, model in zip(tuner.oracle.get_best_trials(2), tuner.get_best_models(2)):
        encoder, _ = tuner.hypermodel.encoded(tuner.hypermodel.space.fill(trial.hyperparameters))
        assert encoder is not None
        outputs.append(keras.ops.softmax(model(encoder(tf.constant(x)), training=False)))
    np.testing.assert_allclose(tuner.ensemble()(tf.constant(x)), np.mean(outputs, 0), atol=1e-6)


def test_refusals(tuner, tmp_path) -> None:
    for best in (0, 4, 1.5, True, "2"):
        with pytest.raises(ValueError, match=f"best must be a whole number from 1 to keep = 3, got {best!r}"):
            tuner.ensemble(best)
    of_models = Tuner(HyperModel(models.MLP((4,), 3), DROPOUT), "val_loss", directory=tmp_path / "models")
    with pytest.raises(ValueError, match=r"ensemble\(\) must be of a search over a recipe, got 'HyperModel'"):
        of_models.ensemble()
    of_folds = Tuner(HyperModel(DIGITS, RATES), "val_loss", folds=2, directory=tmp_path / "folds")
    with pytest.raises(ValueError, match="folds must be 1 for an ensemble, whose trials have the same examples, got 2"):
        of_folds.ensemble()
    empty = Tuner(HyperModel(DIGITS, RATES), "val_loss", directory=tmp_path / "empty")
    with pytest.raises(ValueError, match=r"ensemble\(\) must be of one or more trials with a score, got 0"):
        empty.ensemble()


def test_trials_on_other_data_are_refused(tmp_path) -> None:
    tuner = searched(tmp_path, DIGITS, {"data.examples": Choice([80, 100])}, max_trials=2, sampler="grid")
    with pytest.raises(ValueError, match=r"ensemble\(\) must be of trials on the same data, Digits\("):
        tuner.ensemble()
