"""The benchmark of the time to a model: its quick command, what it leaves out, and how targets are judged."""

import json
import pathlib
import sys

import pytest

FOLDER = pathlib.Path(__file__).parents[2] / "recipes" / "benchmarks"


@pytest.fixture(scope="module")
def benchmark():
    sys.path.insert(0, str(FOLDER))
    import time_to_model

    yield time_to_model
    sys.path.remove(str(FOLDER))


def cells(benchmark, **seconds: float) -> dict:
    names = {"fit": "fit", "fit16": "fit, 16 a call", "loop": "Loop", "warm": "Loop, warm", "drawn": "input alone"}
    names |= {"plain": "Loop(jit=False)", "jit": "Loop(jit=True)", "jit_warm": "Loop(jit=True), warm"}
    return {names[key]: benchmark.Cell([value], 1.0) for key, value in seconds.items()}


def test_the_quick_command_writes_a_table_figures_and_a_picture(benchmark, tmp_path, capsys) -> None:
    benchmark.main(["--quick", "--folder", str(tmp_path)])
    (folder,) = (tmp_path / "time_to_model").iterdir()
    found = json.loads((folder / "figures.json").read_text())["seconds"]["digits MLP"]["1"]
    assert set(found) == {"fit", "Loop"}
    assert all(one["seconds"][0] > 0 and one["peak"] > 100 and not one["error"] for one in found.values())
    assert (folder / "time.png").exists() and (folder / "table.csv").read_text().count("\n") == 2
    assert "<= 1.05  Loop / best fit: digits MLP, epochs: 1" in capsys.readouterr().out


def test_what_a_training_is_expected_to_take(benchmark) -> None:
    assert benchmark.expected({}, 1) == 0
    assert benchmark.expected({1: 4.0}, 3) == 4
    assert benchmark.expected({1: 4.0, 3: 5.0, 10: 8.5}, 30) == 18.5
    assert benchmark.expected({1: 4.0, 3: 3.0}, 10) == 3


@pytest.mark.parametrize(
    ("name", "epochs", "seconds", "said"),
    [
        ("digits MLP", 1, {"fit": 2, "fit16": 1, "loop": 1.05}, ["pass"]),
        ("digits MLP", 1, {"fit": 2, "fit16": 1, "loop": 1.06}, ["FAIL"]),
        ("digits MLP", 1, {"fit": 1, "jit_warm": 1.09}, ["pass"]),
        ("digits MLP", 10, {"fit": 1, "loop": 0.8}, ["pass"]),
        ("digits MLP", 10, {"fit": 1, "loop": 0.81}, ["FAIL"]),
        ("PyDataset", 10, {"fit": 1, "loop": 0.81, "drawn": 0.51}, ["bound"]),
        ("PyDataset", 10, {"fit": 1, "loop": 0.81, "drawn": 0.49}, ["FAIL"]),
        ("tf.data, table", 10, {"fit": 1, "loop": 0.81, "drawn": 0.9}, ["FAIL"]),
        ("digits MLP", 30, {"loop": 1.1, "plain": 2, "jit": 1, "warm": 1.2, "jit_warm": 1}, ["pass", "FAIL"]),
        ("digits MLP", 30, {"fit": 1}, []),
    ],
)
def test_targets(benchmark, name: str, epochs: int, seconds: dict, said: list[str]) -> None:
    judged = benchmark.verdicts({name: {epochs: cells(benchmark, **seconds)}})
    assert [str(one).split()[0] for one in judged] == said


def test_a_contender_that_fails_is_left_out_and_said(benchmark, monkeypatch, capsys) -> None:
    failed = benchmark.Cell(error="ValueError: no.")
    monkeypatch.setattr(
        benchmark, "run", lambda job, *_: failed if job.kind == "Loop" else benchmark.Cell([1.0 * job.epochs], 1.0)
    )
    options = benchmark.Options(contenders=("fit", "Loop"), epochs=(1, 3, 10, 30), seconds=9, repetitions=2)
    found = dict(benchmark.measure("digits MLP", options))
    assert [list(one) for one in found.values()] == [["fit", "Loop"], ["fit"], [], []]
    assert capsys.readouterr().out == "left out: Loop, digits MLP, 1 epochs: ValueError: no.\n"


def test_a_warm_contender_has_the_folder_of_the_cold_one(benchmark, monkeypatch) -> None:
    calls = []

    def run(job, cache, limit):
        calls.append((job.kind, job.setting, cache, pathlib.Path(cache).exists()))
        return benchmark.Cell([1.0], 1.0)

    monkeypatch.setattr(benchmark, "run", run)
    list(benchmark.turns("digits MLP", 1, ["fit", "Loop", "Loop, warm", "Loop(jit=True), warm"], 1.0))
    fit, cold, warm, priming, jit_warm = calls
    assert fit[2] == "off" and cold == warm and cold[3] and priming == jit_warm and priming[2] != cold[2]


def test_an_unknown_work_is_refused(benchmark) -> None:
    with pytest.raises(ValueError, match="works must be among 10-5-1, batch 1"):
        benchmark.main(["--works", "digit MLP"])


@pytest.mark.parametrize("name", ["generator of unknown length", "endless generator", "PyDataset", "tf.data, table"])
def test_drawing_the_data_alone_ends_after_an_epoch(benchmark, name: str) -> None:
    from trainings import iterate

    training = benchmark.TRAININGS[name]
    iterate(training.arguments(training.work))


def test_a_training_that_ends_early_is_an_error(benchmark) -> None:
    import train_once
    import trainings

    short = trainings.Training(trainings.DIGITS, lambda work: trainings.arrays(work) | {"steps_per_epoch": 3})
    with pytest.raises(RuntimeError, match="it trained 3 of 57 steps"):
        train_once.keras_trainer(short, train_once.Job("", "fit", 1, 1))()
