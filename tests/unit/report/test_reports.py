"""Reports of every task: served models, pictures, the worst examples, comparing and listing runs."""

import functools
import pathlib
import shutil
import string

import keras
import matplotlib.image
import numpy as np
import pytest
import tensorflow as tf

import kopt
from kopt import augment, data, models, report, schedules
from kopt.__main__ import main
from kopt.callbacks import EMA
from kopt.experiment.run import build
from kopt.experiment.serving import encoded
from kopt.report.evidence import Evidence, errors, worst
from kopt.training import clips
from kopt.values.field_paths import replace

RANDOM = np.random.default_rng(0)
PLANTS = str(pathlib.Path(__file__).parents[2] / "contracts" / "plants.csv")


def recipe(name: str, given: data.Data, model: models.Model, **fields) -> kopt.Recipe:
    training = kopt.Training(2, batch_size=32, patience=5)
    return kopt.Recipe(name, given, model=model, schedule=schedules.Cosine(0.01), training=training, **fields)


RECIPES = {
    "text": recipe("text", data.Reviews(examples=200), models.TextBag(2, vocabulary=200, length=20, width=4)),
    "table": recipe("table", data.CSV(PLANTS, target="kind", ignore=("number",)), models.MLP((5,), 3)),
    "numbers": recipe("numbers", data.Diamonds(examples=2000), models.MLP((29,), 1, task="regression")),
    "ratings": recipe("ratings", data.Ratings(examples=900), models.Factorization(671, 9066, width=2)),
    "ranking": recipe("ranking", data.Likes(examples=60), models.Autoencoder(2080, width=3)),
    "forecast": recipe(
        "forecast", data.Electricity(every=96, examples=60), models.ForecastMLP((336, 6), 48, units=(4,))
    ),
    "language": recipe("language", data.Characters(16, examples=60), models.CharGRU(16, width=4, layers=1)),
}
PICTURES = {"text": "confusion", "table": "confusion", "numbers": "residuals", "ratings": "residuals"}
PICTURES |= {"ranking": "recall", "forecast": "forecasts", "language": "places"}


def raw(x: object) -> object:
    """Inputs as a served model takes them."""
    if isinstance(x, dict):
        return {name: raw(column) for name, column in sorted(x.items())}
    return tf.constant([str(text) for text in x]) if x.dtype.kind == "O" else x


@pytest.fixture(scope="module")
def run_of(tmp_path_factory):
    """Run a recipe once for all tests that only read its folder."""
    return functools.cache(lambda name: kopt.run(RECIPES[name], folder=tmp_path_factory.mktemp(name), verbose=False))


@pytest.fixture
def table_run(run_of, tmp_path):
    """A copy of the run on a table, to be changed."""
    folder = run_of("table").folder
    return report.read_run(shutil.copytree(folder, tmp_path / "table" / folder.name))


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_serves_raw_inputs_and_shows_what_it_got_wrong(name: str, run_of) -> None:
    done = run_of(name)
    model, test = keras.saving.load_model(done.folder / "model.keras"), done.recipe.data.load().test
    outputs = model.predict(raw(test.x), verbose=0)
    assert done.recipe.data.scored(test.y, outputs) == pytest.approx(done.metrics["value"], abs=1e-3)
    assert {path.stem for path in (done.folder / "plots").iterdir()} == {"curves", PICTURES[name]}
    pixels = matplotlib.image.imread(done.folder / "plots" / f"{PICTURES[name]}.png")
    assert len(np.unique(pixels[..., :3].reshape(-1, 3), axis=0)) > 5
    card = (done.folder / "README.md").read_text()
    assert "The largest errors on the test split" in card and "gap: " in card
    assert f"plots/{PICTURES[name]}.png" in card
    assert report.read_run(done.folder).recipe == done.recipe


