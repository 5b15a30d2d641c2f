"""The inputs of `fuzz.py`: whole files, ways to damage them, and hostile values, names and command lines."""

import copy
import io
import json
import marshal
import os
import pathlib
import pickle
import tempfile
import zipfile
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import optuna
from hypothesis import strategies as some

import kopt
from kopt import data, report, schedules
from kopt import models as nets
from kopt.report import run_writer
from kopt.training.checkpoint import packing
from kopt.training.checkpoint.content import Content
from kopt.training.checkpoint.files import write_file
from kopt.tuning.search.journal import Journal
from kopt.values import to_json

CANARY = "kopt_canary"  # a module that no input may get imported
RECIPE = kopt.Recipe(
    "whole",
    data.Digits(examples=60),
    augment=kopt.augment.Shift(0.1, 0.1).then(kopt.augment.Rotate(0.1)),
    model=nets.MLP((8, 8, 1), 10),
    schedule=schedules.Cosine(0.01).warmup(1),
    regularizer=kopt.regularizers.L2(1e-4),
    average=kopt.callbacks.EMA(0.9),
    training=kopt.Training(epochs=3),
    target=0.5,
)
QUICK = {"training.epochs": 2}
RECIPE_TEXT = to_json(RECIPE)
METRICS = {"metric": "accuracy", "value": 0.5, "loss": 1.0, "target": None, "baseline": 0.25, "baseline_name": "SVC"}
METRICS |= {"parameters": 4810, "seconds": 2.0, "devices": "cpu"}
HISTORY = {"loss": [2.0, 1.0, 0.5], "accuracy": [0.1, 0.2, 0.3], "learning_rate": [0.01, 0.005, 0.0]}


class Payload:
    """What a pickle would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ../pwned",)


class Picture:
    def savefig(self, path: str, dpi: int = 100) -> None: ...


class Savable:
    """What is enough of a model to be written."""

    def save(self, path: pathlib.Path) -> None:
        path.write_bytes(b"")


def write_run(folder: pathlib.Path) -> None:
    """Write a whole run folder."""
    folder.mkdir(parents=True)
    run_writer.write_result(folder, report.Run(folder, RECIPE, HISTORY, METRICS), Savable(), "0" * 64)


def build(hp: Any) -> keras.Model:
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(hp.Int("units", 1, 3))])


# ---- JSON -----------------------------------------------------------------------------------------------------------

CODE = marshal.dumps(compile("__import__('os').system('touch ../pwned')", "x", "exec")).hex()
LAMBDA = {"class_name": "__lambda__", "config": {"value": CODE, "defaults": None, "closure": None}}
HOSTILE = [
    {"module": "os", "class_name": "system", "config": {"command": "touch ../pwned"}, "registered_name": None},
    {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"},
    {"module": "builtins", "class_name": "function", "config": "eval", "registered_name": "builtins>eval"},
    {"module": "builtins", "class_name": "eval", "config": {}, "registered_name": "eval"},
    {"module": CANARY, "class_name": "Canary", "config": {}, "registered_name": None},
    {"module": CANARY, "class_name": "Canary", "config": {}, "registered_name": f"{CANARY}>Canary"},
    {"module": "keras_hub.models", "class_name": "Canary", "config": {}},
    {"module": "keras.utils", "class_name": "function", "config": "get_file", "registered_name": "get_file"},
    {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "a", "function": LAMBDA}},
    {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "../outside"}},
    {"module": "keras", "class_name": "Sequential", "config": {"name": "a", "layers": []}, "registered_name": None},
    {"module": "kopt.experiment.run", "class_name": "function", "config": "run", "registered_name": "run"},
    {"module": "x", "class_name": "Command", "config": {"of": None}, "registered_name": "kopt.recipes>Command"},
    {"module": "x", "class_name": "Optimizer", "config": {}, "registered_name": "kopt.optimizers>Optimizer"},
    {"class_name": "__numpy__", "config": {"value": [1], "dtype": "object"}},
    {"class_name": "__slice__", "config": {}},
    LAMBDA,
    {"config": {}},
    {"config": {}, "registered_name": {}},
]
TEXTS = [
    "",
    "../../x",
    "/etc/passwd",
    "C:\\x",
    "a\0b",
    "\x1b[31m",
    "\ud800",
    "nan",
    "__class__",
    "x" * 5000,
    "9" * 5000,
]
NUMBERS = [10**400, -(10**400), 1e308, float("nan"), float("inf"), -1, 0, 2**63, True, 1e-320]
EVIL = some.sampled_from([*HOSTILE, *TEXTS, *NUMBERS, None, [], {}, [[]], [None] * 3, {"": ""}])
JSON = some.recursive(
    EVIL | some.integers() | some.floats() | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
DEEP = ["[" * 100_000, '{"config":' * 100_000, '{"recipe":' + "[" * 500 + "]" * 500 + "}"]


def places(form: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each value in a nest."""
    yield path
    for key, inner in form.items() if isinstance(form, dict) else enumerate(form) if isinstance(form, list) else ():
        yield from places(inner, (*path, key))


