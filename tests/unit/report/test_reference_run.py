"""The run that is kept with the code: what an older kopt left is read by this one."""

import pathlib

import keras
import pytest

import kopt
from kopt.report import found_runs, read_run

FOLDER = pathlib.Path(__file__).parents[3] / "saved_models" / "vision" / "reference"


def test_it_is_read_and_its_model_reaches_what_it_says() -> None:
    run = read_run(FOLDER)
    assert run.recipe.name == "vision" and len(run.history["loss"]) == run.recipe.training.epochs
    model, test = keras.saving.load_model(FOLDER / "model.keras"), run.recipe.data.load().test
    scores = model.evaluate(test.x, test.y, verbose=0, return_dict=True)
    assert scores[run.metrics["metric"]] == pytest.approx(run.metrics["value"])
    assert scores["loss"] == pytest.approx(run.metrics["loss"], rel=1e-4)


def test_it_is_small_and_whole() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 400_000
    assert {"README.md", "model.keras", "curves.png", "confusion.png", "worst.png"} <= {path.name for path in files}


def test_it_is_listed_and_drawn() -> None:
    assert FOLDER in [run.folder for run in found_runs(FOLDER.parents[1])[0]]
    assert len(kopt.plot(read_run(FOLDER)).axes) == 3
