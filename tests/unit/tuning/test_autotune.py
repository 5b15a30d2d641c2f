"""autotune: a bad start is left, a good one is kept, and the budget holds."""

import collections
import math
from typing import Any

import keras
import numpy as np
import pytest

import kopt
from kopt import data, models, rules, schedules
from kopt.experiment.recipe import Recipe, Training
from kopt.regularizers import L2
from kopt.tuning.autotuning import search as searching
from kopt.tuning.autotuning import stages
from kopt.tuning.autotuning.costs import Budget, Costs, costs_of
from kopt.tuning.autotuning.given import recipe_of, require_loss
from kopt.tuning.autotuning.proposals import beyond, combined, rates
from kopt.tuning.autotuning.result import Autotuned
from kopt.tuning.autotuning.settings import Settings, closed, opened, shortened
from kopt.tuning.population import train
from kopt.tuning.population.structure import structure_of
from kopt.values import replace

MODEL = models.MLP((8, 8, 1), 10, units=(8,), scale=1 / 16)
START = Recipe(
    "digits", data.Digits(examples=120), model=MODEL, schedule=schedules.Constant(1e-6), training=Training(epochs=6)
)
GOOD = replace(START, {"schedule": schedules.Constant(0.02)})


@pytest.fixture(scope="module")
def found() -> Autotuned:
    return kopt.autotune(START, jit=False)


# What it finds


def test_a_rate_that_is_too_low_is_left(found) -> None:
    assert 1e-4 < found.recipe.schedule.rate < 0.1
    scores = {row.what: row.score for row in found.table if (row.epochs, row.seed) == (6, 0)}
    assert found.run.history["val_accuracy"][-1] == max(scores.values()) > scores["the start"] + 0.2
    assert found.recipe.data == START.data and found.recipe.model == MODEL and found.recipe.training == START.training


def test_the_whole_run_is_that_of_the_recipe(found) -> None:
    (run,) = train([found.recipe], jit=False)
    assert run.metrics["value"] == found.run.metrics["value"]
    np.testing.assert_allclose(run.history["val_loss"], found.run.history["val_loss"], rtol=1e-5)


def test_what_it_says(found) -> None:
    assert "autotune chose schedule" in str(found) and "better than the start's" in found.why
    assert len(str(found).splitlines()) == len(found.table) + 4
    assert found.code.startswith("recipe = kopt.values.replace(recipe, {") and "kopt.schedules.Cosine(" in found.code
    names: dict[str, object] = {"kopt": kopt, "recipe": START}
    exec(found.code.rpartition("\n")[0], names)
    assert names["recipe"] == found.recipe


def test_the_same_call_finds_the_same(found) -> None:
    again = kopt.autotune(START, jit=False)
    assert (again.recipe, again.table, again.cost) == (found.recipe, found.table, found.cost)


def test_a_good_start_is_not_left_for_a_worse_one() -> None:
    found = kopt.autotune(GOOD, jit=False)
    whole = {row.what: row.score for row in found.table if row.epochs == 6 and row.seed == 0}
    assert found.run.history["val_accuracy"][-1] == max(whole.values()) >= whole["the start"]


def test_a_start_that_nothing_beats_is_returned_as_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "rates", lambda start, shape: [Settings.of(start).but(rate=1e-7)])
    monkeypatch.setattr(stages, "penalties", lambda best, start: [])
    found = kopt.autotune(GOOD, jit=False)
    assert found.recipe == GOOD == found.run.recipe and found.why.startswith("autotune kept the start")
    assert found.code.splitlines()[-1] == "kopt.run(recipe)" and found.model.count_params() == 610


# Budgets


def test_budgets_are_read() -> None:
    assert Budget.of("2x") == (2.0, None) and Budget.of("90s") == (None, 90.0) == Budget.of(90)
    for wrong in ("2", "x", "soon", "-3s", "0s"):
        with pytest.raises(ValueError, match="budget must be "):
            Budget.of(wrong)


