"""The pages docs/from_*.md have each public name of the library that they are about, and name what is.

coming_from.json has the names, by module, and the version that they were read from: the imports of a package's
__init__, or its __all__; of Lightning's Trainer the arguments, of fastai's Learner the methods, patched ones too.
KerasTuner is installed wherever kopt is, so that its names are read from itself.
"""

import ast
import importlib
import inspect
import json
import pathlib
import re

import keras_tuner
import pytest

import kopt

ROOT = pathlib.Path(kopt.__file__).resolve().parent.parent
READ = json.loads((ROOT / "tests" / "shape" / "coming_from.json").read_text())
PAGES = {name: (ROOT / "docs" / f"from_{name}.md").read_text() for name in (*READ, "keras_tuner")}
SAID = ("nowhere", "not needed", "`kopt.", "`keras.", "`keras_tuner")
UNTIL = {"tensorflow_addons": "Coming from tensorflow-addons"}  # an ended library: nobody can stay there


def public(thing: object) -> list[str]:
    """Return the names of a module or class that are neither private nor modules."""
    return [name for name in dir(thing) if name[0] != "_" and not inspect.ismodule(getattr(thing, name))]


def names() -> dict[tuple[str, str], list[str]]:
    """Return (page, table) -> the names that the table must have."""
    found = {(page, table): text.split() for page, read in READ.items() for table, text in read["names"].items()}
    within = [f"{part}.{name}" for part in ("applications", "errors", "oracles", "tuners") for name in inside(part)]
    found["keras_tuner", "keras_tuner"] = public(keras_tuner) + within
    found["keras_tuner", "HyperParameters"] = public(keras_tuner.HyperParameters)
    found["keras_tuner", "Tuner"] = public(keras_tuner.Tuner)
    return found


def inside(part: str) -> list[str]:
    return public(getattr(keras_tuner, part))


def rows(text: str, table: str) -> list[tuple[str, str, str]]:
    """Return (name, where it is now, note) of a table, a row a name."""
    found = re.search(rf"^\| {re.escape(table)} \| \w+ \| note \|\n\|[-|]+\|\n(.*?)(?:\n\n|\Z)", text, re.S | re.M)
    assert found, table
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in found[1].splitlines()]
    return [(name, now, " ".join(note)) for first, now, *note in cells for name in first.split(", ")]


@pytest.mark.parametrize(("page", "table"), names())
def test_each_name_has_a_row(page: str, table: str) -> None:
    found = rows(PAGES[page], table)
    assert sorted(name for name, _, _ in found) == sorted(names()[page, table])
    assert [name for name, now, _ in found if not now.startswith(SAID)] == []


@pytest.mark.parametrize("page", sorted(set(PAGES) - set(UNTIL)))
def test_what_is_nowhere_has_a_note(page: str) -> None:
    found = [row for one, table in names() if one == page for row in rows(PAGES[page], table)]
    assert [name for name, now, note in found if now.startswith("nowhere") and not note] == []


@pytest.mark.parametrize("page", sorted(set(PAGES) - set(UNTIL)))
def test_a_page_begins_with_when_to_stay_and_has_a_program_of_both(page: str) -> None:
    text = PAGES[page]
    assert text.split("\n\n")[1].startswith("**Stay where you are**")
    theirs = re.findall(r"^```py\n(.*?)^```", text, re.S | re.M)
    assert len(theirs) + text.count("```python\n") == 2
    for code in theirs:
        ast.parse(code)


def test_versions_are_stated() -> None:
    tuner = re.search(r"^keras-tuner==(.*)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert tuner
    for page, version in {**{page: read["version"] for page, read in READ.items()}, "keras_tuner": tuner[1]}.items():
        assert re.search(rf"\b{re.escape(version)}\b", PAGES[page]), page


def resolves(name: str) -> bool:
    package, *parts = name.split(".")
    thing = importlib.import_module(package)
    for part in parts:
        thing = getattr(thing, part, None)
    return thing is not None


@pytest.mark.parametrize("page", PAGES)
def test_each_name_that_is_given_is_there(page: str) -> None:
    given = sorted(set(re.findall(r"`((?:kopt|keras|keras_tuner)(?:\.\w+)+)", PAGES[page])))
    assert len(given) > 15 and [name for name in given if not resolves(name)] == []


def test_what_is_missing_is_found() -> None:
    """The counter-test: a name without a row, and names that are not there."""
    text = "| optim | here | note |\n|---|---|---|\n| SGD, Adam | nowhere | |\n"
    assert rows(text, "optim") == [("SGD", "nowhere", ""), ("Adam", "nowhere", "")]
    assert not resolves("kopt.rules.Nothing") and not resolves("keras.losses.GIoU")
    assert "Lion" in names()["timm", "optim"] and "tuners.Hyperband" in names()["keras_tuner", "keras_tuner"]