@some.composite
def changed(draw: some.DrawFn, text: str) -> str:
    """Return JSON with one to three of its values replaced, removed, renamed or nested."""
    form = json.loads(text)
    for _ in range(draw(some.integers(1, 3))):
        path = draw(some.sampled_from(list(places(form))))
        if not path:
            continue
        holder = form
        for key in path[:-1]:
            holder = holder[key]
        how = draw(some.sampled_from(["replace", "replace", "remove", "rename", "nest"]))
        if how == "replace":
            holder[path[-1]] = copy.deepcopy(draw(JSON))  # later changes are not to reach what it was drawn from
        elif how == "remove":
            del holder[path[-1]]
        elif how == "rename" and isinstance(holder, dict):
            holder[draw(some.sampled_from(TEXTS))] = holder.pop(path[-1])
        else:
            for _ in range(draw(some.sampled_from([1, 60, 300]))):
                holder[path[-1]] = {"of": holder[path[-1]]}
    return json.dumps(form)


@some.composite
def damaged(draw: some.DrawFn, whole: bytes) -> bytes:
    """Return bytes that are cut, flipped, doubled, or have others put in."""
    found = bytearray(whole)
    for _ in range(draw(some.integers(1, 3))):
        place = int(draw(some.floats(0, 0.9999)) * len(found))
        match draw(some.sampled_from(["cut", "flip", "flip", "put", "double", "zero"])):
            case "cut":
                found = found[:place]
            case "flip" if found:
                found[place] ^= 1 << draw(some.integers(0, 7))
            case "put":
                found[place:place] = draw(some.sampled_from(PUT))
            case "double":
                found += found[place:]
            case "zero":
                found[place : place + 16] = bytes(len(found[place : place + 16]))
    return bytes(found)


PUT = [b"\0", b"\xff\xfe", b"\x1b[31m", b"\n", b'"', b"[", b"{", b"nan", b"1e999", b"../", pickle.dumps(Payload())]


def bytes_of(whole: bytes) -> some.SearchStrategy[bytes]:
    """Damaged bytes; when the whole is JSON, also changed JSON, and what is nested too deeply."""
    if not whole.lstrip().startswith(b"{"):
        return damaged(whole) | some.binary(max_size=50)
    return damaged(whole) | texts_of(whole.decode()).map(lambda text: text.encode("utf-8", "surrogatepass"))


def texts_of(whole: str) -> some.SearchStrategy[str]:
    return changed(whole) | JSON.map(json.dumps) | some.sampled_from(DEEP) | some.text(max_size=20)


# ---- files ----------------------------------------------------------------------------------------------------------