class Pretended:
    """Runs that are not trained: the score is better the nearer the rate is to 0.01, and rises over epochs."""

    def __init__(self) -> None:
        self.calls: list[list[Recipe]] = []

    def __call__(self, recipes, jit):
        self.calls.append(list(recipes))
        return [self.run(recipe) for recipe in recipes]

    def run(self, recipe: Recipe) -> kopt.report.Run:
        score = 1 - 0.1 * abs(math.log10(Settings.of(recipe).rate / 0.01)) + 1e-3 * recipe.training.epochs
        epochs = recipe.training.epochs
        return kopt.report.Run(None, recipe, {"val_accuracy": [score] * epochs, "val_loss": [1.0] * epochs}, {})

    def cost(self, costs: Costs) -> float:
        """Return the cost of all calls, counted by hand."""
        member = 4e-9 * costs.parameters + 75e-12 * costs.operations * 32
        total = 0.0
        for call in self.calls:
            sizes = collections.Counter(structure_of(recipe) for recipe in call)
            for recipe in {structure_of(recipe): recipe for recipe in call}.values():
                size = recipe.training.batch_size
                updates = recipe.training.epochs * math.ceil(costs.examples / size)
                one = 4e-9 * costs.parameters + 75e-12 * costs.operations * size
                total += 1.2 + updates * (2e-4 + sizes[structure_of(recipe)] * one)
        return total / (1.2 + 30 * math.ceil(costs.examples / 32) * (2e-4 + member))


def search_of(budget: float, parameters: int, epochs: int = 30) -> searching.Search:
    """Return a search whose runs are not trained; a member of a million parameters costs about a whole run."""
    start = replace(opened(START, 2), {"training.epochs": epochs})
    return searching.Search(start, Costs(start, 10_000, 2, parameters, parameters, False), budget)


def best_of(search: searching.Search) -> searching.Trial:
    rates = stages.try_rates(search)
    return stages.try_whole(search, stages.try_finer(search, stages.try_variants(search, rates)))


