"""What kopt's functions return shows itself in few lines at a prompt, and as a small table in a notebook."""

import importlib
import inspect
import pathlib
import re
import typing
import xml.etree.ElementTree
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Protocol

import keras
import numpy as np
import pytest

import kopt
from kopt.callbacks.diagnosis import Verdict
from kopt.data import Baseline, Split, Splits, Summary
from kopt.distribute.devices import Chosen
from kopt.experiment.ablation import Trial, Variant
from kopt.report import Evidence, Run
from kopt.report.figure import Figure
from kopt.report.gallery import SCHEDULES
from kopt.report.unfinished import Unfinished
from kopt.training import Minimum, RateCurve
from kopt.tuning.autotuning.result import Autotuned, Row
from kopt.tuning.importances import Importances
from kopt.tuning.population.evolving import Evolved
from kopt.tuning.population.seeds import Repeated
from kopt.values.fields import Named, Value

LINES, LETTERS = 20, 600  # of a repr
BAD = "<script>alert(1)</script>\x1b[31m"
NUMBERS = np.arange(5000.0)
RECIPE = kopt.Recipe("digits", kopt.data.Digits())
RESULTS = {"metric": BAD, "value": 0.5, "target": 0.9, "baseline": 0.4, "baseline_name": BAD}
RESULTS |= {"loss": 1.0, "seconds": 2.0, "parameters": 1000}
RUN = Run(pathlib.Path("saved_models") / "x" / BAD, RECIPE, {"loss": list(NUMBERS), BAD: list(NUMBERS)}, RESULTS)
SPLIT = Split(NUMBERS.reshape(50, 100), NUMBERS[:50])
COLUMNS = Split({BAD: NUMBERS, "b": NUMBERS}, NUMBERS)
TRIAL = Trial({"loss": NUMBERS}, {"loss": 0.1}, {"loss": 0.2, BAD: 0.3})
ROWS = tuple(Row("whole", 20, 740, seed, 0.98, BAD) for seed in range(100))

SHOWN: list[object] = [
    RUN,
    Run(RUN.folder, Named(BAD), {}, {"unfinished": BAD}),
    Named(BAD),
    SPLIT,
    Splits(SPLIT, SPLIT, COLUMNS, "0" * 64),
    Summary((6, 2, 2), [f"{BAD}: float32 (3,)"] * 100, BAD, 0, 1, (BAD,), (BAD,)),
    Baseline("ridge", 0.5),
    Evidence("regression", NUMBERS, NUMBERS, NUMBERS),
    Unfinished(RUN.folder, RECIPE, None, ()),
    RateCurve(np.geomspace(1e-4, 1, 5000), NUMBERS[::-1] + 1, "minimum"),
    Minimum((NUMBERS, NUMBERS), NUMBERS),
    Verdict("plateau", "the loss is flat.", "Stop earlier."),
    Repeated([RUN] * 100),
    Evolved(RUN, RECIPE, {"schedule.rate": [0.1] * 8}, [RUN] * 100),
    Autotuned(RECIPE, RECIPE, RUN, ROWS, f"autotune kept the start. {BAD}", budget=2.0, cost=1.5),
    Importances({f"{BAD}{number}": 0.01 for number in range(100)}),
    TRIAL,
    Variant(BAD, {BAD: BAD}, [TRIAL] * 100),
    Figure(figsize=(1, 1)),
    Chosen(keras.distribution, "cpu"),
    RECIPE,
    *SCHEDULES,
]
WITHOUT_LIMIT = (Importances, Chosen)  # a dictionary prints as one; a strategy is TensorFlow's
# What parts of the package hand to each other, or what users go on with in code; none is shown at the end of a cell.
TOOLS = {
    "InPlace",
    "Metric",
    "Cuts",
    "Table",
    "Held",
    "Script",
    "Added",
    "Part",
    "Parameter",
    "Unsaved",
    "Source",
    "Times",
}


@pytest.mark.parametrize("value", SHOWN, ids=lambda value: type(value).__name__)
def test_a_prompt_shows_few_lines_and_no_control_characters(value: object) -> None:
    if not isinstance(value, WITHOUT_LIMIT):
        lines = repr(value).splitlines()
        assert len(lines) <= LINES and max(map(len, lines)) <= LETTERS
        assert "\x1b" not in repr(value)


def html_of(value: Any) -> str:
    """Return what a notebook asks a value for; empty where it has nothing."""
    return value._repr_html_() or "" if hasattr(type(value), "_repr_html_") else ""


