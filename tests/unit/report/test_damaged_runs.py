"""Damaged run folders: left out and named, by every command; nothing in a file steers the terminal or a page."""

import json
import pathlib
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as some

import kopt
from kopt import data, models, report, schedules
from kopt.__main__ import main
from kopt.report import run_writer
from kopt.report.evidence import Evidence
from kopt.report.model_card import model_card
from kopt.report.pictures import evidence_figure, worst_images
from kopt.values import texts

RECIPE = kopt.Recipe(
    "whole",
    data.Digits(examples=60),
    model=models.MLP((8, 8, 1), 10),
    schedule=schedules.Cosine(0.01),
    training=kopt.Training(epochs=3),
)
METRICS = {
    "metric": "accuracy",
    "value": 0.5,
    "loss": 1.0,
    "target": None,
    "baseline": 0.25,
    "baseline_name": "SVC",
    "parameters": 4810,
    "seconds": 2.0,
    "devices": "cpu",
}
HISTORY = {"loss": [2.0, 1.0, 0.5], "accuracy": [0.1, 0.2, 0.3], "val_accuracy": [0.1, 0.2, 0.3]}
HISTORY |= {"learning_rate": [0.01, 0.005, 0.0]}


class Savable:
    """What is enough of a model to be written."""

    def save(self, path: pathlib.Path) -> None:
        path.write_bytes(b"")


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    """Two whole runs, and one that is to be damaged."""
    for name in ("one", "two", "three"):
        place = tmp_path / "whole" / name
        place.mkdir(parents=True)
        run_writer.write_result(place, report.Run(place, RECIPE, HISTORY, METRICS), Savable(), "0" * 64)
    return tmp_path


HEADER = "epoch,loss,accuracy\n"
DAMAGE = {
    "metrics.json": [
        "null",
        "3",
        "[]",
        "",
        "{",
        '{"metric": "accuracy"}',
        json.dumps(METRICS | {"value": "a text"}),
        json.dumps(METRICS | {"value": None}),
        json.dumps(METRICS | {"value": True}),
        json.dumps(METRICS | {"seconds": []}),
        json.dumps(METRICS | {"parameters": None}),
        json.dumps(METRICS | {"metric": 3}),
        json.dumps(METRICS | {"baseline": 10**400}),
        "[" * 100_000,
    ],
    "history.csv": [
        "",
        "\n",
        "epoch,accuracy\n1,2\n",
        HEADER + "1,2\n",
        HEADER + "1,2,3,4\n",
        HEADER + "1,2,0.",
        HEADER + "1,a,3\n",
        HEADER + "1,2," + "9" * 200_000 + "\n",
        "epoch,loss,loss\n1,2,3\n",
        '"epoch,loss',
    ],
    "recipe.json": [
        "null",
        "{}",
        '{"recipe": 3}',
        '{"recipe": ' + '{"config":' * 100_000,
        '{"recipe": {"module": "os", "class_name": "system", "config": {}, "registered_name": null}}',
        '{"recipe": {"module": "kopt.experiment.recipe", "class_name": "Recipe", "config": {"name": 1},'
        ' "registered_name": "kopt.recipes>Recipe"}}',
    ],
}
CASES = [(name, content) for name, contents in DAMAGE.items() for content in contents]


def all_commands(folder: pathlib.Path, capsys) -> tuple[str, str]:
    """What the commands print; no error but a refusal gets through."""
    one, two, three = (str(folder / "whole" / name) for name in ("one", "two", "three"))
    main(["runs", "--folder", str(folder)])
    main(["runs", "--folder", str(folder), "--sort", "value"])
    main(["compare", one, two, three, "--picture", str(folder / "picture.png")])
    try:
        main(["show", three])
        kopt.plot(report.read_run(three)).savefig(folder / "plot.png")
    except (SystemExit, ValueError) as refused:
        assert isinstance(refused, ValueError) or refused.code == 2
    printed = capsys.readouterr()
    for text in printed:
        assert all(one.isprintable() or one == "\n" for one in text)
        assert len(text) < 20_000
    return printed.out, printed.err


