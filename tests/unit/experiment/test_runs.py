"""run(recipe) and its folder: whole or absent, and readable again."""

import csv
import functools
import json
import pathlib

import keras
import matplotlib.image
import numpy as np
import pytest

import kopt
from kopt import data, models, schedules
from kopt.experiment import run as runs
from kopt.experiment.recipe_cli import check_target
from kopt.report import found_runs, read_run, run_folder
from kopt.values.field_paths import replace

RECIPE = kopt.Recipe(
    "tiny",
    data.Digits(examples=100),
    model=models.MLP((8, 8, 1), 10, units=(16,), scale=1 / 16),
    schedule=schedules.Cosine(0.01).warmup(1),
    regularizer=kopt.regularizers.L2(1e-3),
    training=kopt.Training(epochs=3, batch_size=16),
    target=0.5,
)


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> kopt.report.Run:
    return kopt.run(RECIPE, folder=tmp_path_factory.mktemp("runs"), verbose=False)


def test_the_folder_is_whole(done) -> None:
    files = {
        str(path.relative_to(done.folder))
        for path in done.folder.rglob("*")
        if path.is_file() and "logs" not in path.parts
    }
    assert files == {
        "README.md",
        "environment.json",
        "history.csv",
        "inference.keras",
        "metrics.json",
        "model.keras",
        "plots/confusion.png",
        "plots/curves.png",
        "plots/worst.png",
        "recipe.json",
    }
    counts = {name: len(list((done.folder / "logs" / name).glob("events*"))) for name in (".", "train", "validation")}
    assert counts == {".": 2, "train": 1, "validation": 1}
    assert [path.name for path in done.folder.parent.iterdir()] == [done.folder.name]


def test_it_reads_back(done) -> None:
    again = read_run(done.folder)
    assert again.recipe == RECIPE and again.metrics == done.metrics
    for name, values in done.history.items():
        assert again.history[name] == pytest.approx(values)


def test_the_model_reads_back_with_the_same_predictions_and_result(done) -> None:
    model, splits = keras.saving.load_model(done.folder / "model.keras"), RECIPE.data.load()
    scores = model.evaluate(*splits.test, verbose=0, return_dict=True)
    assert scores["accuracy"] == done.metrics["value"] and scores["loss"] == pytest.approx(done.metrics["loss"])
    assert model.layers[-1].kernel.regularizer == RECIPE.regularizer and model.layers[-1].bias.regularizer is None
    assert int(model.optimizer.iterations) == 3 * 5
    predictions = model.predict(splits.test.x, verbose=0)
    model.save(done.folder / "copy.keras")
    np.testing.assert_array_equal(
        keras.saving.load_model(done.folder / "copy.keras").predict(splits.test.x, verbose=0), predictions
    )
    (done.folder / "copy.keras").unlink()


def test_the_files_say_what_was_done(done) -> None:
    with open(done.folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert {"loss", "val_loss", "accuracy", "learning_rate", "seconds"} <= set(rows[0])
    recipe = json.loads((done.folder / "recipe.json").read_text())
    assert recipe["data_sha256"] == RECIPE.data.load().checksum
    environment = (done.folder / "environment.json").read_text()
    assert keras.__version__ in environment and str(pathlib.Path.home()) not in environment
    card = (done.folder / "README.md").read_text()
    assert f"{done.metrics['value']:.4f}" in card and "SVC" in card and "model=MLP(" in card


def test_a_run_from_the_same_seed_is_the_same(done, tmp_path) -> None:
    again = kopt.run(RECIPE, folder=tmp_path, verbose=False)
    assert again.history["loss"] == done.history["loss"] and again.metrics["value"] == done.metrics["value"]
    other = kopt.run(replace(RECIPE, {"seed": 1}), folder=tmp_path, verbose=False)
    assert other.history["loss"] != done.history["loss"] and other.folder != again.folder


def test_the_picture_is_drawn(done) -> None:
    pixels = matplotlib.image.imread(done.folder / "plots" / "curves.png")
    assert pixels.shape[0] > 500 and len(np.unique(pixels[..., :3].reshape(-1, 3), axis=0)) > 20
    figure = kopt.plot(done)
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "accuracy", "learning rate"]
    assert len(figure.axes[0].lines) == 3  # the best epoch is marked
    np.testing.assert_allclose(figure.axes[2].lines[-1].get_ydata(), done.history["learning_rate"])


def test_plots_of_other_things(network, points) -> None:
    history = network().fit(*points, epochs=2, verbose=0)
    assert [axes.get_ylabel() for axes in kopt.plot(history).axes] == ["loss"]
    for bad, message in (
        (3, "value must be a schedule, a History, a run or a RateCurve, got 3"),
        (schedules.Cosine(0.1), "schedule must have a duration to be drawn, got Cosine"),
    ):
        with pytest.raises(ValueError, match=message):
            kopt.plot(bad)


