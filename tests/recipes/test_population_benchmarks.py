"""population_quality.py and population_speed.py: spaces, stages, verdicts and lines, and one search of two trials."""

import importlib
import json
import logging
import pathlib

import pytest

from kopt.rules import AdamW
from kopt.tuning.population.structure import live_paths
from kopt.tuning.space.space import Space

FOLDER = pathlib.Path(__file__).parents[2] / "recipes" / "benchmarks"


@pytest.fixture
def quality(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("population_quality")


@pytest.fixture
def speed(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("population_speed")


def test_all_works_have_the_same_space_of_numbers_of_a_population(quality) -> None:
    searches = importlib.import_module("quality_searches")
    for work in searches.WORKS:
        recipe = searches.recipe_of(work, 3)
        assert recipe.seed == 3 and isinstance(recipe.rule, AdamW)
        assert recipe.schedule.duration == recipe.training.epochs  # in Hyperband's short rounds too
        assert set(Space(recipe, searches.RANGES).ranges) <= set(live_paths(recipe))


def row(contender: str, seed: int, test: float, work: str = "digits", seconds: int = 60) -> dict:
    key = {"work": work, "contender": contender, "seconds": seconds, "seed": seed}
    return key | {"metric": "accuracy", "direction": "max", "test": test, "validation": test, "trials": 9, "took": 60.0}


def test_rows_that_are_there_are_not_run_again_and_stages_end(quality, tmp_path, monkeypatch, capsys) -> None:
    file = tmp_path / "rows.csv"
    quality.add(file, row("pbt", 0, 0.9), quality.FIELDS)
    jobs = []

    def ran(command, **_):
        jobs.append(json.loads(command[-1]))
        result = {"metric": "accuracy", "direction": "max", "test": 0.5, "validation": 0.5, "trials": 1, "took": 1.0}
        return type("Done", (), {"returncode": 0, "stdout": f"a notice\n{json.dumps(result)}\n", "stderr": ""})

    monkeypatch.setattr(quality.subprocess, "run", ran)
    stage = ["--works", "digits", "--contenders", "pbt", "kopt", "--seconds", "60", "--seeds", "2", "--file", str(file)]
    quality.main([*stage, "--rows", "2"])
    assert jobs == [["digits", "kopt", 60, 0, False], ["digits", "pbt", 60, 1, False]]
    quality.main(stage)
    assert jobs[2:] == [["digits", "kopt", 60, 1, False]]
    quality.main(stage)
    assert len(jobs) == 3 and len(quality.rows_of(file)) == 4
    assert "digits, 60 s, test accuracy (max), best pbt" in capsys.readouterr().out


def test_the_table_says_who_is_better_beyond_the_spread(quality) -> None:
    scores = {"population": (0.9, 0.91), "pbt": (0.8, 0.81), "kopt": (0.9, 0.92), "kt-bayesian": (0.7, 0.71)}
    rows = [row(name, seed, test) for name, tests in scores.items() for seed, test in enumerate(tests)]
    head, *lines = quality.lines(rows)
    assert head == "digits, 60 s, test accuracy (max), best kopt"
    said = {line.split()[0]: line for line in lines}
    assert said["population"].endswith("0.9050 ± 0.0071 (2)          9 trials  tie beside kopt, win beside kt-bayesian")
    assert said["pbt"].endswith("loss beside kopt, win beside kt-bayesian") and said["kopt"].endswith("trials")


def test_one_search_in_this_process(quality) -> None:
    found = quality.job("digits", "pbt", 1, 0, True)
    assert found["metric"] == "accuracy" and 0 < found["test"] <= 1 and found["trials"] == 4 and found["took"] > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--works", "no"], "works must be among digits, electricity, sentiment, ratings, got 'no'"),
        (["--contenders", "no"], "contenders must be among population, pbt, kopt, .*, got 'no'"),
        (["--seeds", "0"], "seeds must be >= 1, got 0"),
        (["--seconds", "0"], r"seconds must be > 0, got \(0,\)"),
    ],
)
def test_refusals(quality, arguments: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        quality.main(arguments)


def test_speed_has_a_recipe_for_each_model_and_ratios_to_both_bases(speed, monkeypatch) -> None:
    for name in speed.MODELS:
        assert live_paths(speed.recipe_of(name))[0] == "schedule.rate"
    with pytest.raises(ValueError, match="model must be among mlp, "):
        speed.recipe_of("no")
    bases = {speed.KERAS_TUNER: (3.0, 2.0), speed.KOPT: (1.0, 0.5)}
    assert speed.line_of("mlp", speed.POPULATION, 32, (0.1, 0.1, "all members in each step"), bases) == (
        "mlp: population, 32: 0.100 s, 0.100 CPU s a configuration; 30.0 (20.0) times KerasTuner's; "
        "10.0 (5.0) times kopt, in sequence's; all members in each step"
    )
    monkeypatch.setattr(speed.importlib.util, "find_spec", lambda name: None)
    rows = speed.rows_of(speed.Options(members=(1, 8)))
    assert rows[-2:] == [(speed.POPULATION, 1), (speed.POPULATION, 8)] and speed.RAY not in dict(rows)


def test_speed_says_what_a_population_logs(speed) -> None:
    log = logging.getLogger("kopt")
    with speed.lines_of("population: ") as found:
        for text in ("population: a member takes 1 MB", "jit: True", *["population: all members in each step"] * 2):
            log.info(text)
    assert found == ["all members in each step"]
