"""Populations: averages, augmentation, early stopping and uneven batches; groups; what is refused."""

import concurrent.futures

import keras
import numpy as np
import pytest
from keras.src.random import seed_generator as keras_random
from tensorflow.python.framework import ops

from kopt import augment, data, models, regularizers, rules, schedules
from kopt.callbacks import EMA, LAWA, SWA
from kopt.experiment.recipe import Recipe, Training
from kopt.experiment.serving import prepared
from kopt.keras_internals import name_of
from kopt.training import clips
from kopt.training.execute.compile_cache import named
from kopt.tuning import Range, population
from kopt.tuning.population import programs, training
from kopt.tuning.population.population import Population, filled, halved
from kopt.tuning.population.structure import groups_of
from kopt.tuning.population.training import alone, with_model
from kopt.values.field_paths import replace

BASE = Recipe(
    "law",
    data.Digits(examples=100),
    model=models.MLP((8, 8, 1), 10, units=(8,), dropout=0.1, scale=1 / 16),
    schedule=schedules.Cosine(1e-2).warmup(0.5),
    rule=rules.AdamW(weight_decay=0.01),
    clip=clips.GlobalNorm(0.5),
    regularizer=regularizers.L2(1e-3),
    average=EMA(0.9),
    augment=augment.Shift(0.1),
    training=Training(epochs=6, batch_size=16, patience=2),
    devices="cpu",
)
OTHER = {"seed": 3, "schedule.rate": 0.03, "clip.limit": 0.2, "average.decay": 0.8, "training.patience": 1}
PLAIN = replace(BASE, {"augment": None, "training.patience": None, "training.epochs": 2, "average": None})


def require_same(recipes, runs) -> None:
    encoder, splits, whole = prepared(recipes[0], recipes[0].data.load())
    for one, run in zip(recipes, runs):
        expected = alone(with_model(one, whole), splits, encoder, False)
        assert len(run.history["loss"]) == len(expected.history["loss"]) and list(run.history) == list(expected.history)
        for name in expected.history.keys() - {"seconds"}:
            np.testing.assert_allclose(run.history[name], expected.history[name], rtol=1e-5, atol=1e-6, err_msg=name)
        for found, value in zip(run.values, expected.values):
            if value.dtype.kind != "f":
                continue  # a seed: a member's is that of its best epoch
            np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-6)
        for name in ("value", "loss"):
            np.testing.assert_allclose(run.metrics[name], expected.metrics[name], rtol=1e-5)


def test_all_parts_of_a_recipe_with_early_stopping() -> None:
    recipes = [BASE, replace(BASE, OTHER), replace(BASE, {"seed": 1, "schedule.rate": 1e-5})]
    runs = population.train(recipes, jit=False)
    assert len({len(run.history["loss"]) for run in runs}) > 1  # they stop at different epochs
    require_same(recipes, runs)


def test_an_average_over_epochs_in_turn_and_mapped() -> None:
    one = replace(PLAIN, {"average": SWA(0.5), "training.epochs": 4})
    recipes = [one, replace(one, {"seed": 1, "average.start": 0.75})]
    runs = population.train(recipes, jit=False, vectorize=False)
    require_same(recipes, runs)
    for found, run in zip(population.train(recipes, jit=False, vectorize=True), runs):
        np.testing.assert_allclose(found.history["val_loss"], run.history["val_loss"], rtol=1e-5)


def test_xla_gives_the_same_without_random_numbers_by_programs_of_the_same_names(monkeypatch) -> None:
    one = replace(PLAIN, {"model.dropout": 0.0})
    recipes = [one, replace(one, {"seed": 1, "schedule.rate": 0.003})]
    names: list[str] = []
    monkeypatch.setattr(programs, "named", lambda function: recorded(names, named(function)))
    plain, compiled, again = (population.train(recipes, jit=jit, vectorize=True) for jit in (False, True, True))
    for one_run, other, same in zip(plain, compiled, again):
        np.testing.assert_allclose(one_run.values[0], other.values[0], atol=1e-5)
        np.testing.assert_array_equal(other.values[0], same.values[0])
    assert len(names) == 6 and names[:3] == names[3:]  # by their content, by which they are kept on disk


def recorded(names: list[str], function):
    names.append(name_of(function))
    return function


def test_a_member_that_is_not_finite_leaves_the_others_alone() -> None:
    one = replace(PLAIN, {"clip": None, "rule": rules.GradientDescent()})
    recipes = [one, replace(one, {"schedule.rate": 1e30})]
    sound, broken = population.train(recipes, jit=False)
    require_same(recipes[:1], [sound])
    assert not np.isfinite(broken.history["loss"][-1])


@keras.saving.register_keras_serializable(package="test_population_training")
class OfNumPy(keras.initializers.Initializer):
    """Starting values by NumPy's generator, which no seed of Keras decides."""

    def __call__(self, shape, dtype=None):
        return keras.ops.convert_to_tensor(np.random.normal(size=shape), dtype)


