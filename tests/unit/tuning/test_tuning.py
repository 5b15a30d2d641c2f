"""Spaces and hypermodels: only the fields are filled in."""

import keras
import keras_tuner
import numpy as np
import optuna
import pytest
from examples import RECIPE

import kopt
from kopt import regularizers, rules, schedules
from kopt.models import MLP
from kopt.tuning import Choice, HyperModel, Range, Space
from kopt.values.field_paths import read, replace

RANGES = {
    "schedule.rate": Range(1e-4, 1e-1, log=True),
    "regularizer.strength": Range(0, 1e-2),
    "model.units": Choice(((8,), (8, 8))),
    "training.batch_size": Choice((8, 16, "full")),
    "training.epochs": Range(2, 4),
    "schedule": Choice((schedules.Constant(0.01), schedules.Cosine(0.1))),
}


def kerastuner_draw(seed: int):
    hp = keras_tuner.HyperParameters()
    Space(RECIPE, RANGES).fill(hp)
    generator = np.random.default_rng(seed)
    for one in hp.space:
        hp.values[one.name] = one.random_sample(int(generator.integers(2**31)))
    return hp


@pytest.mark.parametrize("source", ["keras_tuner", "optuna"])
def test_fill_stays_in_the_ranges_and_changes_nothing_else(source: str) -> None:
    ranges = {path: allowed for path, allowed in RANGES.items() if path != "schedule"}
    space, seen = Space(RECIPE, ranges), set()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    for seed in range(20):
        recipe = space.fill(kerastuner_draw(seed) if source == "keras_tuner" else study.ask())
        assert 1e-4 <= recipe.schedule.of.rate <= 1e-1 and 0 <= recipe.regularizer.strength <= 1e-2
        assert recipe.training.epochs in (2, 3, 4) and type(recipe.training.epochs) is int
        assert recipe.data == RECIPE.data and recipe.schedule.warmup_duration == 1
        seen.add((recipe.training.batch_size, recipe.model.units))
    assert seen == {(size, units) for size in (8, 16, "full") for units in ((8,), (8, 8))}


def test_a_count_may_be_unset_or_full_today() -> None:
    ranges = {"data.examples": Range(100, 500), "regularizer.samples": Range(10, 20)}
    recipe = Space(replace(RECIPE, {"data.examples": None}), ranges).fill(keras_tuner.HyperParameters())
    assert (recipe.data.examples, recipe.regularizer.samples) == (100, 10)


def test_whole_values_are_options() -> None:
    space = Space(RECIPE, {"schedule": Choice((schedules.Constant(0.01), schedules.Cosine(0.1)))})
    hp = keras_tuner.HyperParameters()
    assert space.fill(hp).schedule == schedules.Constant(0.01)
    hp.values["schedule"] = "Cosine(0.1)"
    assert space.fill(hp).schedule == schedules.Cosine(0.1)
    assert space.fill({"schedule": schedules.Constant(0.3)}).schedule == schedules.Constant(0.3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Range(2, 1), "high must be > low = 2, got 1.0."),
        (lambda: Range(0, 1, log=True), "low must be > 0 on a log scale, got 0.0."),
        (lambda: Choice((1,)), "options must be at least two, all different, got (1,)."),
        (lambda: Choice((1, 1)), "options must be at least two, all different, got (1, 1)."),
        (lambda: Space(RECIPE, {}), "ranges must be paths with ranges, got {}."),
        (lambda: Space(RECIPE, None), "ranges must be paths with ranges, got None."),
        (lambda: Space("digits", {"seed": Range(1, 2)}), "value must be a kopt value, got 'digits'."),
        (lambda: Space(RECIPE, {"schedule.rat": Range(1, 2)}), "path must be one of "),
        (
            lambda: Space(replace(RECIPE, {"model": None}), {"model.units": ((4,), (8,))}),
            "path must be within a field that is set, and 'model' is None, got 'model.units'.",
        ),
        (
            lambda: Space(RECIPE, {"schedule.rate": (0.1, 0.001)}),
            "schedule.rate must be Range(0.001, 0.1) for all numbers between, or Choice((0.1, 0.001)) for these two, "
            "got (0.1, 0.001).",
        ),
        (
            lambda: Space(RECIPE, {"schedule.rate": 0.1}),
            "schedule.rate must have a Range, a Choice, or a tuple or list of options, got 0.1.",
        ),
        (lambda: Space(RECIPE, {"schedule.rate": [0.1]}), "options must be at least two, all different, got (0.1,)."),
        (lambda: Space(RECIPE, {"schedule.rate": Range(-1, 2)}), "rate must be >= 0, got -1.0."),
        (lambda: Space(RECIPE, {"training.epochs": Range(1.5, 3)}), "epochs must be a whole number, got 1.5."),
        (
            lambda: Space(RECIPE, {"training.batch_size": Choice((8, "all"))}),
            "batch_size must be a whole number or 'full', got 'all'.",
        ),
        (lambda: Space(RECIPE, {"seed": Range(1, 2)}).fill({}), "source must hold 'seed', got []."),
        (
            lambda: Space(RECIPE, {"seed": Range(1, 2)}).fill(3),
            "source must be HyperParameters, an Optuna trial or a mapping, got 3.",
        ),
        (lambda: HyperModel("x", {"seed": Range(1, 2)}), "value must be a recipe or a model value, got 'x'."),
    ],
)
def test_bad_arguments_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value).startswith(message)


def test_a_tuple_or_a_list_is_a_choice() -> None:
    ranges = {"training.epochs": (2, 4), "schedule.rate": [0.1, 0.2, 0.3]}
    assert Space(RECIPE, ranges).ranges == {"training.epochs": Choice((2, 4)), "schedule.rate": Choice((0.1, 0.2, 0.3))}


