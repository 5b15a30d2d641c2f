"""Each recipe's documented command with --quick, in this process; two recipes in a process of their own.

`several_devices` starts itself once for each choice of devices.
"""

import functools
import importlib.util
import pathlib
import re
import shlex
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

import kopt
from kopt.__main__ import main as kopt_main
from kopt.experiment.command_texts import USUAL
from kopt.experiment.inference import final
from kopt.experiment.serving import as_tensors
from kopt.report import Run, read_run

FOLDER = pathlib.Path(kopt.__file__).resolve().parent.parent / "recipes"
RECIPES = sorted(path.stem for path in FOLDER.glob("*.py"))
MODELS = [name for name in RECIPES if "run_command" in (FOLDER / f"{name}.py").read_text()]  # these give one model


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


Quick = Callable[[str], Run | None]


@pytest.fixture(scope="module")
def quick(tmp_path_factory) -> Quick:
    """Run the documented command of a recipe with --quick, once."""
    root = tmp_path_factory.mktemp("quick")

    @functools.cache
    def run(name: str) -> Run | None:
        module = load(name)
        command = re.search(r"^Command +(python .*)$", module.__doc__ or "", re.M)
        assert command
        arguments = shlex.split(command[1])[2:]
        done = module.main([*arguments, "--quick", "--folder", str(root)])
        folders = list((root / name).iterdir())
        assert len(folders) == 1 and any(folders[0].rglob("*.png"))
        return done if isinstance(done, Run) else None

    return run


@pytest.mark.parametrize("name", RECIPES)
def test_the_documented_command_runs(name: str, quick: Quick, tmp_path_factory, capsys) -> None:
    done = quick(name)
    assert str(tmp_path_factory.getbasetemp()) in capsys.readouterr().out
    assert done is not None or name not in MODELS  # a search gives the run of its best recipe too
    if done is not None:
        assert read_run(done.folder).recipe == done.recipe and "not_written" not in done.metrics


# Runs the code of each card where kopt is not installed, and then the model for the rows of a file.
PLAIN = r"""
import importlib.util, os, re, sys
assert importlib.util.find_spec("kopt") is None and importlib.util.find_spec("keras") is not None
import keras
import numpy as np

for folder in sys.argv[1:]:
    os.chdir(folder)
    code = re.findall(r"```python\n(import keras.*?)```", open("README.md", encoding="utf-8").read(), re.S)
    names = {}
    exec(code[0], names)
    assert len(code) == 1 and len(names["outputs"]) == 2
    there = np.load("rows.npz")
    x = {name: there[name].astype(object) if there[name].dtype.kind == "U" else there[name] for name in there}
    expected = x.pop("outputs")
    found = names["model"].predict(x.get("of one array", x), verbose=0)
    seen = expected > -1e8
    scale = max(1.0, abs(expected[seen]).max())
    off = abs(found[seen] - expected[seen]).max() / scale
    assert off <= 1e-6 and (seen == (found > -1e8)).all(), (folder, off)
    name = os.path.basename(os.path.dirname(folder))
    print(f"{name}: off by {off:.1e}")
    try:
        keras.saving.load_model("model.keras", compile=False)
    except TypeError:  # could not locate a class
        print(f"{name}: has a layer of kopt")
assert "kopt" not in sys.modules
"""


@pytest.fixture(scope="module")
def without_kopt(tmp_path_factory) -> pathlib.Path:
    """Return the Python of a virtual environment with links to all packages of this one but kopt.

    The `.pth` files are left out too: one of them finds a kopt that is installed for editing.
    """
    folder = tmp_path_factory.mktemp("plain")
    venv.create(folder, symlinks=True, with_pip=False)
    packages = next((folder / "lib").glob("python*/site-packages"))
    for entry in pathlib.Path(sysconfig.get_path("purelib")).iterdir():
        if not re.match(r"(__editable__[._]*)?kopt([-_.]|$)", entry.name) and entry.suffix != ".pth":
            (packages / entry.name).symlink_to(entry)
    return folder / "bin" / "python"


