"""The docs site is built without a warning, has every public name, and shows every page without a network."""

import html.parser
import importlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

import kopt

pytest.importorskip("material", reason='mkdocs-material is not installed: pip install -e ".[docs]"')

ROOT = pathlib.Path(kopt.__file__).resolve().parent.parent
QUIET = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # what mkdocs-material says about the versions to come
# The API is read from the source: a build takes seconds, and needs no TensorFlow.
MKDOCS = "import sys; sys.modules.update(keras=None, tensorflow=None); from mkdocs.__main__ import cli; cli()"
SHOWN = re.compile(r"^(?:https?:)?//")
# Attributes by which a page loads something; links that a reader follows are not among them.
LOADS = {("link", "href"), *((tag, "src") for tag in ("audio", "embed", "iframe", "img", "script", "source", "video"))}
LOADS |= {("img", "srcset"), ("source", "srcset"), ("object", "data"), ("video", "poster"), ("image", "href")}
# What the theme's script would fetch, and for which pages: those that have such an element.
FETCHES = {"mermaid": "mermaid", "source": "md-source"}


def build(folder: pathlib.Path, config: pathlib.Path = ROOT / "mkdocs.yml") -> subprocess.CompletedProcess[str]:
    """Build a site into a folder; with --quiet, mkdocs counts no warnings."""
    command = [sys.executable, "-c", MKDOCS, "build", "--strict", "-f", str(config), "-d", str(folder)]
    return subprocess.run(command, env=QUIET, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The site, built once."""
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    said = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("INFO ")]
    assert (done.returncode, said) == (0, [])
    return folder


class Loads(html.parser.HTMLParser):
    """Collects what a page loads from elsewhere, and the elements that the theme's script would fetch something for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if (tag, name) in LOADS and SHOWN.match(value or ""):
                self.found.append(f"{tag} {name}={value}")
            if name == "class" and set((value or "").split()) & set(FETCHES.values()):
                self.found.append(f"{tag} class={value}")
            if name == "style":
                self.found += loads_of_style(value or "")


def loads_of_style(text: str) -> list[str]:
    """Return what a style loads from elsewhere."""
    return re.findall(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')]+)", text)


def loads_of_page(text: str) -> list[str]:
    """Return what a page loads from elsewhere, in its styles and its scripts too."""
    parser = Loads()
    parser.feed(text)
    scripts = re.findall(r"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", text, re.S)
    return [*parser.found, *loads_of_style(text), *re.findall(r"https?://[^\"'\s]+", " ".join(scripts))]


def loads_of_site(folder: pathlib.Path) -> Iterator[str]:
    """Yield what the pages and the styles of a site load from elsewhere."""
    for path in folder.rglob("*.html"):
        yield from (f"{path.name}: {one}" for one in loads_of_page(path.read_text()))
    for path in folder.rglob("*.css"):
        yield from (f"{path.name}: {one}" for one in loads_of_style(path.read_text()))


def test_no_page_loads_anything_from_the_network(site: pathlib.Path) -> None:
    assert len(list(site.rglob("*.html"))) > 30
    assert list(loads_of_site(site)) == []


def test_what_a_page_would_load_is_found(tmp_path: pathlib.Path) -> None:
    """The counter-test: a script, a font, a picture, a style, and a diagram that the theme's script would fetch for."""
    (tmp_path / "a.css").write_text('@import "https://a.b/c.css"; x { background: url(//a.b/c.png) } y { src: url(d) }')
    (tmp_path / "a.html").write_text(
        '<script src="https://a.b/c.js"></script><link rel="stylesheet" href="//a.b/c"><img src="https://a.b/c.png">'
        '<script>fetch("https://a.b")</script><p style="background: url(https://a.b/d)">'
        '<pre class="mermaid"></pre><a href="https://a.b">link</a><script src="d.js"></script>'
    )
    assert len(list(loads_of_site(tmp_path))) == 9


def test_the_search_needs_no_server(site: pathlib.Path) -> None:
    index = (site / "search" / "search_index.js").read_text()
    assert index.startswith("var __index = {") and "kopt.schedules.Cosine" in index
    assert 'src="assets/iframe-worker.js"' in (site / "index.html").read_text()


def test_formulas_and_diagrams_are_drawn(site: pathlib.Path) -> None:
    pages = {path: path.read_text() for path in site.rglob("*.html")}
    assert [path for path, text in pages.items() if 'class="arithmatex"' in text] == []
    assert pages[site / "architecture.html"].count('<div class="diagram"') == 2
    assert "<math" in pages[site / "tutorials" / "regularizer.html"]


PACKAGES = sorted(path.parent.name for path in (ROOT / "kopt").glob("*/__init__.py"))
# What users need of these is in kopt itself, or typed in a shell.
INSIDE = {"commands", "experiment", "keras_internals", "state", "tasks", "values"}


def missing(page: str, names: list[str], package: str) -> list[str]:
    """Return the names that a page neither describes nor names in code."""
    described = set(re.findall(rf'id="{package}\.(?:\w+\.)*?(\w+)"', page))
    return [name for name in names if name not in described and not re.search(rf"<code>(?:kopt\.)?{name}\b", page)]


@pytest.mark.parametrize("package", ["kopt", *(f"kopt.{name}" for name in PACKAGES if name not in INSIDE)])
def test_every_public_name_is_on_its_page(package: str, site: pathlib.Path) -> None:
    page = (site / "api" / f"{package.removeprefix('kopt.')}.html").read_text()
    names = set(importlib.import_module(package).__all__) - {"registry"}
    assert missing(page, sorted(names), package) == []
    assert missing(page, ["Nowhere"], package) == ["Nowhere"]


def test_a_broken_link_ends_the_build(tmp_path: pathlib.Path) -> None:
    """The counter-test: a page that links nothing, and one that is in no place of the nav."""
    shutil.copytree(ROOT / "docs" / "assets", tmp_path / "docs" / "assets")
    (tmp_path / "docs" / "index.md").write_text("# One\n\n[a](no.md)\n")
    (tmp_path / "docs" / "other.md").write_text("# Other\n")
    text = (ROOT / "mkdocs.yml").read_text()
    text = text[: text.index("nav:\n  - Home")] + "nav: [index.md]\n"
    text = re.sub(r"  - mkdocstrings:.*?\n\n", "\n", text, flags=re.S).replace("docs/site/", f"{ROOT}/docs/site/")
    text = text.replace("docs/site/links.py", "docs/site/formulas.py")  # it reads the pages of this project
    (tmp_path / "mkdocs.yml").write_text(text)
    done = build(tmp_path / "site", tmp_path / "mkdocs.yml")
    assert done.returncode == 1 and "no.md" in done.stderr and "other.md" in done.stderr


def test_notebooks_are_pages_with_pictures_and_tables(site: pathlib.Path) -> None:
    for name in ("diagnose", "search", "start"):
        text = (site / "notebooks" / f"{name}.html").read_text()
        assert 'src="data:image/png;base64,' in text and "<table>" in text and f'href="{name}.ipynb"' in text
        assert (site / "notebooks" / f"{name}.ipynb").is_file()
    assert 'href="../notebooks/start.html"' in (site / "tutorials" / "start.html").read_text()
