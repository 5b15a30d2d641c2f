"""What SECURITY.md says: no pickles on disk, safe loading, names stay in their folder, registered classes alone."""

import ast
import json
import pathlib
import re
import zipfile

import h5py
import keras
import numpy as np
import pytest

import kopt
from kopt import report
from kopt.__main__ import main
from kopt.report import run_writer
from kopt.state.knob import held_knob
from kopt.tuning.search.folder import SearchFolder
from kopt.tuning.trial.progress import Progress, StartAnew
from kopt.values import from_json, to_json
from kopt.values.places import inside

PACKAGE = pathlib.Path(kopt.__file__).resolve().parent
PAGE = PACKAGE.parent / "SECURITY.md"
RECIPE = kopt.Recipe(
    "whole",
    kopt.data.Digits(examples=60),
    model=kopt.models.MLP((8, 8, 1), 10, units=(4,)),
    schedule=kopt.schedules.Cosine(0.01),
    training=kopt.Training(epochs=1),
)
METRICS = {"metric": "accuracy", "value": 0.5, "baseline": 0.25, "seconds": 2.0, "parameters": 10}
OUTSIDE = (
    "..",
    "../x",
    "a/../../b",
    "/x",
    "a\0b",
    "C:\\x",
    "c:x",
    "\\\\host\\x",
    "..\\x",
    "",
    ".",
    "a\nb",
    "\ud800",
    "link",
)

# ---- pickles and unsafe loading -------------------------------------------------------------------------------------

PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
READS = {"Unpickler", "read_pickle", "to_pickle", "func_load", "enable_unsafe_deserialization"}


def unsafe(tree: ast.Module) -> list[str]:
    """Return what reads pickles, evaluates text or turns Keras' safe mode off, with its line."""
    return [
        f"{node.lineno}: {ast.unparse(node)}" for node in ast.walk(tree) if is_unsafe_name(node) or is_unsafe_call(node)
    ]


def is_unsafe_name(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(value=ast.Name(id=module)) if module in PICKLES:
            return True
        case ast.ImportFrom(module=module):
            return module in PICKLES
        case ast.Attribute(attr=name):
            return name in READS
    return False


def is_unsafe_call(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Name(id=name)) if name in ("eval", "exec", "compile"):
            return True
        case ast.Call(func=ast.Attribute(value=ast.Name(id="np"), attr="load"), keywords=given):
            return "allow_pickle" not in [one.arg for one in given]
        case ast.keyword(arg="safe_mode" | "allow_pickle" as name, value=value):
            return ast.unparse(value) not in ({"safe_mode", "True"} if name == "safe_mode" else {"False"})
    return False


def test_no_module_reads_pickles_evaluates_text_or_turns_safe_mode_off() -> None:
    found = {str(path.relative_to(PACKAGE)): unsafe(ast.parse(path.read_text())) for path in PACKAGE.rglob("*.py")}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "code",
    [
        *("pickle.load(file)", "from joblib import load", "eval(text)", "np.load(path)", "pd.read_pickle(path)"),
        *("np.load(path, allow_pickle=True)", "keras.saving.load_model(path, safe_mode=False)", "pickle.dump(x, file)"),
        *("np.savez(path, allow_pickle=maybe)", "keras.config.enable_unsafe_deserialization()", "shelve.open(path)"),
    ],
)
def test_the_search_for_pickles_finds_them(code: str) -> None:
    assert len(unsafe(ast.parse(code))) >= 1 and unsafe(ast.parse("np.load(p, allow_pickle=False)")) == []


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> report.Run:
    return kopt.run(RECIPE, folder=tmp_path_factory.mktemp("runs"), verbose=False)


def test_a_run_folder_holds_no_pickle(done) -> None:
    endings = {path.suffix for path in done.folder.rglob("*") if path.is_file() and "logs" not in path.parts}
    assert endings == {".keras", ".json", ".csv", ".png", ".md"}
    with zipfile.ZipFile(done.folder / "model.keras") as archive:
        assert sorted(archive.namelist()) == ["config.json", "metadata.json", "model.weights.h5"]
    for path in (path for path in done.folder.rglob("*") if path.is_file()):
        assert not re.match(rb"\x80[\x02-\x05]", path.read_bytes())  # how a pickle begins


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
@pytest.mark.filterwarnings("ignore")  # Keras', of the legacy format
def test_a_lambda_is_refused_by_default(name: str, tmp_path) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x + 1)])
    model.save(tmp_path / name)
    with pytest.raises(ValueError, match="[Ll]ambda"):
        kopt.load_model(tmp_path / name)