ROWS = [
    "epoch,loss\n",
    "epoch,loss,loss\n",
    "epoch\n",
    "loss\n1\n",
    "epoch,loss\n1,\n",
    "epoch,loss\n1," + "9" * 200_000,
]
PROGRESS = json.dumps(
    {
        "of": {"epochs": 3},
        "values": {"units": 3},
        "finished": [{"loss": 0.5, "accuracy": 0.5}],
        "best": 0.5,
    }
).encode()


def run_files(folder: pathlib.Path) -> some.SearchStrategy[tuple[str, bytes]]:
    """Damaged files of a run, by name."""
    found = []
    for name in ("recipe.json", "metrics.json", "environment.json", "history.csv"):
        content = bytes_of((folder / name).read_bytes())
        rows = some.sampled_from(ROWS).map(str.encode)
        found.append(some.tuples(some.just(name), content | rows if name == "history.csv" else content))
    return some.one_of(found)


def written(write: Any, name: str) -> bytes:
    """Return the bytes that a function writes into a file of a name."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / name
        write(path)
        return path.read_bytes()


def parts_of(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return {name: file.read(name) for name in file.namelist()}


def packed(parts: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, part in parts.items():
            file.writestr(name, part)
    return content.getvalue()


@some.composite
def repacked(draw: some.DrawFn, archive: bytes) -> bytes:
    """Return an archive, whole by its checksums, with another content of one part, or a part that leads out of it."""
    parts = parts_of(archive)
    name = draw(some.sampled_from(sorted(parts)))
    parts[name] = draw(bytes_of(parts[name]))
    if draw(some.booleans()):
        parts[draw(some.sampled_from(["../pwned", "/tmp/pwned", "assets/../../pwned"]))] = b"x"
    return packed(parts)


def models() -> some.SearchStrategy[bytes]:
    """Damaged .keras files."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, "relu"), keras.layers.Dense(1)])
    kopt.regularizers.attach(model, kopt.regularizers.L2(1e-3))
    model.compile(kopt.optimizers.Optimizer(kopt.rules.Adam(), 1e-3), "mse")
    model.train_on_batch(np.eye(2), np.ones((2, 1)))
    whole = written(model.save, "model.keras")
    return damaged(whole) | repacked(whole) | repacked(whole) | some.binary(max_size=30)


def journals() -> some.SearchStrategy[bytes]:
    """Damaged journals of a search."""

    def search(path: pathlib.Path) -> None:
        storage = optuna.storages.JournalStorage(Journal(path))
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(study_name="digits", storage=storage)
        for value in (0.5, 0.25):
            trial = study.ask()
            trial.suggest_float("rate", 1e-3, 1.0, log=True)
            trial.suggest_categorical("units", [8, 16])
            trial.set_user_attr("tries", [0])
            study.tell(trial, value)

    whole = written(search, "journal.log")
    lines = whole.decode().splitlines()
    one = some.integers(0, len(lines) - 1).flatmap(
        lambda place: changed(lines[place]).map(lambda line: "\n".join([*lines[:place], line, *lines[place + 1 :], ""]))
    )
    return damaged(whole) | one.map(str.encode)


def checkpoints() -> some.SearchStrategy[bytes]:
    """Damaged checkpoints of a training."""
    values = {"moment": [3, True, False, [{"loss": 0.5}, {}, (4, 0.1, 0.0)]], "random": {"numpy": np.arange(4)}}
    content = Content({"state.0000": np.arange(6.0).reshape(2, 3), "state.0001": np.array(3)}, values)
    return bytes_of(written(lambda path: write_file(path, content), "step-000000000001.safetensors"))