@pytest.mark.parametrize(("name", "content"), CASES, ids=[f"{name} {content[:20]!r}" for name, content in CASES])
def test_a_damaged_run_is_left_out_and_named(name: str, content: str, folder, capsys, monkeypatch) -> None:
    monkeypatch.setattr("kopt.report.compare.compare_figure", lambda runs: Picture())
    (folder / "whole" / "three" / name).write_text(content)
    out, err = all_commands(folder, capsys)
    assert out.count("whole/one") == out.count("whole/two") == 3 and "whole/three" not in out
    named = [line for line in err.splitlines() if f"with a whole {name}, got" in line and "three' (" in line]
    assert len(named) == 4 and named[-1].startswith("error: folder must be") and len(set(map(len, named))) <= 2


class Picture:
    def savefig(self, path: str, dpi: int = 100) -> None: ...


@pytest.mark.parametrize("name", ["recipe.json", "history.csv", "metrics.json"])
def test_a_file_that_is_lacking_or_cannot_be_read_is_named(name: str, folder) -> None:
    (folder / "whole" / "three" / name).unlink()
    assert [f"with a {name}, got" in sentence for sentence in report.found_runs(folder)[1]] == [True]
    (folder / "whole" / "three" / name).write_bytes(b"\xff\xfe")
    assert [f"with a whole {name}, got" in sentence for sentence in report.found_runs(folder)[1]] == [True]


JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NUMBER = some.floats().map(repr) | some.sampled_from(["", "nan", "inf", "-1e308", "1e308", "x", "1_0", "\x1b[31m"])