def test_starting_values_that_keras_does_not_draw_are_those_of_builds() -> None:
    layers = [keras.layers.Flatten(), keras.layers.Dense(10, kernel_initializer=OfNumPy())]
    model = models.of_keras(keras.Sequential([keras.Input((8, 8, 1)), *layers]))
    one = replace(PLAIN, {"model": model, "training.epochs": 1, "schedule.rate": 1e-4})
    recipes = [replace(one, {"seed": seed}) for seed in (0, 5, 2)]
    runs = population.train(recipes, jit=False)
    require_same(recipes, runs)
    assert not np.allclose(runs[0].values[0], runs[1].values[0])


def test_what_cannot_be_a_member_is_trained_alone(caplog) -> None:
    caplog.set_level("INFO", "kopt")
    one = replace(PLAIN, {"average": LAWA(2), "training.epochs": 1})
    runs = population.train([one, replace(PLAIN, {"training.epochs": 1})], jit=False)
    assert "recipes 0 are trained one after the other, for they have an average over a window of epochs" in caplog.text
    require_same([one], runs[:1])


@keras.saving.register_keras_serializable(package="test_population_training")
class Counting(keras.layers.Layer):
    """Counts its calls in a variable that all its models share, which no member can have of its own."""

    def call(self, x):
        CALLS.assign_add(1.0)
        return x


CALLS = keras.Variable(0.0)


def test_what_raises_an_error_together_is_trained_alone(caplog) -> None:
    caplog.set_level("INFO", "kopt")
    layers = [keras.layers.Flatten(), Counting(), keras.layers.Dense(10)]
    one = replace(PLAIN, {"model": models.of_keras(keras.Sequential([keras.Input((8, 8, 1)), *layers]))})
    recipes = [replace(one, {"seed": seed, "training.epochs": 1}) for seed in range(2)]
    runs = population.train(recipes, jit=False)
    said = "recipes 0, 1 are trained one after the other, for they have a Unmappable together: model must change its"
    assert said in caplog.text
    require_same(recipes, runs)
    with pytest.raises(ValueError, match="model must change its own variables alone, got 1 others"):
        population.train(recipes, jit=False, vectorize=True)


def test_the_parts_of_a_group_are_one_program_in_which_nothing_that_differs_is_constant(traces) -> None:
    """Within each part all have one beta_1; the last part is filled with its own member."""
    rates, betas = (0.01, 0.003, 0.02, 0.005, 0.03), (0.5, 0.5, 0.9, 0.9, 0.7)
    recipes = [
        replace(PLAIN, {"seed": seed, "schedule.rate": rate, "rule.beta_1": beta})
        for seed, (rate, beta) in enumerate(zip(rates, betas))
    ]
    runs = population.train(recipes, jit=False, members=2)
    assert sorted(traces) == ["test", "test", "train"]  # of the validation split and of the test split
    require_same(recipes, runs)


def test_a_recipe_that_no_other_one_is_like_is_trained_as_loop_does(traces, caplog) -> None:
    caplog.set_level("INFO", "kopt")
    one, other = replace(BASE, {"training.epochs": 3, "training.patience": 1}), replace(BASE, {"model.units": (4,)})
    runs = population.train([one, other], jit=False)
    assert traces == [] and "population: recipe 1 is trained alone, for no other one has its structure" in caplog.text
    for recipe, run in zip((one, other), runs):
        require_same([recipe], [run])
    np.testing.assert_array_equal(runs[1].model().get_weights()[0], runs[1].values[0])
    population.train([replace(PLAIN, {"training.epochs": 1})], vectorize=True, jit=False)  # asked for
    assert traces == ["train", "test", "test"]


def test_a_recipe_that_does_not_fit_the_data_is_refused_before_another_one_is_trained(monkeypatch) -> None:
    for name in ("together", "alone"):
        monkeypatch.setattr(training, name, lambda *given, **named: pytest.fail("trained"))
    wrong = replace(PLAIN, {"model": models.MLP((8, 8, 1), 5)})
    with pytest.raises(ValueError, match="model.outputs must be >= 10, the classes of these data, got 5"):
        population.train([PLAIN, replace(PLAIN, {"seed": 1}), wrong])


def test_no_graph_of_a_call_stays_in_memory(caplog) -> None:
    """TensorFlow registers gradients, which hold the whole graph, for good, unless they are forgotten."""
    before = set(ops.gradient_registry.list())
    recipes = [replace(PLAIN, {"seed": seed, "training.epochs": 2}) for seed in range(2)]
    population.train(recipes, jit=False)
    population.evolve(recipes[0], {"schedule.rate": Range(0.001, 0.1)}, members=2, jit=False)
    assert set(ops.gradient_registry.list()) <= before


