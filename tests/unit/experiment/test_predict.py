"""predict and evaluate: later rows in the names of the data, from Python and from the command line."""

import csv
import io
import json
import logging
import os
import pathlib
import sys

import keras
import numpy as np
import pandas
import pytest

import kopt
from kopt import data, models
from kopt.__main__ import main
from kopt.experiment.given_rows import inputs_for
from kopt.experiment.given_targets import named_classes, targets_in
from kopt.experiment.predict import evaluate, predictions, with_names
from kopt.report import Run, read_run, run_writer
from kopt.values.fields import Value

QUICK = {"schedule": kopt.schedules.Cosine(0.01), "training": kopt.Training(epochs=2, batch_size=32)}
CLASSES = ("flat", "house")


def rows_of_table(count: int, seed: int = 0) -> pandas.DataFrame:
    random = np.random.default_rng(seed)
    area, garden = random.normal(100, 30, count).round(2), random.choice(["big", "small", "tiny"], count)
    kind = np.where((area > 100) | (garden == "big"), "house", "flat")
    return pandas.DataFrame({"number": np.arange(count), "area": area, "garden": garden, "kind": kind})


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Run:
    """A run on a CSV file: a column of numbers, one of names, two classes; one column is ignored."""
    folder = tmp_path_factory.mktemp("table")
    rows_of_table(200).to_csv(folder / "houses.csv", index=False)
    given = data.csv(str(folder / "houses.csv"), target="kind", ignore=("number",))
    wide = models.MLP((5,), 2, units=(8,))  # the area, three gardens and an unknown one
    return kopt.run(kopt.Recipe("houses", given, model=wide, **QUICK), folder=folder, verbose=False)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Run:
    network = models.MLP((8, 8, 1), 10, units=(8,), scale=1 / 16)
    recipe = kopt.Recipe("digits", data.Digits(examples=100), model=network, **QUICK)
    return kopt.run(recipe, folder=tmp_path_factory.mktemp("images"), verbose=False)


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> Run:
    network = models.TextBag(2, vocabulary=200, length=20, width=8)
    recipe = kopt.Recipe("reviews", data.Reviews(examples=100), model=network, **QUICK)
    return kopt.run(recipe, folder=tmp_path_factory.mktemp("texts"), verbose=False)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(np.asarray(logits, "float64") - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def test_a_frame_has_the_classes_and_their_probabilities(table, caplog) -> None:
    caplog.set_level(logging.INFO, "kopt")
    rows = rows_of_table(50, seed=1).set_index(np.arange(1000, 1050))
    found = kopt.predict(table, rows[["kind", "garden", "area"]])
    assert list(found.columns) == ["class", *CLASSES] and found.index.equals(rows.index)
    model = keras.saving.load_model(table.folder / "model.keras")
    logits = model.predict({"area": rows["area"].to_numpy(), "garden": rows["garden"].to_numpy(object)}, verbose=0)
    np.testing.assert_allclose(found[list(CLASSES)], softmax(logits), atol=1e-6)
    assert list(found["class"]) == [CLASSES[place] for place in logits.argmax(1)]
    assert "columns that are no inputs are left out: kind" in caplog.text and "garden" not in caplog.text
    # From the folder, from columns, in batches of another size: the same.
    columns = {"garden": list(rows["garden"]), "area": list(rows["area"])}
    again = kopt.predict(table.folder, columns, batch_size=7)
    pandas.testing.assert_frame_equal(kopt.predict(table.folder, rows.to_dict("records"), batch_size=7), again)
    np.testing.assert_allclose(again[list(CLASSES)], found[list(CLASSES)], atol=1e-6)


def test_a_file_gives_what_its_rows_give(table, tmp_path, capsys, monkeypatch) -> None:
    rows = rows_of_table(40, seed=2)
    path, target = tmp_path / "rows.csv", tmp_path / "found.jsonl"
    rows[["garden", "kind", "area"]].to_csv(path, index=False)
    expected = kopt.predict(table, rows)
    pandas.testing.assert_frame_equal(kopt.predict(table, path), expected)
    main(["predict", str(table.folder), str(path)])
    printed = capsys.readouterr()
    pandas.testing.assert_frame_equal(pandas.read_csv(io.StringIO(printed.out)), expected, rtol=1e-5, check_dtype=False)
    assert "left out: kind" in printed.err
    main(["predict", str(table.folder), str(path), "--output", str(target)])
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    assert [line["class"] for line in lines] == list(expected["class"]) and set(lines[0]) == {"class", *CLASSES}
    assert "40 rows: " in capsys.readouterr().out
    main(["predict", str(table.folder), str(path), "--format", "jsonl"])
    assert capsys.readouterr().out == target.read_text()
    main(["predict", str(table.folder), str(path), "--format", "csv", "--output", str(tmp_path / "found.txt")])
    assert (tmp_path / "found.txt").read_text() == printed.out
    capsys.readouterr()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    main(["predict", str(table.folder), "-"])
    assert capsys.readouterr().out == printed.out


@pytest.mark.parametrize("command", ["predict", "evaluate", "show", "runs", "--help"])
def test_a_command_ends_quietly_when_nothing_reads_its_output(
    table, command: str, tmp_path, capsys, monkeypatch
) -> None:
    """As `kopt predict RUN FILE | head -1` after the first line."""
    rows = rows_of_table(2000, seed=3)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    run, file = str(table.folder), str(tmp_path / "rows.csv")
    given = {"predict": [run, file], "evaluate": [run, file], "show": [run]}
    given["runs"] = ["--folder", str(table.folder.parent.parent)]
    reads, writes = os.pipe()
    os.close(reads)
    with os.fdopen(writes, "w") as gone, pytest.raises(SystemExit) as ended:
        monkeypatch.setattr(sys, "stdout", gone)
        main([command, *given.get(command, [])])
    assert ended.value.code == 141 and "Error" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [(ValueError("rate must be > 0, got 0."), 2, "error: rate must be > 0, got 0.\n"), (SystemExit(1), 1, "")],
)
def test_an_error_is_told_where_nothing_reads_the_output(raised, code: int, said: str, capsys, monkeypatch) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    with os.fdopen(writes, "w") as gone, pytest.raises(SystemExit) as ended, kopt.exit_codes():
        monkeypatch.setattr(sys, "stdout", gone)
        print("what nothing reads")
        raise raised
    assert ended.value.code == code and capsys.readouterr().err == said