def test_every_model_loads_where_kopt_is_not_installed_by_the_code_of_its_card(quick: Quick, without_kopt) -> None:
    """The outputs of each copy are those of `model.keras`, on the whole test split."""
    done = [run for run in map(quick, RECIPES) if run is not None]
    root = done[0].folder.parent.parent
    runs = [read_run(path.parent) for path in sorted(root.rglob("inference.keras"))]
    for run in runs:
        x = run.recipe.data.load().test.x
        outputs = kopt.load_model(run.folder / "model.keras", compile=False).predict(as_tensors(x), verbose=0)
        rows = x if isinstance(x, dict) else {"of one array": x}
        texts = {name: column.astype("U") if column.dtype.kind == "O" else column for name, column in rows.items()}
        np.savez(run.folder / "rows.npz", outputs=final(outputs, run.recipe.data.task), **texts)
    command = [str(without_kopt), "-I", "-c", PLAIN, *(str(run.folder) for run in runs)]
    plain = subprocess.run(command, cwd=without_kopt.parent, capture_output=True, text=True, timeout=300)
    assert plain.returncode == 0, plain.stdout + plain.stderr
    said = re.findall(r"^(\w+): off by", plain.stdout, re.M)
    # of a search its best recipe, and of several devices a run on each
    assert sorted(said) == sorted(run.folder.parent.name for run in runs)
    assert {*said} >= {*MODELS, "tune_vision", "several_devices"}
    # The models themselves load too, not compiled, but for those with a layer that Keras lacks.
    assert set(re.findall(r"^(\w+): has a layer of kopt", plain.stdout, re.M)) == {"implicit"}


LITERT = """
import sys
import keras
import tensorflow as tf

for path in sys.argv[1:]:
    model = keras.saving.load_model(path)
    network = model.layers[-1] if model.layers[-1].name == "network" else model
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    if "language" in path:  # a recurrent layer over a batch of any size has lists of tensors
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    print("converted", len(converter.convert()))
"""


def test_every_network_converts_to_litert(quick: Quick, python) -> None:
    paths = [str(run.folder / "inference.keras") for run in map(quick, MODELS) if run is not None]
    assert python("-c", LITERT, *paths).stdout.count("converted") == len(paths)


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
        (["--lr", "0.1"], "error: option must be --schedule.rate, got '--lr'."),
        (["--batch-size=8"], "error: option must be --training.batch_size, got '--batch-size'."),
        (["--weight_decay", "0.1"], "error: option must be --regularizer.strength, got '--weight_decay'."),
        (["--rule", "adamw(0.1)", "--wd", "0.1"], "error: option must be --rule.weight_decay, got '--wd'."),
        (["--schedule.rate", "-1"], "Error parsing schedule: rate must be >= 0, got -1.0."),
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


@pytest.mark.parametrize("name", [name for name in RECIPES if "command_line" in (FOLDER / f"{name}.py").read_text()])
def test_help_keeps_the_head_and_the_width_and_shows_no_wrapper(name: str, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "90")
    module = load(name)
    with pytest.raises(SystemExit) as caught:
        module.main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    head = [line for line in (module.__doc__ or "").splitlines() if line]
    assert caught.value.code == 0 and {line for line in head if len(line) <= 90} <= set(lines)
    assert " ".join(" ".join(head).split()) in " ".join(" ".join(lines).split())
    assert max(map(len, lines)) <= 90
    assert not [line for line in lines if re.search(r"\bof\.|\.of\b", line)]


def test_each_usual_name_stands_for_an_option(capsys) -> None:
    module = load("vision")
    for rule in ("adamw(0.1)", "adam"):
        with pytest.raises(SystemExit):
            module.main(["--help", "--rule", rule])
    options = set(re.findall(r"--([\w.-]+)", capsys.readouterr().out))
    targets = {path for paths in USUAL.values() for path in paths}
    assert {path.replace("_", "-") for path in targets} <= options


@pytest.mark.parametrize("option", ["schedule.rate", "schedule.start", "augment.height", "augment.second.turn"])
def test_no_error_shows_a_wrapper(option: str, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        load("vision").main([f"--{option}", "-1"])
    printed = capsys.readouterr().err
    assert caught.value.code == 2 and "Error parsing" in printed
    assert not re.search(r"\bof\.|\.of\b", printed), printed
    assert len(set(map(len, printed.splitlines()))) == 1  # the frame is whole


def test_the_command_in_a_process_of_its_own(python, tmp_path, capsys) -> None:
    started = time.monotonic()
    done = python("recipes/vision.py", "--quick", "--folder", str(tmp_path), TF_CPP_MIN_LOG_LEVEL=None)
    assert "InitializeLog" not in done.stderr and "oneDNN" not in done.stderr  # TensorFlow's log is hidden
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
