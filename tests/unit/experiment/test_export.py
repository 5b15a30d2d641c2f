"""export: each format gives what the Keras model gives, and is refused or not written where it cannot."""

import json
import pathlib

import keras
import numpy as np
import onnxruntime.quantization
import pytest
import tensorflow as tf

import kopt
from kopt import data, models
from kopt.__main__ import main
from kopt.experiment import export as exporting
from kopt.experiment.export import export, lines, parts, worse
from kopt.experiment.export_check import Compared, as_logits, furthest
from kopt.experiment.export_formats import FORMATS
from kopt.experiment.inference import final
from kopt.report import Run

QUICK = {"schedule": kopt.schedules.Cosine(0.01), "training": kopt.Training(epochs=2, batch_size=32)}
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Run:
    """A run on numbers and texts, whose kernel of 1,024 numbers is large enough for int8."""
    folder, random = tmp_path_factory.mktemp("table"), np.random.default_rng(0)
    area, garden = random.normal(100, 30, 200).round(2), random.choice(["big", "small"], 200)
    rows = [f"{a},{g},{'house' if a > 100 or g == 'big' else 'flat'}" for a, g in zip(area, garden)]
    (folder / "houses.csv").write_text("\n".join(["area,garden,kind", *rows]))
    given = data.csv(str(folder / "houses.csv"), target="kind")
    wide = models.MLP((4,), 2, units=(256, 16))
    return kopt.run(kopt.Recipe("houses", given, model=wide, **QUICK), folder=folder, verbose=False)


@pytest.mark.parametrize(("format", "raw"), [("saved_model", True), ("litert", True), ("onnx", False)])
def test_a_format_gives_the_outputs_of_the_keras_model(table, format: str, raw: bool, tmp_path, capsys) -> None:
    target = tmp_path / f"of{FORMATS[format].ending}"
    main(["export", str(table.folder), "--format", format, "--output", str(target)])
    printed = capsys.readouterr().out
    report = json.loads(target.with_name(f"{target.name}.json").read_text())
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([target.name, f"{target.name}.json"])
    assert report["raw_input"] is raw and report["lacks"] == ([] if raw else ["StringLookup"])
    assert (
        "preprocessing          included" if raw else "left out: no StringLookup; inference.keras has it"
    ) in printed
    # Read again here: the report is of the file that was written.
    test = table.recipe.data.load().test
    copy = keras.saving.load_model(table.folder / "inference.keras")
    rows = {
        "area": tf.constant(test.x["area"][:, None]),
        "garden": tf.constant(test.x["garden"][:, None].astype(object)),
    }
    expected = copy(rows).numpy()
    given = test.x if raw else copy.get_layer("preprocessing")(rows).numpy()
    found = FORMATS[format].open(target)(given)
    assert np.abs(found - expected).max() <= 1e-5 and report["max_difference"] <= 1e-5
    accuracy = float(np.mean(found.argmax(1) == test.y))
    assert report["exported_value"] == pytest.approx(accuracy) and report["metric"] == "accuracy"
    assert report["keras_value"] == pytest.approx(table.metrics["value"]) and report["test_rows"] == len(test.y)
    assert report["exported_bytes"] == sum(one.stat().st_size for one in [target, *target.rglob("*")] if one.is_file())
    assert all(report[f"{way}_ms_of_{rows}"] > 0 for way in ("keras", "exported") for rows in (1, len(test.y)))


@pytest.mark.parametrize("format", ["litert", "onnx"])
def test_int8_is_smaller_and_an_old_file_is_replaced(table, format: str, tmp_path, capsys) -> None:
    ending = FORMATS[format].ending
    plain, small = export(table, format), export(table, format, quantize="int8")
    assert small["path"].endswith(f"model.int8{ending}") and small["exported_bytes"] < plain["exported_bytes"]
    assert 0 < small["max_difference"] < 0.05 and plain["max_difference"] < 1e-5
    pathlib.Path(small["path"]).write_bytes(b"old")
    main(["export", str(table.folder), "--format", format, "--quantize", "int8"])
    # Names in a file of ONNX have numbers that count up in a process.
    assert pathlib.Path(small["path"]).stat().st_size == pytest.approx(small["exported_bytes"], rel=0.01)
    printed = capsys.readouterr().out
    assert FORMATS[format].int8 in printed and "int8 score             within 0.01 of the Keras model's" in printed
    assert not [path.name for path in table.folder.iterdir() if path.name.startswith((".export", "plain", "small"))]