def test_an_error_that_is_no_refusal_goes_on_where_nothing_reads_the_output(monkeypatch) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    with os.fdopen(writes, "w") as gone, pytest.raises(ZeroDivisionError), kopt.exit_codes():
        monkeypatch.setattr(sys, "stdout", gone)
        print("what nothing reads")
        raise ZeroDivisionError


def test_a_closed_output_is_no_error(monkeypatch) -> None:
    with kopt.exit_codes():
        monkeypatch.setattr(sys, "stdout", None)


def test_another_broken_pipe_is_an_error(tmp_path, monkeypatch) -> None:
    with open(tmp_path / "said", "w") as file, pytest.raises(BrokenPipeError), kopt.exit_codes():
        monkeypatch.setattr(sys, "stdout", file)
        raise BrokenPipeError


def test_evaluate_gives_the_score_of_the_run_on_its_test_split(table, tmp_path, capsys) -> None:
    test = table.recipe.data.load().test
    path = tmp_path / "test.csv"
    with open(path, "w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["kind", *test.x])
        lines.writerows(zip((CLASSES[place] for place in test.y), *test.x.values()))
    found = evaluate(table.folder, path)
    assert found["rows"] == len(test.y) and found["accuracy"] == pytest.approx(table.metrics["value"])
    assert found["loss"] == pytest.approx(table.metrics["loss"], rel=1e-5)
    main(["evaluate", str(table.folder), str(path)])
    printed = capsys.readouterr().out.split()
    assert float(printed[printed.index("accuracy") + 1]) == pytest.approx(table.metrics["value"])
    assert evaluate(table, test.x, test.y) == evaluate(table, test.x, [CLASSES[place] for place in test.y])


def test_images_from_files_and_arrays(images, tmp_path) -> None:
    test = images.recipe.data.load().test
    for row, (image, label) in enumerate(zip(test.x[:6], test.y[:6])):
        (tmp_path / "all" / str(label)).mkdir(parents=True, exist_ok=True)
        keras.utils.save_img(tmp_path / "all" / str(label) / f"{row}.png", image, scale=False)
    np.save(tmp_path / "images.npy", test.x[:6])
    np.savez(tmp_path / "test.npz", x=test.x, y=test.y)
    files = [next((tmp_path / "all").rglob(f"{row}.png")) for row in range(6)]
    expected = kopt.predict(images, test.x[:6])
    assert list(expected.columns) == ["class", *map(str, range(10))] and expected["class"].dtype.kind == "i"
    for given in (files, tmp_path / "images.npy"):
        pandas.testing.assert_frame_equal(kopt.predict(images, given), expected)
    folder = kopt.predict(images, tmp_path / "all")
    assert sorted(map(tuple, folder.to_numpy().tolist())) == sorted(map(tuple, expected.to_numpy().tolist()))
    assert evaluate(images, tmp_path / "test.npz")["accuracy"] == pytest.approx(images.metrics["value"])
    assert evaluate(images, tmp_path / "all")["rows"] == 6


def test_the_standard_input_takes_what_files_hold(images, tmp_path, capsys, monkeypatch) -> None:
    test = images.recipe.data.load().test
    keras.utils.save_img(tmp_path / "one.png", test.x[0], scale=False)
    np.save(tmp_path / "one.npy", test.x[:1])
    np.savez(tmp_path / "one.npz", x=test.x[:1], y=test.y[:1])
    printed = []
    for name in ("one.png", "one.npy", "one.npz"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((tmp_path / name).read_bytes())))
        main(["predict", str(images.folder), "-"])
        printed.append(capsys.readouterr().out)
    assert printed[0].startswith("class,0,1") and len(set(printed)) == 1


