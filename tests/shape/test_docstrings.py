"""Every public name says what it does, what it takes, and shows it; every file keeps to one concept."""

import ast
import dataclasses
import importlib
import inspect
import pathlib
import pkgutil
import re
import typing
from typing import Any

import pytest

import kopt
from kopt.values.fields import Value

MODULES = [
    importlib.import_module(module.name)
    for module in pkgutil.walk_packages(kopt.__path__, "kopt.")
    if module.name != "kopt.__main__"
]
PUBLIC = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in MODULES
    if not hasattr(module, "__path__") and not module.__name__.startswith("kopt.keras_internals")
    for name in getattr(module, "__all__", ())
    if inspect.isfunction(getattr(module, name)) or inspect.isclass(getattr(module, name))
    if getattr(module, name) is not Any  # a name for a type that Keras does not give
}
SOURCES = sorted(pathlib.Path(kopt.__file__).parent.rglob("*.py"))
RECIPES = sorted((pathlib.Path(kopt.__file__).parent.parent / "recipes").glob("*.py"))


def missing(thing: Any) -> list[str]:
    """The sections that a docstring lacks."""
    text = inspect.getdoc(thing) or ""
    wanted = ["Example:"] if shows(thing) else []
    if isinstance(thing, type) and issubclass(thing, Value) and not inspect.isabstract(thing):
        wanted += ["Args:"] if dataclasses.fields(thing) else []  # an abstract type's fields are told by its members
    if inspect.isfunction(thing):
        parameters = [name for name in inspect.signature(thing).parameters if name not in ("self", "cls")]
        wanted += ["Args:"] if parameters else []
        missing_args = [name for name in parameters if not re.search(rf"^ *\*{{0,2}}{name}: ", text, re.M)]
        wanted += [f"{name}: " for name in missing_args]
    return [section for section in wanted if section not in text] + (
        [] if text.split("\n")[0].endswith(".") else ["a first line"]
    )


def shows(thing: Any) -> bool:
    """Return whether an example is needed: not for results, for Protocols and for what only kopt itself calls."""
    given = isinstance(thing, type) and (issubclass(thing, tuple) or is_protocol(thing))
    return not given and thing.__name__ not in NO_EXAMPLE


def is_protocol(thing: type) -> bool:
    """Return whether a class declares what another's objects have; `typing.is_protocol` is of Python 3.13."""
    return typing.Protocol in thing.__bases__


NO_EXAMPLE = {
    "Command",
    "write_metrics",
    "write_report",
    "write_result",
    "schedule_figure",
    "history_figure",
    "cast",
    "Elementwise",
    "build",
    "train",
    "execute",
}


@pytest.mark.parametrize("name", PUBLIC)
def test_docstring(name: str) -> None:
    if name.endswith(".cast"):
        assert PUBLIC[name].__doc__
        return
    assert missing(PUBLIC[name]) == []


def test_a_bare_docstring_is_found() -> None:
    def bare(x: int) -> int:
        """Does something"""
        return x

    assert missing(bare) == ["Example:", "Args:", "x: ", "a first line"]


def cut_off(text: str) -> list[str]:
    """The paragraphs of a docstring that end in the middle of a sentence; examples end as they like."""
    paragraphs = [paragraph.strip() for paragraph in re.split(r"\n\s*\n", text)]
    return [one[-60:] for one in paragraphs if ">>>" not in one and not re.search(r"[.:!?]['\")`*]*$", one)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_docstring_is_cut_off_or_shows_only_a_name(path: pathlib.Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
            text = ast.get_docstring(node) or "."
            assert cut_off(text) == [], getattr(node, "name", path.name)
            assert not re.search(r">>> [\w.]+\.__name__$", text, re.M), getattr(node, "name", path.name)


def test_a_docstring_that_is_cut_off_is_found() -> None:
    assert cut_off("Does this.\n\nThe decay is not scaled, as an L2\n\nArgs:\n    x: One.") == [
        "The decay is not scaled, as an L2"
    ]


# The signature of KerasTuner, with what each argument means; it may only become shorter.
LONGER = {"tuner.py": 350}


def too_long(text: str, most: int = 320) -> bool:
    """Return whether a file holds more than one concept; how much a function does is ruff's to say (C901, PLR09)."""
    return len(text.splitlines()) > most


@pytest.mark.parametrize("path", SOURCES + RECIPES, ids=lambda path: path.name)
def test_files_stay_small_and_say_what_they_are(path: pathlib.Path) -> None:
    text = path.read_text()
    assert not too_long(text, LONGER.get(path.name, 320))
    assert ast.get_docstring(ast.parse(text))


def test_a_file_that_is_too_long_is_found() -> None:
    assert too_long("\n" * 321) and not too_long("\n" * 320)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_private_names_of_keras_are_touched_in_one_file(path: pathlib.Path) -> None:
    if path.parent.name != "keras_internals":
        assert "keras.src" not in path.read_text() and "tf.__internal__" not in path.read_text()
        private = {
            node.attr
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Attribute)
            and node.attr.startswith("_")
            and not node.attr.startswith("__")
            and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
        }
        assert private == set()
