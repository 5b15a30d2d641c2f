"""The command `kopt` in a process of its own: what it imports, when, and what it prints of runs."""

import json
import pathlib
import re
import shutil
import sys
from collections.abc import Callable

import pytest

import kopt
from kopt.commands.runs import show
from kopt.report import Run, differences, read_run, run_writer
from kopt.report.run_reader import read_run_text
from kopt.values import parts
from kopt.values.field_paths import replace

REFERENCE = pathlib.Path(kopt.__file__).resolve().parent.parent / "saved_models" / "vision" / "reference"
HEAVY = ("tensorflow", "keras", "keras_tuner", "optuna")


def imported(stderr: str) -> set[str]:
    """The packages that `python -X importtime` lists."""
    return {name.partition(".")[0] for name in re.findall(r"^import time:[ \d]+\|[ \d]+\| +([\w.]+)$", stderr, re.M)}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["launch", "--help"],
        ["runs", "--sort", "value"],
        ["show", str(REFERENCE)],
        ["compare", str(REFERENCE), str(REFERENCE), "--picture", "PICTURE"],
        ["cache"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_it_answers_without_tensorflow(arguments: list[str], python, tmp_path) -> None:
    given = [str(tmp_path / "picture.png") if one == "PICTURE" else one for one in arguments]
    done = python("-X", "importtime", "-m", "kopt", *given)
    found = imported(done.stderr)
    assert "numpy" in found and found.isdisjoint(HEAVY)
    assert ("matplotlib" in found) == (arguments[0] == "compare")
    assert done.stdout


def test_the_console_script_answers_without_tensorflow(python, tmp_path) -> None:
    script = tmp_path / "kopt"
    script.write_text("from kopt.__main__ import main\nmain()\n")
    done = python("-X", "importtime", str(script), "--help", PYTHONPATH=str(REFERENCE.parent.parent.parent))
    assert "numpy" in imported(done.stderr) and imported(done.stderr).isdisjoint(HEAVY)
    for name in ("runs", "show", "compare", "predict"):
        assert re.search(rf"• {name} +[A-Z]", done.stdout)  # with the first line of its docstring


def test_a_run_of_kopt_01_is_shown_by_loading_all_parts_in_silence(python, tmp_path, capsys) -> None:
    """The path by which the command gets Keras: everything works in that process that `import kopt` puts in place."""
    old = shutil.copytree(REFERENCE, tmp_path / "old")
    content = json.loads((old / "recipe.json").read_text())
    del content["shown"]
    (old / "recipe.json").write_text(json.dumps(content))
    done = python("-m", "kopt", "show", str(old), TF_CPP_MIN_LOG_LEVEL=None)
    assert done.stderr == ""
    show(str(REFERENCE))
    assert done.stdout == capsys.readouterr().out and repr(read_run(old).recipe) in done.stdout


@pytest.mark.parametrize(
    ("original", "arguments", "expected"),
    [
        (["python", "-m", "kopt", "runs"], ["-m", "runs"], True),
        (["python", "-X", "dev", "-mkopt"], ["-m"], True),
        (["python", "/venv/bin/kopt", "show", "x"], ["/venv/bin/kopt", "show", "x"], True),
        (["python", "-m", "kopt.distribute.watcher"], ["-m"], False),
        (["python", "-m", "pytest", "kopt"], ["-m", "kopt"], False),
        (["python", "-c", "import kopt", "kopt"], ["-c", "kopt"], False),
        (["python", "recipes/vision.py", "kopt"], ["recipes/vision.py", "kopt"], False),
        (["python", "-c", "spawned", "--fork"], ["/venv/bin/kopt", "runs"], False),  # a child of the command
        (["python"], [""], False),
    ],
)
def test_only_the_command_leaves_its_parts_to_first_use(original, arguments, expected) -> None:
    assert parts.is_command(original, arguments) is expected


def test_this_process_has_all_parts() -> None:
    assert not parts.waiting() and not parts.pending and parts.late("kopt") is False


@pytest.fixture
def runs(tmp_path) -> tuple[Run, Run]:
    """Two runs with other rules, as they are written."""
    first = read_run(REFERENCE)
    other = first._replace(recipe=replace(first.recipe, {"rule": kopt.rules.Momentum(0.8), "average": None}))
    for name, run in (("first", first), ("other", other)):
        place = tmp_path / "vision" / name
        place.mkdir(parents=True)
        run_writer.write_result(place, run._replace(folder=place), Savable(), "0" * 64)
    return read_run(tmp_path / "vision" / "first"), read_run(tmp_path / "vision" / "other")


class Savable:
    def save(self, path: pathlib.Path) -> None:
        path.write_bytes(b"")


def test_texts_say_what_the_values_say(runs) -> None:
    texts = [read_run_text(run.folder) for run in runs]
    assert [text.recipe.code for text in texts] == [repr(run.recipe) for run in runs]
    assert [(text.history, text.metrics) for text in texts] == [(run.history, run.metrics) for run in runs]
    assert {text.recipe.direction for text in texts} == {"max"}
    table = differences(texts)
    assert table == differences(runs) and [name for name, _ in table][:1] == ["rule"]


def test_texts_of_a_changed_recipe_do_not_count(runs) -> None:
    file = runs[0].folder / "recipe.json"
    file.write_text(file.read_text().replace('"epochs": 30', '"epochs": 31', 1))
    assert runs[0].recipe.training.epochs == 30
    assert "Training(31)" in read_run_text(runs[0].folder).recipe.code


DAMAGE: list[Callable[[dict], object]] = [
    lambda shown: shown.pop("name"),
    lambda shown: shown.update(code=3),
    lambda shown: shown.update(direction="up"),
    lambda shown: shown.update(fields=[]),
    lambda shown: shown["fields"].update(seed=["int"]),
    lambda shown: shown.update(sha256=None),
    lambda shown: shown.update(kopt="0.0.1"),
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_texts_do_not_count(damage, runs) -> None:
    file = runs[0].folder / "recipe.json"
    content = json.loads(file.read_text())
    content["shown"]["code"] = "texts that count"
    damage(content["shown"])
    file.write_text(json.dumps(content))
    assert read_run_text(runs[0].folder).recipe.code == repr(runs[0].recipe)


def test_every_recipe_is_the_same_text_from_its_file(tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(REFERENCE.parent.parent.parent / "recipes"))
    names = [path.stem for path in sorted((REFERENCE.parent.parent.parent / "recipes").glob("*.py"))]
    found = [(name, vars(__import__(name)).get("RECIPE")) for name in names if name != "several_devices"]
    recipes = [recipe for _, recipe in found if isinstance(recipe, kopt.Recipe)]
    assert len(recipes) >= 6
    for recipe in recipes:
        run_writer.write_start(tmp_path, recipe, None, [])
        content = json.loads((tmp_path / "recipe.json").read_text())
        assert kopt.report.run_texts.text_in(content) == kopt.report.run_texts.recipe_text(recipe)
        assert content["shown"]["code"] == repr(recipe)
    for name, _ in found:
        sys.modules.pop(name, None)
