"""The figures of recipes/benchmarks/autotune.py: arms, verdicts and the table, without training."""

import importlib.util
import pathlib

import pytest

from kopt.rules import Adam
from kopt.schedules import Constant

FILE = pathlib.Path(__file__).parents[2] / "recipes" / "benchmarks" / "autotune.py"


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(FILE.parent))
    spec = importlib.util.spec_from_file_location("autotune_benchmark", FILE)
    found = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, "autotune_benchmark", found)
    spec.loader.exec_module(found)
    return found


def test_plain_is_what_compile_adam_trains(module) -> None:
    recipe = module.recipe_of("tabular", quick=False)
    plain = module.plain(recipe)
    assert (plain.rule, plain.schedule, plain.regularizer, plain.average) == (Adam(), Constant(1e-3), None, None)
    assert (plain.data, plain.model, plain.training) == (recipe.data, recipe.model, recipe.training)


def test_a_win_is_beyond_the_larger_spread(module) -> None:
    low, high, wide = [0.8, 0.81], [0.9, 0.91], [0.7, 1.0]
    assert module.verdict(high, low, "max") == "win" == module.verdict(low, high, "min")
    assert module.verdict(low, high, "max") == "loss" and module.verdict(high, wide, "max") == "tie"
    assert module.verdict(high[:1], low, "max") == ""


def test_the_table_and_its_counts(module, tmp_path) -> None:
    for arm, scores in (("adam", (0.8, 0.81)), ("tuned", (0.9, 0.91)), ("hand", (0.9, 0.92))):
        for seed, score in enumerate(scores):
            key = {"work": "vision", "arm": arm, "budget": "2x" if arm == "tuned" else "", "seed": seed, "chosen": ""}
            same = {"metric": "accuracy", "direction": "max", "test": score, "validation": score, "cost": 1.5}
            module.add(tmp_path / "rows.csv", key | same)
    text = "\n".join(module.lines(module.rows_of(tmp_path / "rows.csv")))
    assert "| vision, accuracy | 2x | 0.8050 ± 0.0071 (2) | 0.9050 ± 0.0071 (2) |" in text
    assert (
        "2x, tuned beside adam: win 1, tie 0, loss 0" in text and "2x, tuned beside hand: win 0, tie 1, loss 0" in text
    )
