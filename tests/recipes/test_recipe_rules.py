"""The figures of recipes/benchmarks/recipe_rules.py: recipes by a rule, ranks and the table, without training."""

import csv
import importlib
import json
import math
import pathlib

import pytest

BENCHMARKS = pathlib.Path(__file__).parents[2] / "recipes" / "benchmarks"


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("recipe_rules")


def row(draw: int, seed: int, validation: float, **other) -> dict:
    same = {"work": "tabular", "rule": "soap", "direction": "min", "rate": 0.1, "warm_up": 0.05, "changes": {}}
    return same | {"draw": draw, "seed": seed, "validation": validation} | other


def test_a_recipe_by_a_rule_keeps_all_but_rule_schedule_and_seed(module) -> None:
    own = module.recipe_by("vision", "own", module.Trial(-1, 3, 0.0), quick=False)
    trial = module.draws("nadamw", 10)[2]
    other = module.recipe_by("vision", "nadamw", trial, quick=False)
    assert own.seed == 3 and other.schedule.of.rate == pytest.approx(trial.rate)
    assert other.rule.weight_decay == trial.changes["weight_decay"]
    assert (other.data, other.model, other.training, other.average) == (own.data, own.model, own.training, own.average)
    averaging = module.recipe_by(
        "vision", "schedule_free_adamw", module.draws("schedule_free_adamw", 1)[0], quick=False
    )
    assert averaging.average is None


def test_draws_are_ranked_by_the_mean_of_their_seeds_and_diverged_ones_last(module) -> None:
    rows = [row(0, 0, 0.2), row(1, 0, math.nan), row(2, 0, 0.1), row(2, 1, 0.2), row(3, 0, math.inf)]
    assert module.ranked(rows)[:2] == [2, 0] and set(module.ranked(rows)[2:]) == {1, 3}
    assert module.ranked([one | {"direction": "max"} for one in rows[:3]])[0] == 0
    assert module.ranked([]) == []


def test_the_table_compares_the_draw_with_most_seeds(module, tmp_path) -> None:
    rows = [row(-1, seed, score, rule="own") for seed, score in ((1, 0.30), (2, 0.31))]
    rows += [row(4, 0, 0.01), row(5, 1, 0.5), *(row(4, seed, score) for seed, score in ((1, 0.20), (2, 0.21)))]
    with (tmp_path / "rows.csv").open("w", newline="") as lines:
        writer = csv.DictWriter(lines, module.FIELDS)
        writer.writeheader()
        writer.writerows([one | {"changes": json.dumps(one["changes"])} for one in rows])
    assert module.rows_of(tmp_path / "rows.csv") == rows
    table = list(module.lines(rows))
    assert table[-1] == "| tabular | 0.3050 ± 0.0071 (2) | soap | 0.2050 ± 0.0071 (2) | win |"


def test_refusals(module) -> None:
    with pytest.raises(ValueError, match="works must be among vision, mnist"):
        module.Options(works=("boats",)).resolved()
    with pytest.raises(ValueError, match="rules must be among"):
        module.Options(rules=("boats",)).resolved()