def test_a_served_model_goes_on_training_with_its_optimizer(run_of) -> None:
    done = run_of("table")
    model = keras.saving.load_model(done.folder / "model.keras")
    steps = int(model.optimizer.iterations)
    splits = done.recipe.data.load()
    assert steps == 2 * -(-len(splits.train.y) // 32)
    model.fit(raw(splits.train.x), splits.train.y, epochs=1, verbose=0)
    assert int(model.optimizer.iterations) > steps


def test_what_a_recipe_adds_to_training_is_used(tmp_path) -> None:
    """The augmentation, the clip, the average and micro-batches each change the weights; precision the layers."""
    given = data.Digits(examples=200)
    plain = recipe("plain", given, models.MLP((8, 8, 1), 10, units=(8,), scale=1 / 16))
    losses = {}
    for path, value in {
        "seed": 0,
        "augment": augment.Shift(0.2),
        "clip": clips.GlobalNorm(1e-3),
        "average": EMA(0.9),
        "training.precision": "mixed_bfloat16",
        "training.micro_batches": 2,
    }.items():
        losses[path] = kopt.run(replace(plain, {path: value}), folder=tmp_path, verbose=False).metrics["loss"]
    assert losses["training.micro_batches"] == pytest.approx(losses["seed"], rel=1e-4)
    others = [losses[path] for path in ("augment", "clip", "average", "training.precision")]
    assert len({losses["seed"], *others}) == 5
    model = build(
        replace(plain, {"training.precision": "mixed_bfloat16"}), given.load(), kopt.distribute.strategy("cpu")
    )
    assert model.layers[-1].compute_dtype == "bfloat16" and keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize(("precision", "name"), [("mixed_float16", "table"), ("mixed_bfloat16", "ranking")])
def test_a_run_in_half_precision_loads_with_its_optimizer(precision: str, name: str, tmp_path) -> None:
    done = kopt.run(replace(RECIPES[name], {"training.precision": precision}), folder=tmp_path, verbose=False)
    assert np.isfinite(done.metrics["loss"])
    model, test = keras.saving.load_model(done.folder / "model.keras"), done.recipe.data.load().test
    found = done.recipe.data.scored(test.y, model.predict(raw(test.x), verbose=0))
    assert found == pytest.approx(done.metrics["value"], abs=0.01)  # half precision rounds otherwise in another program
    assert int(model.optimizer.iterations) > 0


def test_a_baseline_that_fails_costs_no_training(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(data.CSV, "baseline", lambda self, splits: (_ for _ in ()).throw(ValueError("no baseline")))
    monkeypatch.setattr("kopt.experiment.run.train", lambda *_, **__: pytest.fail("it was trained"))
    with pytest.raises(ValueError, match="no baseline"):
        kopt.run(RECIPES["table"], folder=tmp_path, verbose=False)


DIGITS = data.Digits(examples=100)
TEXTS = data.arrays(np.array(["good", "bad"], object)[RANDOM.integers(0, 2, 60)], RANDOM.integers(0, 2, 60))
NUMBERS = data.arrays(RANDOM.normal(size=(60, 8, 8)), RANDOM.normal(size=60))
IMAGES = data.arrays(RANDOM.normal(size=(60, 8, 8, 1)), RANDOM.normal(size=60))
REGRESSION = models.MLP((8, 8, 1), 1, task="regression")


@pytest.mark.parametrize(
    ("given", "model", "fields", "message"),
    [
        (DIGITS, models.TextBag(10), {}, "model must take numbers, and not texts, for these data, got TextBag(10)."),
        (TEXTS, models.MLP((1,), 2), {}, "model must take texts, and not numbers or columns, for these data, got "),
        (DIGITS, models.MLP((8, 8, 1), 10), {"augment": augment.MixUp(0.1, classes=3)}, "classes must be 10, as the"),
        (DIGITS, models.MLP((8, 8, 1), 10), {"augment": augment.TokenDropout(0.1)}, "TokenDropout must be given the"),
        (IMAGES, REGRESSION, {"augment": augment.MixUp(0.1)}, "MixUp must be for classification, got 'regression'."),
        (
            NUMBERS,
            models.MLP((8, 8), 1, task="regression"),
            {"augment": augment.Jitter(0.1).then(augment.Rotate(0.1))},
            "Rotate must be given images of shape (n, height, width, channels), got ",
        ),
    ],
)
def test_parts_that_do_not_fit_are_named_before_training(given, model, fields, message, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("kopt.experiment.run.train", lambda *_, **__: pytest.fail("it was trained"))
    with pytest.raises(ValueError) as caught:
        kopt.run(recipe("misfit", given, model, **fields), folder=tmp_path, verbose=False)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(("place", "part"), [(0, "training"), (1, "validation"), (2, "test")])
def test_nan_in_any_split_is_refused(place: int, part: str, tmp_path, monkeypatch) -> None:
    splits = data.Digits(examples=100).load()
    splits[place].x[0, 0, 0] = np.nan
    monkeypatch.setattr(data.Digits, "load", lambda self: splits)
    monkeypatch.setattr(data.Digits, "baseline", lambda self, splits: data.Baseline("none", 0.0))
    with pytest.raises(ValueError, match=f"^x of the {part} split must be finite, got '1 that are not'"):
        kopt.run(recipe("nan", data.Digits(examples=100), models.MLP((8, 8, 1), 10)), folder=tmp_path, verbose=False)


def test_broken_folders_are_left_out_and_named(table_run, tmp_path, capsys) -> None:
    good = table_run
    for name, content in (("a", "{"), ("b", '{"a": 1}'), ("c", (good.folder / "recipe.json").read_text())):
        (tmp_path / "table" / name).mkdir()
        for file in ("recipe.json", "history.csv", "metrics.json"):
            (tmp_path / "table" / name / file).write_text(content if file == "recipe.json" else "")
    main(["runs", "--folder", str(tmp_path)])
    printed = capsys.readouterr()
    assert good.folder.name in printed.out and printed.err.count("left out: folder must be a run's") == 3
    main(["runs", "--folder", str(good.folder)])
    assert "no runs in" in capsys.readouterr().out


def test_patience_keeps_the_best_epoch(tmp_path) -> None:
    given = data.Digits(examples=200)
    falling = recipe("best", given, models.MLP((8, 8, 1), 10, units=(8,), scale=1 / 16))
    falling = replace(falling, {"schedule": schedules.Constant(3.0), "training.epochs": 30, "training.patience": 3})
    done = kopt.run(falling, folder=tmp_path, verbose=False)
    scores = done.history["val_accuracy"]
    best = int(np.argmax(scores))
    assert len(scores) == best + 4 < 30
    model = keras.saving.load_model(done.folder / "model.keras")
    found = model.evaluate(*given.load().validation, verbose=0, return_dict=True)
    assert found["accuracy"] == pytest.approx(scores[best])


def words_of(texts: np.ndarray) -> set[str]:
    """Words in small letters without punctuation."""
    return set("".join(one for one in " ".join(texts).lower() if one not in string.punctuation).split())


def test_encoding_learns_from_the_training_split_alone() -> None:
    text = replace(RECIPES["text"], {"model.vocabulary": 10_000})
    splits = text.data.load()
    encoder, _ = encoded(text, splits)
    known = set(encoder.layers[-1].get_vocabulary()) - {"", "[UNK]"}
    assert known == words_of(splits.train.x)
    assert len(words_of(splits.test.x) - known) > 50


def test_the_worst_examples_come_first() -> None:
    found = Evidence("regression", np.arange(9.0)[:, None], np.zeros(9), RANDOM.normal(size=(9, 1)))
    rows = worst(found, 3)
    np.testing.assert_allclose([row[-1] for row in rows], np.sort(np.abs(found.outputs.ravel()))[::-1][:3])
    items = Evidence("ranking", np.zeros((2, 3)), np.array([[1, 0, 1], [0, 1, 0]]), np.zeros((2, 3)), ("a", "b", "c"))
    assert worst(items, 1)[0][1:3] in (("a, c", "a, b, c"), ("b", "a, b, c")) and np.all(errors(items) == 0)


def test_comparing_tells_what_differs(table_run, tmp_path, capsys) -> None:
    first = table_run
    second = replace(RECIPES["table"], {"model.units": (5,), "schedule": schedules.Constant(0.002)})
    second = kopt.run(second, folder=tmp_path, verbose=False)
    told = dict(report.differences([first, second]))
    assert told["model.units"] == ["(64,)", "(5,)"] and told["schedule"] == ["Cosine(0.01)", "Constant(0.002)"]
    assert "seed" not in told and "model.dropout" not in told
    assert told["value"] == [f"{run.metrics['value']:.4g}" for run in (first, second)]
    main(["compare", str(first.folder), str(second.folder), "--picture", str(tmp_path / "both.png")])
    printed = capsys.readouterr().out
    assert "model.units" in printed and "Constant(0.002)" in printed
    assert matplotlib.image.imread(tmp_path / "both.png").shape[0] > 300
    figure = report.compare_figure([first, second])
    assert len(figure.axes) == 3 and len(figure.axes[0].lines) == 4 and len(figure.axes[2].lines) == 2
    main(["runs", "--folder", str(tmp_path), "--sort", "value"])
    rows = [line for line in capsys.readouterr().out.splitlines() if "table/" in line]
    assert len(rows) == 2
    expected = sorted((first, second), key=lambda run: -run.metrics["value"])
    assert [run.folder for run in report.found_runs(tmp_path, "value")[0]] == [run.folder for run in expected]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "a"], "folder must be a run's, with a recipe.json, got 'a'."),
        (["runs", "--folder", "nowhere"], "folder must be one with runs, got 'nowhere'."),
        (["compare", "a", "b", "--picture", "c.xyz"], "picture must be a .png, .svg or .pdf in a folder that is there"),
    ],
)
def test_bad_commands_end_with_a_sentence(arguments: list[str], message: str, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2 and message in capsys.readouterr().err


def test_an_unknown_sorting_is_named(table_run, tmp_path) -> None:
    with pytest.raises(ValueError, match="^sort must be one of folder, .*value.*, got 'worth'"):
        report.found_runs(tmp_path, "worth")


def test_check_target_ends_with_its_verdict(tmp_path, capsys, monkeypatch) -> None:
    checked = replace(RECIPES["table"], {"target": 0.05, "training.epochs": 1})
    with pytest.raises(SystemExit) as caught:
        kopt.run_command(kopt.Command(checked, check_target=True, folder=str(tmp_path)))
    printed = capsys.readouterr().out
    runs = report.found_runs(tmp_path)[0]
    values = [run.metrics["value"] for run in runs]
    assert caught.value.code == 0 and "reached" in printed
    assert len(values) == 3 and f"mean accuracy {np.mean(values):.4f}" in printed
    # The same three runs against a target out of reach.
    seeded = {run.recipe.seed: run for run in runs}
    monkeypatch.setattr("kopt.experiment.recipe_cli.run", lambda recipe, **_: seeded[recipe.seed])
    with pytest.raises(SystemExit) as caught:
        kopt.run_command(kopt.Command(replace(checked, {"target": 1.01}), check_target=True))
    assert caught.value.code == 1 and "missed" in capsys.readouterr().out


def test_less_is_better_for_errors(run_of, monkeypatch) -> None:
    from kopt.experiment.recipe_cli import check_target

    monkeypatch.setattr("kopt.experiment.recipe_cli.run", lambda recipe, **_: run_of("forecast"))
    assert run_of("forecast").metrics["metric"] == "mae"
    reached = [check_target(replace(RECIPES["forecast"], {"target": target})) for target in (100.0, 1e-6)]
    assert reached == [True, False]


def test_a_target_must_be_there_to_be_checked(capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        kopt.run_command(kopt.Command(RECIPES["table"], check_target=True))
    assert caught.value.code == 2 and "target must be set to be checked, got None" in capsys.readouterr().err


def test_data_and_model_that_do_not_fit_are_named(tmp_path) -> None:
    for changes, message in (
        ({"model.inputs": (4,)}, "model.inputs must be (5,) for these data, got (4,)."),
        ({"model.outputs": 2}, "model.outputs must be >= 3, the classes of these data, got 2."),
    ):
        with pytest.raises(ValueError) as caught:
            kopt.run(replace(RECIPES["table"], changes), folder=tmp_path, verbose=False)
        assert str(caught.value) == message
    with pytest.raises(ValueError, match="^model.outputs must be 48 for these data, got 3"):
        kopt.run(replace(RECIPES["forecast"], {"model.outputs": 3}), folder=tmp_path, verbose=False)
