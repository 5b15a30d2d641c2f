"""Population based training: the found schedule replays, who copies whom, and the bandit's model of gains."""

import keras
import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

from kopt import data, distribute, models, rules, schedules
from kopt.experiment.recipe import Recipe, Training
from kopt.experiment.run import build, train
from kopt.experiment.serving import prepared
from kopt.tuning import Range, population
from kopt.tuning.population.bandit import BOUND, LENGTH, NOISE, upper_bound
from kopt.tuning.population.pbt import PB2, PBT
from kopt.tuning.population.training import with_model
from kopt.values.field_paths import replace

SMALL = Recipe(
    "pbt",
    data.Digits(examples=120),
    model=models.MLP((8, 8, 1), 10, units=(8,), dropout=0.1, scale=1 / 16),
    schedule=schedules.Cosine(1e-3),
    rule=rules.AdamW(weight_decay=0.01),
    training=Training(epochs=5, batch_size=16),
    devices="cpu",
)
RANGES = {"schedule.rate": Range(1e-4, 0.1, log=True), "rule.weight_decay": Range(1e-3, 1, log=True)}


class Undirected(data.Digits):
    """Digits of which nothing says whether more of the score is better."""

    direction = "up"  # type: ignore[assignment]


@pytest.mark.parametrize("pbt", [PBT(), PB2(every=2)])
def test_a_plain_run_replays_what_was_found(pbt) -> None:
    found = population.evolve(SMALL, RANGES, members=5, pbt=pbt, jit=False)
    assert len(found.numbers["schedule.rate"]) == 5 and len(found.runs) == 5
    assert len(set(found.numbers["schedule.rate"])) > 1  # its line has copied another
    _, splits, whole = prepared(found.recipe, found.recipe.data.load())
    recipe = with_model(found.recipe, whole)
    keras.utils.set_random_seed(recipe.seed)
    model = build(recipe, splits, distribute.strategy("cpu"))
    history = train(recipe, model, splits, verbose=False, jit=False, callbacks=found.callbacks()).history
    for name in ("loss", "val_loss", "val_accuracy", "learning_rate"):
        np.testing.assert_allclose(history[name], found.run.history[name], rtol=1e-4, atol=1e-6)
    for variable, value in zip(model.trainable_variables, found.run.values):
        np.testing.assert_allclose(variable, value, atol=1e-5)


def test_the_worst_copy_the_best() -> None:
    random = np.random.default_rng(0)
    copies = PBT(share=0.25).copies([0.1, float("nan"), 0.9, 0.8, 0.5, 0.6, 0.7, 0.4], random)
    assert set(copies) == {0, 1} and set(copies.values()) <= {2, 3}
    assert PBT().copies([1.0, 1.0, 1.0, 1.0], random) == {}  # nobody is better


def test_numbers_stay_in_their_range() -> None:
    random = np.random.default_rng(0)
    allowed = {"a": Range(1.0, 2.0)}
    found = [PBT(resample=0.5).explore({"a": 1.9}, allowed, 1, [], random)["a"] for _ in range(200)]
    assert 1 <= min(found) < 1.2 and max(found) == 2.0


def test_the_bound_is_that_of_a_gaussian_process() -> None:
    random = np.random.default_rng(0)
    known, gains, points = random.random((12, 2)), random.random(12), random.random((5, 2))
    scaled = (gains - gains.mean()) / gains.std()
    oracle = GaussianProcessRegressor(RBF(LENGTH), alpha=NOISE, optimizer=None).fit(known, scaled)
    mean, spread = oracle.predict(points, return_std=True)
    found = upper_bound(points, 3, known, np.full(12, 3.0), gains, 0.1)
    np.testing.assert_allclose(found, mean + BOUND * spread, rtol=1e-6)
    older = upper_bound(points, 9, known, np.full(12, 3.0), gains, 0.5)
    assert np.all(np.abs(older - BOUND) < np.abs(found - BOUND) + 0.3)  # old gains say little


@pytest.mark.parametrize(
    ("recipe", "ranges", "options", "said"),
    [
        (SMALL, {}, {}, "ranges must be of numbers among schedule.rate, "),
        (SMALL, {"model.dropout": Range(0, 0.5)}, {}, "ranges must be of numbers among schedule.rate, "),
        (SMALL, {"schedule.rate": (0.1, 0.2, 0.3)}, {}, "schedule.rate must have a Range, got "),
        (SMALL, [0.1], {}, r"ranges must be a mapping from paths to ranges, got \[0.1\]"),
        (SMALL, RANGES, {"pbt": "PBT"}, r"pbt must be PBT\(...\) or PB2\(...\), got 'PBT'"),
        (SMALL, RANGES, {"jit": "yes"}, "jit must be 'auto', True or False, got 'yes'"),
        (SMALL, RANGES, {"vectorize": "yes"}, "vectorize must be None, True or False, got 'yes'"),
        (replace(SMALL, {"data": Undirected(examples=120)}), RANGES, {}, "data.direction must be 'max' or 'min', got "),
        (SMALL, RANGES, {"members": 1}, "members must be a whole number >= 2, got 1"),
        (SMALL, RANGES, {"members": 4.5}, "members must be a whole number >= 2, got 4.5"),
        (
            SMALL,
            RANGES,
            {"members": 10**12},
            "members must be <= [0-9]+, which a quarter of the free memory holds, got 1",
        ),
        (SMALL, {"rule.beta_1": Range(0.5, 1.5)}, {}, r"beta_1 must be in \[0, 1\), got 1.5"),
        (replace(SMALL, {"training.patience": 2}), RANGES, {}, "patience must be None for a population, got 2"),
    ],
)
def test_refusals(recipe, ranges, options, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        population.evolve(recipe, ranges, **options)