def test_a_table_gives_the_numbers_of_a_run_on_arrays(tmp_path) -> None:
    """Columns in their order, without the targets."""
    (tmp_path / "rows.csv").write_text("first,y,second\n1,5,2\n3,6,4.5\n")
    two = keras.Input((2,))
    found = inputs_for(keras.Model(two, two), data.Digits(), tmp_path / "rows.csv")
    np.testing.assert_array_equal(found, [[1, 2], [3, 4.5]])
    assert list(targets_in(data.Digits(), tmp_path / "rows.csv")) == ["5", "6"]
    (tmp_path / "three.csv").write_text("a,b,c\n1,2,3\n")
    with pytest.raises(ValueError, match=r"^rows must be of the shape \(n, 2\), got \(1, 3\)."):
        inputs_for(keras.Model(two, two), data.Digits(), tmp_path / "three.csv")


def test_texts_from_files_and_lists(texts, tmp_path, capsys) -> None:
    said = [one.replace("\n", " ") for one in texts.recipe.data.load().test.x[:5]]
    (tmp_path / "lines.txt").write_text("\n".join(said), encoding="utf-8")
    pandas.DataFrame({"text": said, "stars": 5}).to_csv(tmp_path / "rows.csv", index=False)
    expected = kopt.predict(texts, said)
    assert list(expected.columns) == ["class", "other", "great"] and set(expected["class"]) <= {"other", "great"}
    for given in (np.array(said), np.array(said, object), tmp_path / "lines.txt", tmp_path / "rows.csv"):
        pandas.testing.assert_frame_equal(kopt.predict(texts, given), expected)
    main(["predict", str(texts.folder), str(tmp_path / "lines.txt")])
    assert len(capsys.readouterr().out.splitlines()) == 6


class Of(Value):
    """A stand-in for data of another task."""

    task: str
    labels: tuple[str, ...] = ()
    target_column = None


def test_the_columns_of_other_tasks() -> None:
    numbers = np.array([[1.0, 2.0], [3.0, 4.0]], "float32")
    assert list(with_names(Of("forecast"), numbers, 1)) == ["t+1", "t+2"]
    assert list(with_names(Of("regression"), numbers[:, :1], 1)) == ["value"]
    scores = np.array([[0.5, -1e9, 2.0], [-1e9, -1e9, 1.0]])
    found = with_names(Of("ranking", ("a", "b", "c")), scores, 2)
    assert {name: column.tolist() for name, column in found.items() if "item" in name} == {
        "item 1": ["c", "c"],
        "item 2": ["a", None],
    }
    assert found["score 1"].tolist() == [2.0, 1.0] and np.isnan(found["score 2"][1])
    named = with_names(Of("classification", ("class", "b")), np.array([[0.3, 0.7]]), 1)
    assert {name: column.tolist() for name, column in named.items()} == {
        "predicted class": ["b"],
        "class": [0.3],
        "b": [0.7],
    }