def test_what_was_chosen_is_printed(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(runs, "train", functools.partial(runs.train, jit=True))
    kopt.run(replace(RECIPE, {"training.epochs": 2}), folder=tmp_path)
    printed = capsys.readouterr().out
    for part in (
        "data: Digits(",
        "devices: cpu",
        "engine: resident",
        "jit: True",
        "epoch 2/2",
        "test accuracy: 0.",
        "SVC",
        "target 0.5",
    ):
        assert part in printed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.inputs": (7, 7, 1)}, "model.inputs must be (8, 8, 1) for these data, got (7, 7, 1)."),
        ({"devices": "gpu:7"}, "devices must be one of"),
        ({"model.outputs": 5}, "model.outputs must be >= 10, the classes of these data, got 5."),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(changes, message: str, tmp_path) -> None:
    with pytest.raises(ValueError) as caught:
        kopt.run(replace(RECIPE, changes), folder=tmp_path, verbose=False)
    assert str(caught.value).startswith(message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule.warmup_duration": 5}, "warmup_duration must be shorter than the run of 3, got 5.0."),
        ({"model.task": "regression"}, "model.task must be 'classification' for these data, got 'regression'."),
        ({"seed": 2**32}, "seed must be in [0, 2 ** 32), got 4294967296."),
        ({"data.seed": -1}, "seed must be >= 0, got -1."),
        ({"model.activation": "rel"}, "activation must be the name of a Keras activation, got 'rel'."),
    ],
)
def test_a_recipe_that_cannot_work_is_no_recipe(changes, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        replace(RECIPE, changes)
    assert str(caught.value) == message


def test_an_unwritable_folder_is_refused_before_any_work(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(data.Digits, "load", lambda self: pytest.fail("work was done"))
    (tmp_path / "file").write_text("")
    with pytest.raises(
        ValueError, match=r"^folder must be one that can be written to, got '.*/file' \(Not a directory\)"
    ):
        kopt.run(RECIPE, folder=tmp_path / "file", verbose=False)


def test_nan_in_data_is_refused(tmp_path, monkeypatch) -> None:
    splits = RECIPE.data.load()
    splits.train.x[3, 2, 1] = np.nan
    monkeypatch.setattr(data.Digits, "load", lambda self: splits)
    monkeypatch.setattr(data.Digits, "baseline", lambda self, splits: data.Baseline("none", 0.0))
    with pytest.raises(ValueError, match=r"^x of the training split must be finite, got '1 that are not'"):
        kopt.run(RECIPE, folder=tmp_path, verbose=False)


def test_a_failing_run_leaves_nothing(tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt), run_folder(tmp_path, "name") as (unfinished, _):
        (unfinished / "half").write_text("")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_two_runs_in_one_second_have_two_names(tmp_path) -> None:
    for _ in range(3):
        with run_folder(tmp_path, "name"):
            pass
    assert len(list((tmp_path / "name").iterdir())) == 3


def test_changed_data_are_refused(monkeypatch) -> None:
    import sklearn.datasets

    changed = sklearn.datasets.load_digits()
    changed.data[0, 0] += 1
    monkeypatch.setattr(sklearn.datasets, "load_digits", lambda: changed)
    with pytest.raises(ValueError, match=r"^sklearn.datasets.load_digits\(\) must have sha256 "):
        data.Digits().load()


def test_a_missing_extra_is_named(monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(
        ImportError, match=r'sklearn must be installed for this, by: python -m pip install -e "\.\[recipes\]"'
    ):
        data.Digits().load()


class Undirected(keras.metrics.MeanMetricWrapper):
    """A metric of a user's that declares nothing."""


class Points(data.Data):
    """A data set of a user's, judged by a metric of which less is better."""

    task = "regression"
    direction = "min"

    def score(self) -> keras.metrics.Metric:
        return Undirected(keras.losses.mean_absolute_error, name="distance")

    def load(self) -> data.Splits:
        x = np.linspace(-1, 1, 90, dtype="float32")[:, None]
        return data.Splits(*(data.Split(x[start::3], x[start::3, 0]) for start in range(3)), "0" * 64)

    def baseline(self, splits: data.Splits) -> data.Baseline:
        return data.Baseline("zero", self.scored(splits.test.y, np.zeros_like(splits.test.y)))


class Unknown(Points):
    """The same without a direction."""

    direction = data.Data.direction


def points_recipe(points: data.Data) -> kopt.Recipe:
    training = kopt.Training(epochs=3, patience=2)
    model = models.MLP((1,), 1, task="regression")
    return kopt.Recipe("points", points, model=model, schedule=schedules.Constant(0.01), training=training, target=1e-9)


def test_early_stopping_targets_and_lists_read_the_direction_of_the_users_score(tmp_path, monkeypatch) -> None:
    modes = []
    stop = keras.callbacks.EarlyStopping
    monkeypatch.setattr(keras.callbacks, "EarlyStopping", lambda *a, **k: modes.append(k["mode"]) or stop(*a, **k))
    monkeypatch.setattr("kopt.report.run_reader.recipe_of", lambda text: points_recipe(Points()))
    assert not check_target(points_recipe(Points()), folder=tmp_path) and modes == ["min"] * 3
    values = [run.metrics["value"] for run in found_runs(tmp_path, "value")[0]]
    assert len(values) == 3 and values == sorted(values)


def test_a_score_without_a_direction_is_refused_before_any_work(tmp_path) -> None:
    with pytest.raises(ValueError, match="^score must be one whose direction is known, .*, got 'Undirected'.$"):
        kopt.run(points_recipe(Unknown()), folder=tmp_path, verbose=False)
    assert not list(tmp_path.iterdir())