@pytest.mark.parametrize("value", [one for one in SHOWN if html_of(one)], ids=lambda value: type(value).__name__)
def test_a_notebook_shows_a_small_table_and_runs_no_script(value: object) -> None:
    text = html_of(value)
    tree = xml.etree.ElementTree.fromstring(f"<div>{text}</div>")
    assert {one.tag for one in tree.iter()} <= {"div", "b", "table", "thead", "tbody", "tr", "th", "td"}
    assert len(tree.findall(".//tr")) <= 31 and len(text) < 30_000 and "\x1b" not in text


def test_most_have_a_table() -> None:
    tables = {type(value) for value in SHOWN if html_of(value)}
    assert {Run, Splits, Summary, RateCurve, Minimum, Repeated, Evolved, Autotuned, Importances, kopt.Recipe} <= tables


def test_a_run_says_what_it_reached_where_it_is_and_how_to_go_on() -> None:
    digits = RUN._replace(folder=pathlib.Path("saved_models/digits/1"))
    done = digits._replace(metrics={"metric": "accuracy", "value": 0.97, "target": 0.95})
    assert repr(done) == (
        "<Run digits: test accuracy 0.9700, target 0.9500, saved_models/digits/1; go on: kopt.plot(run)>"
    )
    ended = digits._replace(metrics={"unfinished": "KeyboardInterrupt"})
    assert "go on: kopt.run(run.recipe, resume='saved_models/digits/1')" in repr(ended)
    elsewhere = ended._replace(folder=pathlib.Path("runs/digits/1"))
    assert "folder='runs', resume='runs/digits/1'" in repr(elsewhere)


def packages() -> Iterator[ModuleType]:
    """Yield kopt and those of its packages that users have."""
    yield kopt
    for name in kopt.__all__:
        if isinstance(getattr(kopt, name), ModuleType):
            yield importlib.import_module(f"kopt.{name}")
    yield importlib.import_module("kopt.experiment")
    yield importlib.import_module("kopt.tuning.population")


def functions() -> Iterator[Any]:
    """Yield the public functions of the packages, and the public methods of their classes."""
    for package in packages():
        for name in package.__all__:
            thing = getattr(package, name)
            if inspect.isfunction(thing):
                yield thing
            elif inspect.isclass(thing) and thing.__module__.startswith("kopt."):
                yield from (one for key, one in vars(thing).items() if inspect.isfunction(one) and key[0] != "_")


def classes_in(hint: Any) -> Iterator[type]:
    """Yield the classes of kopt in an annotation."""
    if inspect.isclass(hint) and hint.__module__.startswith("kopt."):
        yield hint
    for inner in typing.get_args(hint):
        yield from classes_in(inner)


def returned() -> set[type]:
    """Return the classes of what users get to see: no values, which print as code, and nothing of Keras' kinds."""
    of_keras = {keras.callbacks.Callback, keras.layers.Layer, keras.optimizers.Optimizer, keras.metrics.Metric}
    hints = [inspect.signature(one).return_annotation for one in functions()]
    found = {kind for hint in hints for kind in classes_in(hint)}
    return {kind for kind in found if not ({Value, Protocol} | of_keras) & {*kind.__mro__}}


@pytest.mark.parametrize(
    "metrics",
    [
        {"unfinished": "SIGTERM", "loss": None, "seconds": 3.0, "value": None, "parameters": None},
        {"value": 0.5, "target": "high", "baseline": [1], "loss": "nan"},
        {"value": True, "metric": None, "baseline": 0.5, "baseline_name": 3},
    ],
)
def test_a_run_whose_files_are_damaged_or_unfinished_is_shown(metrics: dict) -> None:
    run = Run(pathlib.Path("saved_models/digits/1"), Named("digits"), {}, metrics)
    assert repr(run).startswith("<Run digits: ") and "<table" in run._repr_html_()


def test_what_functions_return_is_tested_here() -> None:
    found = returned()
    assert Run in found and RateCurve in found
    untested = {kind.__name__ for kind in found if kind not in {type(value) for value in SHOWN}} - TOOLS
    assert untested == set() and RateCurve.__name__ not in TOOLS


def test_figures_of_kopt_are_of_the_kind_that_notebooks_show() -> None:
    root = pathlib.Path(kopt.__file__).parent
    made = re.compile(r"^(?!.*>>>).*(matplotlib\.figure\.Figure\(|import.*pyplot)", re.M)
    assert [path.name for path in root.rglob("*.py") if made.search(path.read_text())] == []
