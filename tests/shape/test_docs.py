"""What docs/, CONTRIBUTING.md and README.md say is true: code runs, links lead somewhere, names and files are there."""

import ast
import importlib
import json
import pathlib
import re
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from scripts import loaded

import kopt
from kopt.__main__ import COMMANDS
from kopt.tasks.task import better
from kopt.values.moved import moved_modules

ROOT = pathlib.Path(kopt.__file__).resolve().parent.parent
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAST = [ROOT / "CHANGELOG.md", ROOT / "docs" / "moved.md"]  # they name what was
PRESENT = [
    ROOT / "README.md",
    ROOT / "README.zh-CN.md",
    ROOT / "CONTRIBUTING.md",
    *(page for page in DOCS if page not in PAST),
]
FOLDERS = r"(?:kopt|recipes|tests|docs|saved_models|\.ci)/"


# A block of Python, which may have the name of a file that it is saved in, and what a block prints.
BLOCK = re.compile(
    r'^```(?:python(?: title="(?P<file>[\w.]+)")?|text title="(?P<output>Output)")\n(?P<text>.*?)^```', re.S | re.M
)


def blocks(text: str) -> list[dict[str, str | None]]:
    """Return the Python code of a page, each block with the output that the page shows for it, or None."""
    found: list[dict[str, str | None]] = []
    for block in BLOCK.finditer(text):
        if block["output"]:
            found[-1]["output"] = block["text"]
        else:
            found.append({"code": block["text"], "file": block["file"], "output": None})
    return found


# Runs the blocks of each page in one namespace and an empty folder; {page: error, or an empty text}. What a block
# prints must be what the page shows, but for blanks, what "..." stands for, and 5 % of a number that is no whole one.
RUN = """
import contextlib, doctest, io, json, os, pathlib, re, sys, tempfile, traceback

NUMBER = re.compile(r"-?\\d+\\.\\d+(?:e[+-]?\\d+)?|-?\\d+e[+-]?\\d+")

def same(shown, printed):
    shown_numbers, numbers = ([float(one) for one in NUMBER.findall(text)] for text in (shown, printed))
    if "..." not in shown:
        near = [abs(one - other) <= 0.05 * abs(one) for one, other in zip(shown_numbers, numbers)]
        if len(shown_numbers) != len(numbers) or not all(near):
            return False
        shown, printed = NUMBER.sub("#", shown), NUMBER.sub("#", printed)
    return doctest.OutputChecker().check_output(shown, printed, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)

def run(block, page, names):
    printed = io.StringIO()
    if block["file"]:
        pathlib.Path(block["file"]).write_text(block["code"])
    with contextlib.redirect_stdout(printed):
        exec(compile(block["code"], page, "exec"), names)
    if block["output"] is not None and not same(block["output"], printed.getvalue()):
        raise AssertionError(f"{page} prints\\n{printed.getvalue()}and shows\\n{block['output']}")

found = {}
for page, code in json.loads(pathlib.Path(sys.argv[1]).read_text()).items():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        names = {"__name__": "page"}
        try:
            for block in code:
                run(block, page, names)
            found[page] = ""
        except BaseException:
            found[page] = traceback.format_exc()
        os.chdir("/")
print(json.dumps(found))
"""


def run(pages: list[pathlib.Path], folder: pathlib.Path, python: Callable[..., Any]) -> dict[str, str]:
    """Run pages in a process of their own, for they register what they show; return the error of each.

    A page that makes virtual devices comes first, because TensorFlow makes its devices once.
    """
    code = folder / "code.json"
    first = sorted(pages, key=lambda page: "set_logical_device_configuration" not in page.read_text())
    code.write_text(json.dumps({str(page): blocks(page.read_text()) for page in first}))
    kopt_warns = "error:.*the old name will be removed:DeprecationWarning"
    return json.loads(python("-W", kopt_warns, "-c", RUN, str(code)).stdout.splitlines()[-1])


