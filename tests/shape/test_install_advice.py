"""What an error advises to install is true: kopt's own distribution, and an extra that it has and brings the module."""

import ast
import configparser
import importlib.metadata
import pathlib
import re
import sys
from collections.abc import Iterator

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from scripts import loaded

import kopt
from kopt.values.checks import needs
from kopt.values.install import DISTRIBUTION, install_command

PACKAGE = pathlib.Path(kopt.__file__).resolve().parent
SOURCES = {path: ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
SETUP = configparser.ConfigParser()
SETUP.read(PACKAGE.parent / "setup.cfg")
EXTRAS = SETUP["options.extras_require"]
ADVICE = re.compile(r"pip install (?!torch --index-url)")  # PyTorch for CPUs is on an index of its own


def advised(tree: ast.Module) -> Iterator[tuple[str | None, str | None]]:
    """Yield module and extra of each `needs(module, extra)` and `Package(name, extra)`; None for what is no text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("needs", "Package"):
            given = dict(zip(("module", "extra"), node.args)) | {one.arg: one.value for one in node.keywords}
            if "how" not in given:
                default = ast.Constant("tune") if node.func.id == "Package" else None
                texts = (given.get("module"), given.get("extra", default))
                yield tuple(one.value if isinstance(one, ast.Constant) else None for one in texts)


FOUND = {path: pairs for path, tree in SOURCES.items() if (pairs := list(advised(tree)))}


def brought(extra: str) -> set[str]:
    """Return the distributions that an extra installs, what they need in turn too, as far as they are here."""
    todo = [Requirement(line) for line in (SETUP["options"]["install_requires"] + EXTRAS[extra]).splitlines() if line]
    seen: set[str] = set()
    while todo:
        name = canonicalize_name(todo.pop().name)
        if name not in seen:
            seen.add(name)
            try:
                inner = map(Requirement, importlib.metadata.requires(name) or ())
            except importlib.metadata.PackageNotFoundError:
                continue
            todo += [one for one in inner if not one.marker or one.marker.evaluate({"extra": ""})]
    return seen


def test_the_distribution_is_that_of_setup_cfg() -> None:
    assert SETUP["metadata"]["name"] == DISTRIBUTION
    selves = {
        Requirement(line).name for line in "\n".join(EXTRAS.values()).splitlines() if line.strip().startswith("kopt")
    }
    assert selves == {DISTRIBUTION}


def test_every_advice_names_an_extra_that_is_there() -> None:
    extras = [extra for pairs in FOUND.values() for _, extra in pairs if extra is not None]
    assert len(extras) > 20 and set(extras) <= set(EXTRAS)
    calls = ast.parse('needs("a", "b")\nPackage("c")\nPackage("d", how="e")')
    assert list(advised(calls)) == [("a", "b"), ("c", "tune")]


def test_every_extra_brings_the_modules_that_it_is_advised_for() -> None:
    modules = importlib.metadata.packages_distributions()
    pairs = {
        (module.partition(".")[0], extra) for found in FOUND.values() for module, extra in found if module and extra
    }
    pairs = {(module, extra) for module, extra in pairs if module in modules}
    assert len(pairs) > 5
    names = {module: {canonicalize_name(one) for one in modules[module]} for module, _ in pairs}
    wrong = [(module, extra) for module, extra in pairs if not names[module] & brought(extra)]
    assert wrong == []
    assert "tensorflow" in brought("tune") and "streamlit" not in brought("tune")


def test_no_error_writes_the_command_by_itself() -> None:
    """Docstrings may show it; pages of the docs say it for a checkout."""
    written = []
    for path, tree in SOURCES.items():
        docs = {
            ast.get_docstring(node, clean=False)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        }
        texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
        if any(isinstance(text, str) and text not in docs and ADVICE.search(text) for text in texts):
            written.append(path.name)
    assert written == ["install.py"]


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_error_advises_by_where_kopt_lies(extra: str, monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, "no_such", None)
    with pytest.raises(ImportError) as caught:
        needs("no_such", extra)
    assert str(caught.value) == f'no_such must be installed for this, by: python -m pip install -e ".[{extra}]"'
    installed = f'python -m pip install "{DISTRIBUTION}[{extra}]"'
    assert install_command(extra, tmp_path / "kopt") == installed
    (tmp_path / "setup.cfg").write_text("[metadata]\nname = app\n[options]\npackages = kopt\n")
    assert install_command(extra, tmp_path / "kopt") == installed


def test_the_page_of_sizes_has_every_extra_and_what_it_brings() -> None:
    sizes = loaded(PACKAGE.parent / "docs" / "sizes.py")
    page = sizes.PAGE.read_text()
    measured = sizes.rows(page)
    assert sizes.NONE in measured and set(measured) <= {sizes.NONE, *EXTRAS}
    assert f"\n{sizes.table(measured)}\n{sizes.END}" in page, "python docs/sizes.py --table writes it anew"
    assert sizes.rows(sizes.table(measured)) == measured
    said = set(re.findall(r"`(\w+)`", page[page.index("what for") : page.index("## Sizes")]))
    assert said == set(EXTRAS)
    assert sizes.named("kopt-keras[docs]") == "[docs]" and sizes.named("psycopg[binary]>=3.2") == "psycopg"