ROWS = {"area": [1.0], "garden": ["big"]}


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ({"area": [1.0]}, r"rows must have .*got \['garden'\]."),
        (ROWS | {"area": ["large"]}, "column 'area'"),
        (np.ones((2, 2)), "rows must be columns by name, .* for this run, got"),
        ("no.csv", "rows must be .*got 'no.csv'."),
    ],
)
def test_rows_that_do_not_fit_are_refused_in_a_sentence(table, rows, sentence: str, tmp_path, capsys) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        kopt.predict(table, rows)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (np.ones((2, 8, 8)), r"rows must be of the shape \(n, 8, 8, 1\), got \(2, 8, 8\)."),
        (np.ones((0, 8, 8, 1)), "rows must have a row or more, got"),
        (np.full((1, 8, 8, 1), np.nan), "rows must be finite, got '64 that are not'."),
        ({"x": np.ones(3)}, "rows must be an array for this run, and no columns, got 'dict'."),
        ("rows.txt", r"rows must be of images \(.*\) for this run, got 'rows.txt'."),
    ],
)
def test_arrays_that_do_not_fit_are_refused_in_a_sentence(images, rows, sentence, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    pathlib.Path("rows.txt").write_text("a")
    with pytest.raises(ValueError, match=f"^{sentence}"):
        kopt.predict(images, rows)


def test_what_cannot_be_predicted_or_scored_ends_with_a_sentence(table, tmp_path, capsys) -> None:
    network = models.CharGRU(16, width=8)
    recipe = kopt.Recipe("language", data.Characters(length=16, examples=60), model=network, **QUICK)
    results = {"metric": "bits", "value": 1.0, "baseline": 1.0, "seconds": 1.0, "parameters": 1}
    (tmp_path / "run").mkdir()
    unscored = Run(tmp_path / "run", recipe, {"loss": [1.0]}, results)
    run_writer.write_result(unscored.folder, unscored, network.build(), "0")
    rows_of_table(3).drop(columns="kind").to_csv(tmp_path / "rows.csv", index=False)
    rows_of_table(3).assign(kind="castle").to_csv(tmp_path / "castles.csv", index=False)
    run, house, rows, castles = map(
        str, (unscored.folder, table.folder, tmp_path / "rows.csv", tmp_path / "castles.csv")
    )
    for arguments, sentence in {
        ("predict", run, rows): "run must not be of a language model",
        ("predict", "nowhere", rows): "folder must be a run's",
        (
            "predict",
            house,
            str(tmp_path / "rows.csv"),
            "--output",
            "a.xlsx",
        ): "output must end in .csv or .jsonl, or come with a format, got 'a.xlsx'",
        ("predict", house, rows, "--output", "no/a.csv"): "output must be - or a file in a folder that is there",
        ("predict", house, rows, "--format", "xml"): "format must be one of csv, jsonl, got 'xml'",
        ("predict", house, rows, "--output", "a.csv", "--format", "jsonl"): "format must be that of the output, a.csv",
        ("evaluate", house, rows): "rows must have the targets by the name 'kind'",
        ("evaluate", house, castles): r"y must be of the classes ('flat', 'house')",
    }.items():
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert ended.value.code == 2 and len(said) == 1 and said[0].startswith(f"error: {sentence}"), said
    with pytest.raises(ValueError, match="^batch_size must be a whole number >= 1, got 0.$"):
        predictions(table, ROWS, batch_size=0)
    with pytest.raises(ValueError, match="^y must be of 1 rows, as many as there are, got 2.$"):
        evaluate(table, ROWS, ["flat", "flat"])
    assert read_run(house).metrics["value"] == table.metrics["value"]


@pytest.mark.parametrize("spelt", [("FALSE", "TRUE"), ("false", "true"), (" False", "True ")])
def test_classes_are_read_as_the_tables_reader_reads_them(spelt) -> None:
    names = np.array([spelt[row % 2] for row in range(4)], object)
    assert named_classes(names, ("False", "True")).tolist() == [0, 1, 0, 1]
    with pytest.raises(ValueError, match="^y must be of the classes"):
        named_classes(np.array(["maybe"], object), ("False", "True"))


def test_tables_are_read_as_the_tables_reader_reads_them(texts, tmp_path) -> None:
    """A run whose data read no tables: a sentence for files that are none, and Parquet without pandas."""
    (tmp_path / "odd.csv").write_text('text\n"no end')
    (tmp_path / "other.csv").write_bytes("text\nschön\n".encode("latin-1"))
    for name in ("odd.csv", "other.csv"):
        with pytest.raises(ValueError, match=f"^rows must be a CSV file in UTF-8, got .*{name}"):
            predictions(texts, tmp_path / name)
    rows = pandas.DataFrame({"text": ["good film", "bad film"], "y": ["1", "0"]})
    rows.to_parquet(tmp_path / "rows.parquet")
    rows.to_csv(tmp_path / "rows.csv", index=False)
    found = [predictions(texts, tmp_path / f"rows.{ending}") for ending in ("parquet", "csv")]
    assert found[0]["class"].tolist() == found[1]["class"].tolist() and len(found[0]["class"]) == 2
    assert list(targets_in(texts.recipe.data, tmp_path / "rows.parquet")) == ["1", "0"]


def test_targets_of_a_folder_are_those_of_its_images(images, tmp_path) -> None:
    for name in ("3", "7"):
        (tmp_path / name).mkdir()
        keras.utils.save_img(tmp_path / name / "one.png", np.zeros((8, 8, 1)))
    (tmp_path / "7" / "notes.txt").write_text("no image")
    assert targets_in(images.recipe.data, tmp_path) == ["3", "7"]