def missing_links(text: str, folder: pathlib.Path) -> Iterator[str]:
    """Yield the relative links and pictures that lead to no file; anchors within a page are not looked at."""
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path = (folder / target.split("#")[0]).resolve()
        if not re.match(r"[a-z]+:|#", target) and not path.exists():
            yield target


def missing_files(text: str) -> Iterator[str]:
    """Yield the files and folders of this project that are named, in code or in a picture, and are not there.

    In a picture, paths leave out `kopt/`, and a file in the folder of the path before leaves out the folder.
    """
    for path in re.findall(rf"`({FOLDERS}[\w./-]*)`", text):
        if not (ROOT / path).exists():
            yield path
    for picture in re.findall(r"^```mermaid\n(.*?)^```", text, re.S | re.M):
        folder = ""
        for path in re.findall(r"[\w/]+(?:\.py\b|/(?=\"))", picture):
            named = path if "/" in path else f"{folder}/{path}"
            folder = named.rpartition("/")[0]
            if not (ROOT / "kopt" / named).exists():
                yield named


def missing_names(text: str) -> Iterator[str]:
    """Yield each `kopt.name` in code that cannot be imported or is no attribute."""
    for name in sorted(set(re.findall(r"`(kopt(?:\.\w+)+)", text))):
        if not is_there(name):
            yield name


def is_there(name: str) -> bool:
    """Return whether a dotted name is a module, or an attribute of what comes before."""
    home, _, attribute = name.rpartition(".")
    if hasattr(sys.modules.get(home), attribute):  # of a package's function, the module may have the same name
        return True
    thing, so_far = importlib.import_module("kopt"), "kopt"
    for part in name.split(".")[1:]:
        so_far += f".{part}"
        if not hasattr(thing, part):
            try:
                importlib.import_module(so_far)
            except ModuleNotFoundError:
                return False
        thing = getattr(thing, part)
    return True


def name_of(path: pathlib.Path) -> str:
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)


@pytest.mark.parametrize("inside", [False, True], ids=["guides", "pages in folders"])
def test_python_blocks_run(inside: bool, tmp_path, python) -> None:
    own = [page for page in DOCS if "zh-CN" not in page.name]  # the others have the same code
    own = [page for page in own if (page.parent != ROOT / "docs") == inside]
    found = run(own, tmp_path, python)
    assert len(found) == len(own) > 5 and not any(found.values()), "\n".join(found.values())


@pytest.mark.parametrize("page", [*PRESENT, *PAST], ids=name_of)
def test_links_lead_somewhere(page: pathlib.Path) -> None:
    assert list(missing_links(page.read_text(), page.parent)) == []


@pytest.mark.parametrize("page", PRESENT, ids=name_of)
def test_files_and_names_are_there(page: pathlib.Path) -> None:
    text = page.read_text()
    assert [*missing_files(text), *missing_names(text)] == []


def test_what_is_not_there_is_found(tmp_path) -> None:
    """The counter-test."""
    text = "[a](no.md) [b](README.md#x) ![c](https://a.b/c.png)\n"
    text += "`kopt/no.py` `kopt/tuning/` `tests/shape/test_docs.py`\n"
    text += "`kopt.fit` `kopt.no` `kopt.values.no` `kopt.values.checks.no(1)` `kopt.callbacks.EMA(1)` `kopt.training`\n"
    text += '```mermaid\na["x<br/>training/loop.py, epochs.py, no.py"] --> b["callbacks/"]\nc["state/no/"]\n```\n'
    assert list(missing_links(text, ROOT)) == ["no.md"]
    assert list(missing_files(text)) == ["kopt/no.py", "training/no.py", "state/no/"]
    assert list(missing_names(text)) == ["kopt.no", "kopt.values.checks.no", "kopt.values.no"]


def test_a_block_that_raises_is_found(tmp_path, python) -> None:
    """The counter-test: blocks of a page share their names, and what is not Python is left alone."""
    good, bad = tmp_path / "good.md", tmp_path / "bad.md"
    good.write_text("```python\nx = 1\n```\n```bash\nno\n```\n```python\nassert x == 1\n```\n")
    bad.write_text("```python\ny = 1\n```\n```python\nassert x == 2\n```\n")
    found = run([good, bad], tmp_path, python)
    assert found[str(good)] == "" and "NameError: name 'x'" in found[str(bad)]