@pytest.mark.parametrize("budget", [2.0, 3.0, 4.0, 8.0])
@pytest.mark.parametrize("parameters", [1_000, 20_000, 1_000_000])
def test_all_runs_together_keep_to_the_budget(budget: float, parameters: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pretended = Pretended()
    monkeypatch.setattr(searching, "train", pretended)
    search = search_of(budget, parameters)
    best = best_of(search)
    assert search.spent == pytest.approx(pretended.cost(search.costs))
    assert 0.6 * min(budget, 4.0) < search.spent <= (2.3 if (budget, parameters) == (2.0, 1_000_000) else budget)
    assert 0.003 < best.settings.rate < 0.03 and best.epochs == 30
    assert search.held in search.done(30)  # the start is trained whole, whatever the budget


def test_too_few_epochs_for_the_budget_are_refused_before_any_run() -> None:
    with pytest.raises(ValueError, match="budget must be '2.3x' or more for a recipe of 3 epochs: .*, got '2x'."):
        search_of(2.0, 1_000_000, epochs=3)


def test_more_budget_tries_batches_and_rules_too(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = {}
    for budget in (2.0, 8.0):
        monkeypatch.setattr(searching, "train", Pretended())
        search = search_of(budget, 1_000)
        best_of(search)
        tried[budget] = {(one.settings.batch_size, type(one.settings.rule).__name__) for one in search.trials}
    assert {(16, "AdamW"), (64, "AdamW"), (32, "NAdamW"), (32, "Nesterov")} <= tried[8.0] > tried[2.0]


def test_what_only_short_runs_like_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    class Misleading(Pretended):
        """Short runs like high rates, whole ones do not."""

        def run(self, recipe: Recipe) -> kopt.report.Run:
            rate, epochs = Settings.of(recipe).rate, recipe.training.epochs
            score = rate if epochs < 30 else 1e-9 / rate
            return kopt.report.Run(None, recipe, {"val_accuracy": [score] * epochs, "val_loss": [1.0] * epochs}, {})

    monkeypatch.setattr(searching, "train", Misleading())
    search = search_of(2.0, 1_000_000)
    assert best_of(search).settings == search.held


# Settings


def test_the_wide_form_is_equal_and_taken_back() -> None:
    for given in (
        START,
        replace(START, {"schedule": schedules.Constant(0.01).warmup(1), "rule": rules.Momentum()}),
        replace(START, {"schedule": schedules.Cosine(0.01), "rule": rules.AdamW(), "regularizer": L2(1e-3)}),
    ):
        assert closed(opened(given, 2), given) == given
    short = replace(GOOD, {"training.epochs": 2})
    alone, wide = train([short], jit=False)[0], train([opened(short, 2)], jit=False)[0]
    assert alone.history["val_loss"] == wide.history["val_loss"]


def test_a_schedule_is_compressed() -> None:
    given = replace(START, {"schedule": schedules.Step(0.1, 0.5, every=3).warmup(2), "training.patience": 3})
    short = shortened(given, 3)
    assert short.schedule == schedules.Step(0.1, 0.5, every=1.5).warmup(1) and short.training == Training(epochs=3)
    times = np.linspace(0, 2.9, 7)
    np.testing.assert_allclose(short.schedule(times), given.schedule(2 * times), rtol=1e-6)


def test_no_two_rates_are_nearly_one() -> None:
    for rate in (1e-6, 1e-3, 2e-3, 0.3):
        start = opened(replace(START, {"schedule.rate": rate}), 2)
        tried = sorted([rate, *(one.rate for one in rates(start, start.schedule))])
        assert min(b / a for a, b in zip(tried, tried[1:])) > 1.5 and any(5e-4 < one < 2e-3 for one in tried)


def test_the_search_goes_on_beyond_the_last_rate() -> None:
    base = Settings(0.01, schedules.Cosine(1), 0.0, 32, rules.AdamW())
    lower, higher = base.but(rate=0.001), base.but(rate=0.1)
    assert [one.rate for one in beyond([higher, base, lower])] == [0.316]
    assert [one.rate for one in beyond([lower, base, higher])] == [0.000316] and beyond([base, lower, higher]) == []


def test_changes_are_put_together() -> None:
    base = Settings(0.01, schedules.Cosine(1), 0.0, 32, rules.AdamW())
    one, other, third = base.but(penalty=0.1), base.but(rate=0.02), base.but(penalty=1.0)
    assert combined([one, other, third], base) == base.but(penalty=0.1, rate=0.02)
    assert combined([one, third], base) is None and combined([], base) is None


def test_convolutions_take_turns_and_cost_so() -> None:
    image = models.ConvNet((8, 8, 1), 10, width=2).build()
    costs = costs_of(START, image, 100)
    assert costs.in_turn and costs.of([START, START]) == pytest.approx(
        (1.2 + 2 * (costs.seconds(START, 1) - 1.2)) / costs.seconds(START, 1)
    )


def test_a_model_without_kernels_has_no_penalty() -> None:
    model = models.Factorization(5, 6, width=2).build()
    assert costs_of(START, model, 100).kernels == 0
    given = replace(START, {"rule": rules.Momentum()})
    assert opened(given, 0).regularizer is None and opened(given, 1).regularizer == L2(0.0)
    assert Settings.of(opened(given, 0)).penalty is None


# Keras models


def test_a_keras_model_and_arrays() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(120, 4)).astype("float32")
    y = (x[:, 0] > 0).astype("int64")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, "sigmoid")])
    model.compile(keras.optimizers.SGD(1e-5), "binary_crossentropy")
    found = kopt.autotune(model, x, y, epochs=4, batch_size=16, jit=False)
    assert found.start.schedule == schedules.Constant(1e-5) and found.start.rule == rules.GradientDescent()
    outputs = found.model.predict(x, verbose=0)
    assert outputs.shape == (120, 1) and found.recipe.schedule.rate >= 1e-3
    logits = found.run.model().predict(x, verbose=0)
    np.testing.assert_allclose(outputs[:, 0], 1 / (1 + np.exp(-logits[:, 1])), rtol=1e-4)
    code = found.code.replace("epochs=4", "epochs=1, verbose=0")
    exec(code, {"kopt": kopt, "keras": keras, "model": model, "x": x, "y": y})
    assert int(model.optimizer.iterations) == 8 and model.optimizer.rule == found.recipe.rule


