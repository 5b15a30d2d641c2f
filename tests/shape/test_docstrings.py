"""Every public name says what it does, what it takes, and shows it; every file keeps to one concept."""

import ast
import dataclasses
import importlib
import inspect
import pathlib
import pkgutil
import re
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
    """Results, which functions give, and small helpers of one another need no example of their own."""
    return not (isinstance(thing, type) and issubclass(thing, tuple)) and thing.__name__ not in NO_EXAMPLE


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


@pytest.mark.parametrize("path", SOURCES + RECIPES, ids=lambda path: path.name)
def test_files_and_functions_stay_small(path: pathlib.Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 320
    assert ast.get_docstring(ast.parse(text))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            assert body[-1].end_lineno - body[0].lineno + 1 <= 40, node.name  # type: ignore[operator]


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