def test_an_output_that_is_another_is_found(tmp_path, python) -> None:
    """The counter-test: "..." stands for anything, and what a page does not show is not compared."""
    good, bad, worse = (tmp_path / f"{name}.md" for name in ("good", "bad", "worse"))
    good.write_text(
        '```python title="one.py"\nprint(1 / 3)\n```\n\n```text title="Output"\n0.33...\n```\n'
        "```python\nprint(open('one.py').read(), 1.02e-3, 3)\n```\n\n"
        '```text title="Output"\nprint(1 / 3)\n0.001 3\n```\n\n```text\nprint(3)\n```\n'
    )
    bad.write_text('```python\nprint(1)\nprint(2)\n```\n\n```text title="Output"\n1\n```\n')
    worse.write_text('```python\nprint(0.11)\n```\n\n```text title="Output"\n0.1\n```\n')
    found = run([bad, good, worse], tmp_path, python)
    assert found[str(good)] == "" and "prints\n1\n2\nand shows\n1" in found[str(bad)]
    assert "prints\n0.11\nand shows\n0.1" in found[str(worse)]


def test_every_room_is_on_the_page_of_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    rooms = {path.parent.name for path in (ROOT / "kopt").glob("*/__init__.py")}
    assert rooms - set(re.findall(r"`kopt/(\w+)/`", text)) == set()


@pytest.fixture(scope="module")
def moved() -> ModuleType:
    """The script docs/moved.py."""
    return loaded(ROOT / "docs" / "moved.py")


def test_every_name_that_has_moved_is_on_its_page_and_the_changelog_leads_there(moved: ModuleType) -> None:
    assert moved.PAGE.read_text() == moved.page(), "python docs/moved.py writes it"
    assert len(moved.moved()) >= len(moved_modules.moved) > 0
    assert "](docs/moved.md)" in (ROOT / "CHANGELOG.md").read_text()


def test_names_that_have_moved_are_found_in_code(moved: ModuleType) -> None:
    """The counter-test: a class of a module too, not what is put together when it is called."""
    code = (
        "warn_moved('kopt.a.B', 'kopt.a.C')\ndeprecation.warn_moved('kopt.d', 'kopt.e', 3)\nwarn_moved(f'kopt.{x}', y)"
    )
    assert moved.moved_names(ast.parse(code)) == {"kopt.a.B": "kopt.a.C", "kopt.d": "kopt.e"}


def test_names_that_have_moved_are_found_in_tables(moved: ModuleType) -> None:
    code = "__getattr__ = moved_names(__name__, {'A': 'B', 'C': 'kopt.d.E'})"
    assert moved.renamed(ast.parse(code), "kopt.a") == {"kopt.a.A": "kopt.a.B", "kopt.a.C": "kopt.d.E"}


@pytest.mark.filterwarnings("ignore:.*the old name will be removed:DeprecationWarning")
def test_every_old_name_goes_on_working(moved: ModuleType) -> None:
    from kopt.tuning.space import Range

    assert Range is kopt.tuning.Range
    names = [old for old in moved.moved() if old not in moved_modules.moved]
    assert len(names) > 30
    assert [old for old in names if not is_there(old)] == []


def test_every_new_name_is_there(moved: ModuleType) -> None:
    assert [new for new in moved.moved().values() if new.startswith("kopt.") and not is_there(new)] == []


def test_every_rule_is_on_its_page() -> None:
    rules = loaded(ROOT / "docs" / "rules.py")
    assert rules.PAGE.read_text() == rules.page(), "python docs/rules.py writes it"
    for name in rules.registry:
        assert f"| `kopt.rules.{rules.registry[name].__name__}` |" in rules.PAGE.read_text()