# Refusals


class Unvalidated(data.Digits):
    """Digits without a validation split."""

    def load(self) -> data.Splits:
        whole = super().load()
        return whole._replace(validation=data.Split(whole.validation.x[:0], whole.validation.y[:0]))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("digits",), "recipe must be a kopt.Recipe or a Keras model"),
        ((START, np.zeros(3)), "x must be left out with a recipe"),
        ((START, None, None, "two"), "budget must be as '2x', '30s' or '5m'"),
        ((replace(START, {"devices": "cpu:2"}),), "devices must be 'auto' or 'cpu'"),
        ((replace(START, {"data": Unvalidated(examples=120)}),), "data must have a validation split"),
        ((keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)]),), "x and y must be given with a Keras model"),
    ],
)
def test_bad_input_is_refused(arguments: tuple[object, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        kopt.autotune(*arguments)


def test_penalties_of_layers_stay() -> None:
    layers = [keras.layers.Dense(3, kernel_regularizer="l2"), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), keras.losses.SparseCategoricalCrossentropy(True))
    start = recipe_of(model, np.zeros((60, 4), "float32"), np.arange(60) % 2, None, None, 0)
    costs = costs_of(start, model, 40)
    assert (
        costs.penalized
        and costs.kernels == 2
        and not costs_of(replace(start, {"regularizer": L2(0)}), model, 40).penalized
    )


@pytest.mark.parametrize(
    ("loss", "outputs", "refused"),
    [
        ("mse", 1, False),
        (keras.losses.MeanSquaredError(name="mine"), 1, False),
        ("mae", 1, True),
        (lambda y, outputs: outputs - y, 1, True),
        (keras.losses.MeanSquaredError("sum"), 1, True),
        ("sparse_categorical_crossentropy", 2, False),
        (keras.losses.CategoricalCrossentropy(from_logits=True), 2, False),
        (keras.losses.CategoricalCrossentropy(label_smoothing=0.1), 2, True),
        ("mse", 2, True),
    ],
)
def test_a_model_that_is_compiled_with_another_loss_is_refused(loss, outputs: int, refused: bool) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(outputs)])
    model.compile("adam", loss)
    task: Any = "regression" if outputs == 1 else "classification"
    if not refused:
        require_loss(model, task)
        return
    rule = "MeanSquaredError with its defaults for regression" if outputs == 1 else "SparseCategoricalCrossentropy or "
    with pytest.raises(ValueError, match=f"model.loss must be {rule}.*, by which the runs train"):
        require_loss(model, task)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epochs": 0}, "epochs must be >= 1, got 0"),
        ({"batch_size": 0}, "batch_size must be >= 1 or 'full', got 0"),
        ({"seed": -1}, "seed must be a whole number >= 0 or None, got -1"),
        ({"jit": "yes"}, "jit must be 'auto', True or False, got 'yes'"),
    ],
)
def test_arguments_out_of_range_are_not_taken_for_left_out(given, said: str) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match=said):
        kopt.autotune(model, np.zeros((60, 4)), np.arange(60) % 2, **given)


def test_an_optimizer_without_a_rule_here_is_refused() -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    for optimizer, said in (
        (keras.optimizers.Ftrl(0.1), "must be Adam, AdamW, SGD or one of kopt.optimizers"),
        (keras.optimizers.Adam(0.1, clipnorm=1.0), "must leave out what its rule here does not have, got 'clipnorm'"),
    ):
        model.compile(optimizer, "mse")
        with pytest.raises(ValueError, match=said):
            kopt.autotune(model, np.zeros((60, 4)), np.linspace(0, 1, 60))