class Counts(keras.callbacks.Callback):
    """A callback of a user's that declares no state."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.wait = epoch


def trials() -> some.SearchStrategy[tuple[bytes, list[Any]]]:
    """Damaged checkpoints of a trial, and states of a callback."""
    names = some.sampled_from(["wait", "on_epoch_end", "__class__", "set_model", "model", "_model", *TEXTS])
    attributes = some.dictionaries(names, some.integers() | some.text(max_size=3), max_size=2)
    packs = attributes.map(lambda one: json.dumps(packing.packed(one, [])))
    packs |= texts_of(json.dumps(packing.packed({"wait": 2}, [])))
    state = some.tuples(some.sampled_from(["Counts", "Callback"]), packs, some.just([np.arange(2)]))
    return some.tuples(checkpoints(), some.lists(state, min_size=1, max_size=1))


# ---- names and command lines ----------------------------------------------------------------------------------------

NAMES = some.sampled_from(
    [
        *TEXTS,
        *(
            "..",
            ".",
            "/",
            "a/../../b",
            "./..",
            "..\\b",
            "\\\\host\\b",
            "c:b",
            "link",
            "link/a",
            "a/./b",
            "a//b",
            "~",
            "~x",
        ),
        *("whole", "CON", " ", "a" * 300, "a/" * 3000, "-rf", "$HOME", "*", "trial_0", "\udc80"),
    ]
) | some.text(max_size=8)
CALLS = some.one_of(
    some.sampled_from(["l2(1e-4)", "l2(", "l1_l2(l1=1, l2=x)", "l2(**{})", "l2(*[1])", "__import__('os').system('x')"]),
    some.sampled_from(["-" * 20_000 + "1", "l2(" + "(" * 5000, "l2(" + "-" * 20_000 + "1)", "l2(" + "9" * 5000 + ")"]),
    some.sampled_from(["l2('\\ud800')", "l2(1e-4, l2(2))", "l2(strength=1, strength=2)", "l2(1)(2)", "l2\0", "l2(\n"]),
    some.sampled_from([f"l2({'[' * 90}{']' * 90})", "l2({[]: 1})", "l2({1: {}, **{}})", "(l2)", "l2(1 + 2j)"]),
    some.text(alphabet="l12(),=[]{}'\"*.-e \n\0", max_size=12).map("l2({})".format),
    some.text(max_size=12),
)


def command_lines(home: pathlib.Path) -> some.SearchStrategy[list[str]]:
    """Arguments of `kopt`."""
    run, words = str(home / "runs" / "whole" / "one"), NAMES.map(lambda text: text.replace("\0", "\\0") or "x")
    there = some.sampled_from([run, str(home / "runs"), "runs", "link", "../outside", "-", "--", "--help", "0", "x.py"])
    options = some.sampled_from(
        ["--folder", "--sort", "--picture", "--devices", "--workers", "--tuners", "--gpus", "--x"]
    )
    first = some.sampled_from(["runs", "show", "compare", "cache", "devices", "launch", "Runs", "resume"])
    sort = some.sampled_from([["runs", "--folder", str(home / "runs"), "--sort"], ["compare", run, run, "--picture"]])
    known = some.tuples(sort, words).map(lambda pair: [*pair[0], pair[1]])
    return known | some.tuples(first, some.lists(there | options | words, max_size=4)).map(
        lambda pair: [pair[0], *pair[1]]
    )


def recipe_lines() -> some.SearchStrategy[list[str]]:
    """Arguments of a recipe's script."""
    names = [
        "--training.epochs",
        "--training.batch-size",
        "--schedule.rate",
        "--seed",
        "--target",
        "--folder",
        "--devices",
    ]
    names += [
        "--model.units",
        "--data.examples",
        "--training.precision",
        "--regularizer.strength",
        "--name",
        "--nowhere",
    ]
    value = some.sampled_from(
        ["1", "-1", "0", "nan", "inf", "1e999", "9" * 5000, "full", "None", "x", "../x", "\udc80"]
    )
    option = some.tuples(some.sampled_from(names), value).map(list) | some.sampled_from(
        [["--quick"], ["--check-target"]]
    )
    return some.lists(option | NAMES.map(lambda name: [name]), min_size=1, max_size=3).map(lambda parts: sum(parts, []))