def test_a_score_that_int8_makes_worse_is_said() -> None:
    assert worse(Compared(9, 0.1, 1.0, 0.8, 0.6), "max") == pytest.approx(0.25)
    assert worse(Compared(9, 0.1, 1.0, 2.0, 2.5), "min") == pytest.approx(0.25)
    assert worse(Compared(9, 0.1, 1.0, 0.8, 0.9), "max") < 0 and worse(Compared(9, 0.1, 1.0, 0.0, 0.0), "max") == 0
    figures = {"metric": "recall", "raw_input": True, "format": "onnx", "quantize": "int8", "path": "a.onnx"}
    numbers = dict.fromkeys(("keras_bytes", "exported_bytes", "keras_value", "exported_value", "test_rows"), 1)
    report = figures | numbers | {"max_difference": 0.1, "largest_output": 1.0, "worse": 0.25}
    assert "int8 score             WORSE by 0.25 of the Keras model's" in lines(report)
    assert lines(report | {"worse": float("nan")})[-2].endswith("WORSE by nan of the Keras model's")
    assert lines(report | {"worse": -0.1})[-2].endswith("within 0.01 of the Keras model's")


def test_a_model_without_a_weight_for_int8_is_refused_and_nothing_is_written(tmp_path) -> None:
    inputs = keras.Input((4,))
    twice = keras.Model(inputs, keras.layers.Rescaling(2.0)(inputs))
    twice(np.ones((1, 4)))  # as `export` does
    with pytest.raises(ValueError, match=r"^quantize must be left out for a model without a weight .*, got .*'Mul'"):
        FORMATS["onnx"].write(twice, tmp_path / "a.onnx", "int8")
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]  # in a folder aside, see `export`


def test_what_onnxruntime_cannot_quantize_is_refused_in_a_sentence(table, tmp_path, monkeypatch) -> None:
    def fail(*_, **__):
        raise RuntimeError("Invalid model with unknown tensors.")

    monkeypatch.setattr(onnxruntime.quantization, "quantize_dynamic", fail)
    with pytest.raises(ValueError, match="^quantize must be left out for this model, onnxruntime says: Invalid model"):
        export(table, "onnx", quantize="int8", output=tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_loops_which_onnxruntime_would_break_are_refused(tmp_path) -> None:
    network = models.CharGRU(8, width=16, layers=1).build()
    network(np.zeros((1, 8), "int32"))
    with pytest.raises(ValueError, match=r"^quantize must be left out for a recurrent network .*, got \['Loop'\]"):
        FORMATS["onnx"].write(network, tmp_path / "a.onnx", "int8")


def test_other_outputs_are_refused_and_leave_nothing(table, tmp_path, monkeypatch, capsys) -> None:
    kind = FORMATS["litert"]
    wrong = kind._replace(open=lambda path: lambda rows: kind.open(path)(rows) + np.float32(0.01))
    monkeypatch.setitem(FORMATS, "litert", wrong)
    with pytest.raises(SystemExit) as ended:
        main(["export", str(table.folder), "--format", "litert", "--output", str(tmp_path / "a.tflite")])
    assert ended.value.code == 2 and list(tmp_path.iterdir()) == []
    said = "litert must give the outputs of the model, within 0.0001 of the largest, got 0.0"
    assert said in capsys.readouterr().err


def test_what_cannot_be_exported_is_refused_before_data_are_loaded(table, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(exporting, "compared", None)
    monkeypatch.setattr(type(table.recipe.data), "load", None)
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "other").mkdir()
    for arguments, sentence in (
        ({"format": "tflite"}, "format must be one of litert, onnx, saved_model, got 'tflite'"),
        ({"format": "saved_model", "quantize": "int8"}, "quantize must be int8, with the format litert or onnx, or"),
        ({"format": "litert", "quantize": "int4"}, "quantize must be int8"),
        ({"format": "onnx", "output": tmp_path / "a.tflite"}, "output must end in .onnx"),
        (
            {"format": "onnx", "output": tmp_path / "no" / "a.onnx"},
            "output must end in .onnx, in a folder",
        ),
        ({"format": "onnx", "output": tmp_path / "folder.onnx"}, "output must be new, or a onnx to be replaced"),
        ({"format": "saved_model", "output": tmp_path / "other"}, "output must be new, or a saved_model"),
    ):
        with pytest.raises(ValueError, match=f"^{sentence}"):
            export(table, **arguments)


def test_layers_that_a_format_lacks() -> None:
    network = models.CharGRU(4, width=4).build()
    assert parts(network, "onnx") == (None, network, [])
    with pytest.raises(ValueError, match=r"^format must hold .*: litert does not hold these, got \['GRU'\]"):
        parts(network, "litert")


def test_outputs_are_compared_as_scores_see_them() -> None:
    hidden = np.array([[1.0, -1e9]], "float32")
    assert furthest(hidden + np.float32(0.5), hidden) == 0.5 and furthest(np.zeros((1, 2)), hidden) == np.inf
    assert furthest(np.full((1, 2), np.nan), np.zeros((1, 2))) == np.inf
    chances = np.array([[0.2, 0.8], [0.0, 1.0]], "float32")
    np.testing.assert_allclose(final(as_logits(chances), "classification"), chances, atol=1e-7)