def test_threads_that_train_at_once_build_one_after_the_other() -> None:
    made = keras_random.python_random
    recipes = [replace(PLAIN, {"seed": seed, "training.epochs": 1}) for seed in range(4)]
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        first, second = threads.map(lambda part: population.train(part, jit=False), (recipes[:2], recipes[2:]))
    require_same(recipes, [*first, *second])
    assert keras_random.python_random is made


def test_programs_are_of_halved_sizes() -> None:
    assert [halved(32, least) for least in (32, 17, 16, 5, 1)] == [32, 32, 16, 8, 1]
    assert [halved(5, least) for least in (5, 4, 3, 2, 1)] == [5, 5, 3, 2, 1]
    assert filled([4, 7], 4) == [4, 7, 7, 7] and filled([1], 1) == [1]


def test_groups_share_a_program_and_memory_splits_them() -> None:
    recipes = [replace(PLAIN, {"seed": seed}) for seed in range(5)] + [replace(PLAIN, {"model.units": (4,)})]
    first, second = groups_of(recipes)
    assert first.places == (0, 1, 2, 3, 4) and second.places == (5,)
    assert [part.places for part in first.split(2)] == [(0, 1), (2, 3), (4,)]


@pytest.mark.parametrize(
    ("recipes", "options", "said"),
    [
        ([], {}, "recipes must be one or more, got 0"),
        (["no"], {}, "recipes must be kopt recipes, got 'no'"),
        ([PLAIN, replace(PLAIN, {"data": data.Digits(examples=90)})], {}, "recipes must have the same data, "),
        ([PLAIN], {"vectorize": "yes"}, "vectorize must be None, True or False, got 'yes'"),
        ([PLAIN], {"members": 0}, "members must be a whole number >= 1 or None, got 0"),
        ([PLAIN], {"members": 1.5}, "members must be a whole number >= 1 or None, got 1.5"),
        ([PLAIN], {"jit": "yes"}, "jit must be 'auto', True or False, got 'yes'"),
        ([PLAIN], {"own_order": "no"}, "own_order must be True or False, got 'no'"),
        (PLAIN, {}, "recipes must be a sequence of recipes, got 'Recipe'"),
    ],
)
def test_refusals(recipes, options, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        population.train(recipes, **options)


def test_recurrent_layers_are_not_mapped() -> None:
    text = models.of_keras(
        keras.Sequential(
            [keras.Input((8, 8, 1)), keras.layers.Reshape((8, 8)), keras.layers.GRU(3), keras.layers.Dense(10)]
        )
    )
    one = replace(PLAIN, {"model": text, "training.epochs": 1})
    recipes = [one, replace(one, {"seed": 1})]
    with pytest.raises(ValueError, match="vectorize must be None or False for recurrent layers, got True"):
        population.train(recipes, vectorize=True, jit=False)
    require_same(recipes, population.train(recipes, jit=False))


def test_a_shared_order_stays_the_first_ones_when_it_has_left(monkeypatch) -> None:
    one = replace(BASE, {"training.patience": 1, "augment": None, "schedule.rate": 1e-5})
    recipes = [one, *(replace(one, {"seed": seed, "training.patience": 6}) for seed in (1, 2))]
    found = []
    for pays in (True, False):  # whether the first one leaves the program
        monkeypatch.setattr(Population, "pays", lambda *_, pays=pays: pays)
        found.append(population.train(recipes, jit=False, own_order=False))
    assert len(found[0][0].history["loss"]) < len(found[0][1].history["loss"])
    for one_run, other in zip(*found):
        np.testing.assert_allclose(one_run.history["loss"], other.history["loss"], rtol=1e-5)


def test_a_shared_order_is_the_first_ones_in_all_parts() -> None:
    recipes = [replace(PLAIN, {"seed": seed, "training.epochs": 1}) for seed in range(3)]
    whole = population.train(recipes, jit=False, own_order=False)
    for run, part in zip(whole, population.train(recipes, jit=False, own_order=False, members=2)):
        np.testing.assert_allclose(part.history["loss"], run.history["loss"], rtol=1e-5)


def test_members_that_leave_are_scored_with_their_own_start_and_filled_rows_change_nothing(monkeypatch) -> None:
    """Three members stop at different epochs, and each time the rest go on in a program of half the size."""
    monkeypatch.setattr(Population, "pays", lambda *_: True)
    one = replace(BASE, {"regularizer": regularizers.TowardStart(0.1), "training.patience": 1, "augment": None})
    recipes = [replace(one, {"seed": seed, "schedule.rate": rate}) for seed, rate in enumerate((1e-5, 0.3, 0.03, 0.1))]
    runs = population.train(recipes, jit=False)
    assert len({len(run.history["loss"]) for run in runs}) > 1
    require_same(recipes, runs)