@pytest.mark.parametrize("path", ["schedule.lr", "schedule.learning_rate", "lr", "schedule.rat"])
def test_a_path_of_another_name_is_told_its_own(path: str) -> None:
    with pytest.raises(ValueError, match=r"did you mean 'schedule\.rate'"):
        Space(RECIPE, {path: Range(1e-3, 1)})


def test_an_unknown_path_lists_the_fields_beside_it() -> None:
    with pytest.raises(ValueError) as caught:
        Space(RECIPE, {"schedule.lr": Range(1e-3, 1)})
    assert "schedule.rate" in str(caught.value) and "model" not in str(caught.value)


def test_a_recipe_is_searched_by_keras_tuner(tmp_path) -> None:
    hypermodel = HyperModel(
        RECIPE, {path: RANGES[path] for path in ("schedule.rate", "training.epochs", "training.batch_size")}
    )
    tuner = keras_tuner.RandomSearch(
        hypermodel, "val_accuracy", max_trials=3, seed=1, directory=tmp_path, project_name="search"
    )
    tuner.search(verbose=0)
    trials = tuner.oracle.get_best_trials(3)
    assert len(trials) == 3 and trials[0].score == max(trial.score for trial in trials)
    best = hypermodel.space.fill(tuner.get_best_hyperparameters()[0])
    assert read(best, "schedule.rate") == trials[0].hyperparameters.values["schedule.rate"]
    assert tuner.get_best_models()[0].optimizer.rule == RECIPE.rule
    with pytest.raises(ValueError, match=r"^search\(\) must be called without data, the recipe trains on Digits"):
        hypermodel.fit(keras_tuner.HyperParameters(), None, np.ones(3))


def test_a_model_value_is_searched_on_the_users_data(tmp_path) -> None:
    x = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
    hypermodel = HyperModel(MLP((4,), 2), {"units": Choice(((4,), (8,))), "dropout": Range(0, 0.5)})
    tuner = keras_tuner.RandomSearch(hypermodel, "val_loss", max_trials=2, directory=tmp_path, project_name="search")
    tuner.search(x, (x[:, 0] > 0).astype("int32"), validation_split=0.5, epochs=2, verbose=0)
    assert len(tuner.oracle.get_best_trials(2)) == 2


def test_a_regularizer_is_drawn_with_strengths_of_its_own() -> None:
    hp = keras_tuner.HyperParameters()
    hp.values = {"regularizer": "l1_l2", "regularizer.l1_l2.l1": 1e-3, "regularizer.l1_l2.l2": 1e-5}
    assert kopt.tuning.regularizer(hp) == regularizers.L1L2(1e-3, 1e-5)
    hp = keras_tuner.HyperParameters()
    hp.values = {"penalty": "none"}
    assert kopt.tuning.regularizer(hp, "penalty") is None
    with pytest.raises(ValueError, match="^kinds must be one of group_lasso, .* got 'l3'"):
        kopt.tuning.regularizer(keras_tuner.HyperParameters(), kinds=("l2", "l3"))
    with pytest.raises(ValueError, match=r"^kinds must name one regularizer or more, got \(\)"):
        kopt.tuning.regularizer(keras_tuner.HyperParameters(), kinds=())


def test_schedules_rules_and_optimizers_are_drawn() -> None:
    hp = keras_tuner.HyperParameters()
    hp.values = {"schedule": "one_cycle", "schedule.rate": 0.02, "schedule.warmup": 2.0}
    assert kopt.tuning.schedule(hp, warmup=Range(1, 3)) == schedules.OneCycle(0.02).warmup(2)
    hp = keras_tuner.HyperParameters()
    hp.values = {"rule": "adamw", "rule.adamw.1-beta_1": 0.25, "rule.adamw.weight_decay": 0.01}
    assert kopt.tuning.rule(hp) == rules.AdamW(0.75, weight_decay=0.01)
    hp = keras_tuner.HyperParameters()
    hp.values = {"optimizer": "momentum", "optimizer.momentum.1-momentum": 0.125, "optimizer.rate": 0.5}
    optimizer = kopt.tuning.optimizer(hp)
    assert optimizer.rule == rules.Momentum(0.875) and float(optimizer.learning_rate) == 0.5
    for draw, kind in ((kopt.tuning.schedule, "step"), (kopt.tuning.rule, "adamm"), (kopt.tuning.schedule, "cosin")):
        with pytest.raises(ValueError, match=f"^kinds must be one of .* got '{kind}'"):
            draw(keras_tuner.HyperParameters(), kinds=(kind,))
    with pytest.raises(ValueError, match=r"^kinds must name one rule or more, got \(\)"):
        kopt.tuning.rule(keras_tuner.HyperParameters(), kinds=())


def test_dimensions_of_a_hypermodel_of_ones_own_are_searched(tmp_path) -> None:
    def build(hp):
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        if (penalty := kopt.tuning.regularizer(hp)) is not None:
            kopt.regularizers.attach(model, penalty)
        model.compile(kopt.tuning.optimizer(hp), "mse", run_eagerly=True)
        return model

    x = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
    tuner = kopt.tuning.Tuner(build, "val_loss", max_trials=4, sampler="random", directory=tmp_path)
    tuner.search(x, x[:, :1], validation_data=(x, x[:, :1]), verbose=0)
    for trial in tuner.study.trials:
        kind = trial.params["optimizer"]
        assert {name for name in trial.params if name.startswith(f"optimizer.{kind}.")}
        assert all(
            name.startswith((f"optimizer.{kind}.", "optimizer.rate")) for name in trial.params if "optimizer." in name
        )
