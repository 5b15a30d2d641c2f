"""The figures of recipes/benchmarks/time_to_target.py: draws, medians, profiles and scores, without training."""

import importlib
import math
import pathlib

import pytest

from kopt.rules import registry
from kopt.values import replace

FOLDER = pathlib.Path(__file__).parents[2] / "recipes" / "benchmarks"


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("time_to_target")


@pytest.fixture
def figures(module):
    return importlib.import_module("target_figures")


def test_draws_are_the_same_shares_of_each_rules_space(module) -> None:
    adam, lion = (module.draws(rule, 20) for rule in ("adam", "lion"))
    assert len(adam) == 20 and len({trial.rate for trial in adam}) == 20
    for one, other in zip(adam, lion):
        assert one.rate / 1e-3 == pytest.approx(other.rate / 1e-4) and one.warm_up == other.warm_up
        assert 10**-1.5 <= one.rate / 1e-3 <= 10**1.5
        assert one.changes["beta_1"] == other.changes["beta_1"] and "weight_decay" not in one.changes
    assert all(1e-4 <= trial.changes["weight_decay"] <= 1 for trial in lion)
    assert module.draws("prodigy", 0)[0].rate == 1.0
    assert all(10**-0.5 <= trial.rate <= 10**0.5 for trial in module.draws("prodigy", 20))


def test_every_rule_takes_its_draws(module) -> None:
    names = module.rule_names()
    assert {"adam", "lion", "muon", "schedule_free_adamw"} <= set(names) and "lookahead" not in names
    for name in names:
        for trial in module.draws(name, 3):
            replace(registry.make(name), trial.changes)


def row(reached: bool, updates: int, best: float = 0.5) -> dict:
    return {"reached": reached, "updates": updates, "seconds": updates / 10, "best": best, "draw": updates}


def test_a_row_ends_with_the_epoch_that_reached_the_target(module) -> None:
    job, trial = module.Job("digits", "adam", [], 0.9, together=True), module.draws("adam", 0)[0]
    found = job.row(trial, [0.5, math.nan, 0.91, 0.97], 37, math.nan)
    assert (found["best"], found["reached"], found["epochs"], found["updates"]) == (0.91, True, 3, 111)
    missed = job.row(trial, [0.5, 0.89, math.nan], 37, 1.0)
    assert (missed["best"], missed["reached"], missed["updates"]) == (0.89, False, 111)
    least = module.Job("ratings", "soap", [], 0.9)
    assert least.row(trial, [math.nan, 0.95, 0.9, 0.8], 1, 1.0)["epochs"] == 3
    assert not module.Job("ratings", "soap", []).row(trial, [0.1], 1, 1.0)["reached"]
    assert least.recipe(trial).rule.largest == 512 and job.recipe(trial).rule == registry.make("adam")


def test_rows_without_seconds_are_kept_and_read(module, tmp_path) -> None:
    job, trial = module.Job("digits", "adam", [], 0.9), module.draws("adam", 2)[1]
    table = module.Table(tmp_path / "rows.csv")
    for seconds in (math.nan, 2.5):
        found = job.row(trial, [0.5], 9, seconds)
        table.add({"work": "digits", "rule": "adam", "track": "draw", "target": 0.9, **found})
    again = module.Table(tmp_path / "rows.csv")
    assert [row["changes"] for row in again.rows] == [trial.changes] * 2
    assert math.isnan(again.rows[0]["seconds"]) and again.rows[1] == table.rows[1]
    assert str(module.Cost(30, math.nan, 5, 5)) == "30 updates (5 of 5)"


def test_the_cost_is_the_median_and_infinite_where_most_seeds_have_not_reached_it(module) -> None:
    cost = module.Cost.of([row(True, 30), row(True, 10), row(False, 99), row(True, 20), row(False, 99)])
    assert (cost.updates, cost.seconds, cost.reached) == (30, 3.0, 3)
    assert math.isinf(module.Cost.of([row(True, 30), row(False, 99), row(False, 99)]).updates)


def test_the_best_draw_reaches_the_target_first_or_comes_nearest(module) -> None:
    assert module.best_of([row(False, 5, 0.9), row(True, 40), row(True, 20)], "max")["updates"] == 20
    assert module.best_of([row(False, 5, 0.7), row(False, 6, 0.9)], "max")["best"] == 0.9
    assert module.best_of([row(False, 5, 0.7), row(False, 6, 0.9)], "min")["best"] == 0.7


def test_scores_are_areas_below_profiles(figures) -> None:
    costs = {"a": {"x": 10, "y": 20}, "b": {"x": 20, "y": math.inf}, "c": {"x": 50, "y": 40}}
    assert figures.profile(costs, "b", 1.9) == 0 and figures.profile(costs, "b", 2.0) == 0.5
    assert figures.score(costs, "a") == 1
    assert figures.score(costs, "b") == pytest.approx((2 / 3) / 2)  # twice the fastest on one of two works
    assert figures.score(costs, "c") == pytest.approx((2 / 3) / 2)  # five times on x counts as never
    for rule in costs:
        area = sum(figures.profile(costs, rule, 1 + place / 1000) for place in range(3000)) / 3000
        assert figures.score(costs, rule) == pytest.approx(area, abs=1e-3)


def test_the_table_is_of_the_works_that_make_the_most_pairs(module, figures, tmp_path) -> None:
    table = module.Table(tmp_path / "rows.csv")
    pairs = {"digits": "abcd", "electricity": "abc", "diamonds": "abc", "sentiment": "ab"}
    for work, rules in pairs.items():
        table.rows += [{"work": work, "rule": rule, "track": "tuned", **row(True, 10)} for rule in rules]
    costs = figures.costs_of(table, "tuned", "updates")
    assert "".join(costs) == "abc" and list(costs["b"]) == ["digits", "electricity", "diamonds"]
    table.rows += [{"work": "sentiment", "rule": "c", "track": "tuned", **row(False, 10)}]
    assert figures.costs_of(table, "tuned", "updates")["c"]["sentiment"] == math.inf
    assert figures.costs_of(table, "self-tuning", "updates") == {}