@pytest.mark.parametrize("kind", ["link", "external", "soft"])
def test_numbers_of_another_file_are_refused(kind: str, tmp_path) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.optimizer.build(model.trainable_variables)
    held_knob(model.optimizer, "kopt_mine", 0.5)
    model.save(tmp_path / "folder", zipped=False)
    (tmp_path / "other.raw").write_bytes(np.float32(7).tobytes())
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["0"] = np.float32(7)
    with h5py.File(tmp_path / "folder" / "model.weights.h5", "r+") as file:
        store = file["optimizer/kopt_mine/vars"]
        del store["0"]
        if kind == "link":
            store["0"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/0")
        elif kind == "soft":
            store["0"] = h5py.SoftLink("/optimizer/vars/0")
        else:
            store.create_dataset("0", (1,), "float32", external=[(str(tmp_path / "other.raw"), 0, 4)])
    with pytest.raises(ValueError, match="must be of a model whose numbers are all in its file, got '0'"):
        kopt.load_model(tmp_path / "folder")


# ---- JSON -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        {"module": "os", "class_name": "system", "config": {}, "registered_name": None},
        {"module": "kopt_canary", "class_name": "Canary", "config": {}, "registered_name": "Canary"},
        {"module": "builtins", "class_name": "function", "config": "eval", "registered_name": "eval"},
        {"module": "keras.layers", "class_name": "Dense", "config": {"units": 1}, "registered_name": None},
        {
            "module": "x",
            "class_name": "Optimizer",
            "config": {"rule": None},
            "registered_name": "kopt.optimizers>Optimizer",
        },
    ],
)
def test_json_builds_registered_values_alone(form: dict, tmp_path, monkeypatch) -> None:
    (tmp_path / "kopt_canary.py").write_text("raise AssertionError")
    monkeypatch.syspath_prepend(tmp_path)
    whole = json.loads(to_json(RECIPE))
    for evil in (form, whole | {"config": whole["config"] | {"rule": form}}):
        with pytest.raises(
            ValueError, match="^value must be (a dict with a config|of a registered class), got"
        ) as told:
            from_json(json.dumps(evil))
        assert form["class_name"] in str(told.value)


def test_json_that_is_none_or_too_deep_or_of_other_fields_is_refused_in_a_sentence() -> None:
    whole = json.loads(to_json(RECIPE.schedule))
    for text, said in (
        ("{", "JSON must be whole, got '{' ("),
        ("[" * 100_000, "JSON must be nested at most 100 deep"),
        ("[" * 101 + "]" * 101, "JSON must be nested at most 100 deep"),
        (
            json.dumps(whole | {"config": {"rat": 1}}),
            "field must be one of duration, end, rate, got 'rat' (did you mean",
        ),
        (json.dumps(whole | {"config": {}}), "Cosine must have rate, got []"),
        (json.dumps(whole | {"config": {"rate": 10**400}}), "rate must be finite, got inf"),
    ):
        with pytest.raises(ValueError) as told:
            from_json(text)
        assert str(told.value).startswith(said) and type(told.value) is ValueError


