"""Each recipe's documented command with --quick, in this process; two recipes in a process of their own.

`several_devices` starts itself once for each choice of devices.
"""

import importlib.util
import pathlib
import re
import shlex
import sys
import time
from types import ModuleType

import pytest

import kopt
from kopt.__main__ import main as kopt_main
from kopt.report import read_run

FOLDER = pathlib.Path(kopt.__file__).resolve().parent.parent / "recipes"
RECIPES = sorted(path.stem for path in FOLDER.glob("*.py"))


@pytest.fixture(autouse=True)
def recipes_on_path(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", RECIPES)
def test_the_docstring_states_command_data_baseline_target_and_time(name: str) -> None:
    text = load(name).__doc__ or ""
    for entry in ("Command", "Data", "Baseline", "Target", "Time"):
        assert re.search(rf"^{entry} {{2,}}\S", text, re.M), entry
    assert f"python recipes/{name}.py" in text


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_fits_on_a_page(name: str) -> None:
    assert len((FOLDER / f"{name}.py").read_text().splitlines()) <= 80


@pytest.mark.parametrize("name", RECIPES)
def test_the_documented_command_runs(name: str, tmp_path, capsys) -> None:
    module = load(name)
    command = re.search(r"^Command +(python .*)$", module.__doc__ or "", re.M)
    assert command
    arguments = shlex.split(command[1])[2:]
    done = module.main([*arguments, "--quick", "--folder", str(tmp_path)])
    assert str(tmp_path) in capsys.readouterr().out
    folders = list((tmp_path / name).iterdir())
    assert len(folders) == 1 and any(folders[0].rglob("*.png"))
    if isinstance(done, kopt.report.Run):
        assert read_run(done.folder).recipe == done.recipe


def test_any_field_is_set_by_its_path(tmp_path) -> None:
    arguments = ["--quick", "--training.epochs", "3", "--schedule.rate", "0.002", "--regularizer.strength", "0.01"]
    done = load("vision").main([*arguments, "--training.batch_size", "full", "--folder", str(tmp_path)])
    recipe = done.recipe
    assert (recipe.training.epochs, recipe.schedule.of.rate, recipe.regularizer.strength) == (3, 0.002, 0.01)
    assert recipe.training.batch_size == "full" and len(done.history["loss"]) == 3


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["--schedule.rats", "1"], "--schedule.rate"),
        (["--schedule.rate", "-1"], "rate must be >= 0, got -1.0."),
        (["--schedule.rate", "fast"], "could not convert string to float: 'fast'"),
        (["--training.epochs", "0"], "epochs must be >= 1, got 0."),
        (["--training.epochs", "1"], "warmup_duration must be shorter than the run of 1, got 1.0."),
        (["--seed", "-1"], "seed must be in [0, 2 ** 32), got -1."),
    ],
)
def test_a_bad_command_line_ends_with_a_sentence(arguments: list[str], printed: str, tmp_path, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        load("vision").main([*arguments, "--folder", str(tmp_path)])
    assert caught.value.code == 2 and printed in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_help_lists_the_fields_with_their_docs(capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        load("vision").main(["--help"])
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert caught.value.code == 0
    assert "--schedule.rate FLOAT" in printed and "The value at time 0, >= 0." in printed and "--quick" in printed


def test_the_command_in_a_process_of_its_own(python, tmp_path, capsys) -> None:
    started = time.monotonic()
    done = python("recipes/vision.py", "--quick", "--folder", str(tmp_path))
    assert "test accuracy:" in done.stdout and time.monotonic() - started < 60
    kopt_main(["show", str(next((tmp_path / "vision").iterdir()))])
    shown = capsys.readouterr().out
    assert "ConvNet" in shown and "accuracy" in shown


@pytest.mark.parametrize("name", RECIPES)
def test_a_refusal_is_one_sentence_and_code_2(name: str, tmp_path, capsys) -> None:
    module = load(name)
    (tmp_path / "file").touch()
    # several_devices makes virtual ones first, which a process can do only once.
    has_devices = "command_line" in (FOLDER / f"{name}.py").read_text() and name != "several_devices"
    bad = [["--folder", str(tmp_path / "file")], ["--folder", "a\0b"]]
    for arguments in bad + ([["--devices", "tpu", "--folder", str(tmp_path / "runs")]] if has_devices else []):
        with pytest.raises(SystemExit) as ended:
            module.main(["--quick", *arguments])
        said = capsys.readouterr().err
        assert ended.value.code == 2 and re.fullmatch(r"error: (folder|devices) must be [^\n]*\n", said), said
    assert not (tmp_path / "runs").exists()