def test_the_gallery_is_what_the_recipes_say_and_reached() -> None:
    gallery = loaded(ROOT / "docs" / "gallery.py")
    assert gallery.PAGE.read_text() == gallery.page(), "python docs/gallery.py writes it"
    results = json.loads((ROOT / "recipes" / "results.json").read_text())
    assert all(gallery.pictures(name) for name in results) and not gallery.pictures("nothing")
    recipes = loaded(ROOT / "recipes" / "benchmarks" / "gallery.py").with_target()
    assert set(results) == set(recipes)
    for name, found in results.items():
        target = recipes[name].target
        reached = found["mean"] >= target if better(found["metric"]) == "max" else found["mean"] <= target
        assert found["target"] == target and reached, name


def test_the_page_of_benchmarks_is_what_they_say() -> None:
    """Dates are those that the page has: a checkout without its history cannot tell them."""
    benchmarks = loaded(ROOT / "docs" / "benchmarks.py")
    text = benchmarks.PAGE.read_text()
    dates = dict(re.findall(r"^\| \[recipes/benchmarks/(\w+\.py)\].* \| (20\d\d-\d\d-\d\d) \|$", text, re.M))
    assert text == benchmarks.page(dates), "python docs/benchmarks.py writes it"
    assert len(dates) > 15


def test_each_picture_of_the_textbook_is_drawn_by_the_block_before_it() -> None:
    """`python docs/textbook.py` runs the pages, and saves their figures."""
    textbook, drawn = loaded(ROOT / "docs" / "textbook.py"), []
    for page in textbook.PAGES:
        parts, code = textbook.parts(page.read_text()), ""
        for kind, text in parts:
            if kind == "picture":
                assert re.search(r"^figure = ", code, re.M), text
                drawn.append(text)
            code = text if kind == "code" else ""
        assert len([kind for kind, _ in parts if kind == "code"]) == len(blocks(page.read_text()))
    assert sorted(drawn) == sorted(path.name for path in (ROOT / "docs" / "pictures").glob("textbook-*.png"))
    assert len(drawn) > 6


# What a line of a shell names that could be no longer there.
COMMAND = re.compile(r"^python (?:-m kopt (?P<sub>\w+)|(?P<script>[\w/]+\.py))", re.M)


def missing_commands(text: str) -> Iterator[str]:
    """Yield what the shell's lines of a page name and is not there: commands of kopt, scripts, extras."""
    files = {block["file"] for block in blocks(text)}
    extras = (ROOT / "setup.cfg").read_text()
    for lines in re.findall(r"^```bash\n(.*?)^```", text, re.S | re.M):
        for found in COMMAND.finditer(lines):
            if found["sub"] and found["sub"] not in COMMANDS:
                yield found["sub"]
        for path in re.findall(r"(?<![\w/-])[\w/]+\.py\b", lines):
            if path not in files and not (ROOT / path).is_file():
                yield path
        for extra in re.findall(r"\[(\w+)\]\"", lines):
            if f"\n{extra} =\n" not in extras:
                yield extra


@pytest.mark.parametrize("page", DOCS, ids=name_of)
def test_commands_name_what_is_there(page: pathlib.Path) -> None:
    assert list(missing_commands(page.read_text())) == []


def test_a_command_that_is_not_there_is_found() -> None:
    """The counter-test."""
    text = '```bash\npython -m kopt no x\npython -m kopt runs\npython recipes/no.py\npip install ".[nothing]"\n```\n'
    assert list(missing_commands(text)) == ["no", "recipes/no.py", "nothing"]


def test_the_chinese_page_has_the_code_of_the_english_one() -> None:
    english, chinese = (
        blocks((ROOT / "docs" / "tutorials" / name).read_text()) for name in ("start.md", "start.zh-CN.md")
    )
    code = [[re.sub(r"\s*#.*", "", str(block["code"])) for block in page] for page in (english, chinese)]
    assert code[0] == code[1] and len(code[0]) > 5
    assert [block["output"] for block in english] == [block["output"] for block in chinese]