@some.composite
def damaged(draw) -> tuple[str, str]:
    """A file of a run, and another content of it."""
    name = draw(some.sampled_from(["metrics.json", "history.csv", "recipe.json"]))
    if name == "history.csv":
        rows = draw(some.lists(some.lists(NUMBER, min_size=2, max_size=5), max_size=4))
        header = draw(some.sampled_from([HEADER, "epoch,loss\n", "epoch,loss,val_accuracy,accuracy,learning_rate\n"]))
        return name, header + "".join(",".join(["1", *row]) + "\n" for row in rows)
    if name == "metrics.json":
        return name, json.dumps(METRICS | draw(some.dictionaries(some.sampled_from([*METRICS, "x", "[red]"]), JSON)))
    whole = run_writer.to_json(RECIPE)
    place = int(draw(some.floats(0, 0.999)) * len(whole))
    changed = whole[:place] + draw(some.sampled_from(["", "0", '"', "null", "[", "\x00", "\x1b"])) + whole[place + 1 :]
    return name, '{"recipe": ' + changed + "}"


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damaged())
def test_no_file_breaks_a_command(folder, capsys, change) -> None:
    name, content = change
    shutil.rmtree(folder / "whole" / "three")
    shutil.copytree(folder / "whole" / "two", folder / "whole" / "three")
    (folder / "whole" / "three" / name).write_text(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kopt.report.compare.compare_figure", lambda runs: Picture())
        patch.setattr("kopt.plot", lambda run: Picture())
        out, _ = all_commands(folder, capsys)
    assert out.count("whole/one") == 3


CURVE = some.lists(some.floats() | some.sampled_from([1e308, -1e308, 5e-324]), min_size=1, max_size=3)


@settings(max_examples=5, deadline=None, phases=[Phase.explicit, Phase.generate])  # a picture takes 0.3 s
@example({name: [value, 1.0] for name, value in zip(HISTORY, (1e308, 5e-324, -1e308, float("inf")))})
@example({name: [float("nan")] for name in [*HISTORY, "val_loss"]})
@given(some.dictionaries(some.sampled_from([*HISTORY, "val_loss", "gradient_norm"]), CURVE))
@pytest.mark.filterwarnings("ignore")  # matplotlib's, of numbers that it cannot draw
def test_any_history_is_drawn(tmp_path_factory, curves) -> None:
    length = min(map(len, curves.values()), default=2)
    history = {name: values[:length] for name, values in ({"loss": [1.0] * length} | curves).items()}
    run = report.Run(tmp_path_factory.getbasetemp(), RECIPE, history, METRICS)
    kopt.plot(run).savefig(run.folder / "history.svg")
    report.compare_figure([run, run]).savefig(run.folder / "compare.svg")


def test_markup_in_files_is_shown_and_not_obeyed(folder, capsys) -> None:
    metrics = METRICS | {"metric": "[red]x[/red]", "[bold]": "\x1b]0;title\x07", "\u202e": "[link=http://x]y[/link]"}
    (folder / "whole" / "three" / "metrics.json").write_text(json.dumps(metrics))
    out, _ = all_commands(folder, capsys)
    assert out.count("[red]x[/red]") == 4 and "[bold]" in out and r"\x1b]0;title\x07" in out and r"\u202e" in out


EVIL = ("$\\frac{", "<script>a</script>", "![x](http://y) `*_|", "\x1b[31m")


def test_names_of_classes_do_not_steer_a_card_or_a_picture(tmp_path) -> None:
    logits = np.eye(4)[[0, 1, 2, 3, 0]]
    evidence = Evidence("classification", np.zeros((5, 8, 8, 1)), np.array([0, 1, 2, 3, 1]), logits, EVIL)
    texts_ = Evidence("classification", np.array([*EVIL, "```"], object), evidence.y, logits, EVIL)
    for figure in (evidence_figure(evidence)[1], worst_images(evidence)):
        figure.savefig(tmp_path / "evidence.png")
    run = report.Run(tmp_path, RECIPE, HISTORY, METRICS | {"baseline_name": "a|b", "devices": "<b>"})
    card = model_card(run, texts_, [])
    outside = "".join(card.split("```")[::2])
    assert "<script>" not in outside and "&lt;script&gt;" in outside and "![x]" not in outside
    assert "\x1b" not in card and card.count("```") == 4 and "| a\\|b | 0.2500 |" in card and "on &lt;b&gt;." in card
    history = {"loss": [1.0, 0.5], "$\\frac{": [0.1, 0.2], "val_$\\frac{": [0.1, 0.2]}
    kopt.plot(report.Run(tmp_path, RECIPE, history, METRICS)).savefig(tmp_path / "history.png")
    both = [report.Run(tmp_path / "$\\frac{", RECIPE, HISTORY, METRICS)] * 2
    report.compare_figure(both).savefig(tmp_path / "compare.png")


@given(some.text())
def test_what_is_printed_is_printable(text: str) -> None:
    assert texts.printable(text).isprintable() and texts.clipped(text * 400, 10).isprintable()
    assert texts.printable("plain [text], \u4e2d\u6587") == "plain [text], \u4e2d\u6587"


def test_a_run_that_never_ended_an_epoch_is_listed_and_not_drawn(folder, capsys) -> None:
    place = folder / "whole" / "three"
    unfinished = METRICS | {"value": None, "loss": None, "unfinished": "training was ended after 0 of 3 epochs"}
    run_writer.write_result(place, report.Run(place, RECIPE, {"loss": []}, unfinished), Savable(), "0" * 64)
    out, err = all_commands(folder, capsys)
    assert out.count("whole/three") == 3 and err.count("unfinished: whole/three: training was ended after 0") == 2
    with pytest.raises(ValueError, match="^history must hold a loss, got"):
        kopt.plot(report.read_run(place))
    place.rename(place.parent / "\x1b[31m\nthree")
    for other in ("one", "two"):
        shutil.rmtree(place.parent / other)
    main(["runs", "--folder", str(folder), "--sort", "value"])  # no run has one
    assert r"unfinished: whole/\x1b[31m\nthree: training" in capsys.readouterr().err