# ---- names ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path) -> pathlib.Path:
    """A folder beside another one, into which a link leads."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept.txt").write_text("kept")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "link").symlink_to(tmp_path / "outside")
    return tmp_path / "home"


def whole_run(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True)

    class Savable:
        def save(self, path: pathlib.Path) -> None:
            path.write_bytes(b"")

    run_writer.write_result(folder, report.Run(folder, RECIPE, {"loss": [1.0]}, METRICS), Savable(), "0" * 64)


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_does_not_leave_its_folder(name: str, home) -> None:
    before = sorted(home.parent.rglob("*"))
    with pytest.raises(ValueError, match="^name must (stay in|not lead out of) its folder"):
        inside(home, name)
    with pytest.raises(ValueError, match="^recipe must "), report.run_folder(home, name):
        raise AssertionError
    if name:  # an empty one is KerasTuner's default
        with pytest.raises(ValueError, match="^project_name must "):
            kopt.tuning.Tuner(lambda hp: None, "loss", directory=home, project_name=name, overwrite=True)
    assert sorted(home.parent.rglob("*")) == before


def test_names_within_a_folder_are_taken(home) -> None:
    for name in ("a", "a/b", "..a", "a..b", "\u4e2d", "a b", "~", "-x"):
        assert inside(home, name) == home / name
    (home / "own").symlink_to(home)
    assert inside(home, "own/a") == home / "own" / "a"
    assert inside(home / "link", "a") == home / "link" / "a"  # the folder itself may be a link


def test_a_trial_and_overwriting_stay_in_the_searchs_folder(home) -> None:
    folder = SearchFolder(home / "search")
    (folder.path / "trial_7").symlink_to(home.parent / "outside")
    for name in ("/../../x", "7"):
        with pytest.raises(ValueError, match="^trial must "):
            folder.trial(name)
    folder.clear()
    assert (home.parent / "outside" / "kept.txt").exists() and not (folder.path / "trial_7").is_symlink()


def test_what_links_in_a_trials_folder_lead_to_is_left_alone(home) -> None:
    trial, outside = home / "trial_0", home.parent / "outside"
    (trial / "last").mkdir(parents=True)
    step = trial / "last" / "step-000000000001.safetensors"
    step.symlink_to(outside / "kept.txt")
    (trial / "progress.json").write_text("{}")
    with pytest.raises(StartAnew, match="is whole"):
        Progress(trial).last()
    Progress(trial).restart()
    assert not list(trial.iterdir()) and (outside / "kept.txt").read_text() == "kept"
    (trial / "last").symlink_to(outside)
    with pytest.raises(ValueError, match="^trial must "):
        Progress(trial)
    assert (outside / "kept.txt").read_text() == "kept"


def test_links_out_of_run_folders_are_named_and_not_followed(home, capsys) -> None:
    whole_run(home / "runs" / "whole" / "one")
    whole_run(home.parent / "outside" / "other")
    (home / "runs" / "whole" / "two").symlink_to(home.parent / "outside" / "other")
    runs, broken = report.found_runs(home / "runs")
    assert [run.folder.name for run in runs] == ["one"]
    assert len(broken) == 1 and broken[0].startswith("folder must not be a link out of") and "two" in broken[0]
    history = home / "runs" / "whole" / "one" / "history.csv"
    history.unlink()
    history.symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match=r"^folder must hold its history.csv, and no link out of it, got"):
        report.read_run(history.parent)
    with pytest.raises(SystemExit) as ended:
        main(["show", str(history.parent)])
    assert ended.value.code == 2 and "root:" not in capsys.readouterr().err


@pytest.mark.parametrize("path", ["a" * 300, "a/" * 3000, "\ud800"])
def test_a_path_that_no_system_holds_is_refused(path: str, capsys) -> None:
    for args in (["show", path], ["runs", "--folder", path], ["compare", path, path, "--picture", path + ".png"]):
        with pytest.raises(SystemExit) as ended:
            main(args)
        assert ended.value.code == 2 and capsys.readouterr().err.startswith(("error: ", "left out: "))


# ---- the page -------------------------------------------------------------------------------------------------------


def test_the_page_names_tests_that_are_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE.read_text())
    assert len(named) >= 8
    for file, test in named:
        text = (PACKAGE.parent / file).read_text()
        assert not test or f"def {test}(" in text, (file, test)


@keras.saving.register_keras_serializable("safe_files")
class NoValue:
    """A class that is registered with Keras, and is no value."""

    def get_config(self) -> dict:
        return {}

    @classmethod
    def from_config(cls, config: dict) -> "NoValue":
        raise AssertionError("it was built")


def test_a_registered_class_that_is_no_value_is_not_built() -> None:
    with pytest.raises(ValueError, match="^value must be of a registered class, got"):
        from_json('{"class_name": "NoValue", "config": {}, "registered_name": "safe_files>NoValue"}')
