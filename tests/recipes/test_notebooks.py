"""The notebooks of docs/ run, show pictures and small tables, and no flood of lines."""

import copy
import json
import pathlib
import re
from types import ModuleType
from typing import Any

import pytest
from scripts import loaded

import kopt

pytest.importorskip("nbclient", reason='nbclient is not installed: pip install -e ".[dev]"')
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Jupyter's own packages

ROOT = pathlib.Path(kopt.__file__).resolve().parent.parent
NAMES = ("diagnose", "search", "start")
MOST_LINES, MOST_BYTES = 14, 500_000
# Cells that only the test has, at the end of "start": a figure of matplotlib's own, and one of kopt's where pyplot is.
PROBES = (
    "import matplotlib.figure\nmatplotlib.figure.Figure(figsize=(1, 1))",
    "%matplotlib inline\nimport matplotlib.pyplot\nkopt.plot(schedule)",
)
Cell = dict[str, Any]
Notebook = dict[str, Any]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script docs/notebooks.py."""
    return loaded(ROOT / "docs" / "notebooks.py")


@pytest.fixture(scope="module")
def kept(script: ModuleType) -> dict[str, Notebook]:
    """The notebooks as they are in docs/, with the outputs that a reader sees."""
    return {path.stem: script.nbformat.read(path, 4) for path in script.NOTEBOOKS}


@pytest.fixture(scope="module")
def fresh(script: ModuleType, kept: dict[str, Notebook]) -> dict[str, Notebook]:
    """The notebooks as they are when they have just been run, each in a kernel of its own; an error ends the test."""
    notebooks = copy.deepcopy(kept)
    notebooks["start"].cells += [script.nbformat.v4.new_code_cell(code) for code in PROBES]
    return {name: script.run(notebook) for name, notebook in notebooks.items()}


def code_cells(notebook: Notebook) -> list[Cell]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def kinds(cell: Cell) -> list[list[str]]:
    """Return the kinds of each output of a cell: MIME types, or the name of a stream."""
    return [sorted(output["data"]) if "data" in output else [output.get("name", "error")] for output in cell["outputs"]]


def text_of(cell: Cell) -> str:
    """Return the text of a cell's outputs, as a page shows it: none where there is a picture or a table."""
    found = []
    for output in cell["outputs"]:
        data = output.get("data", {})
        if not {"image/png", "text/html"} & set(data):
            found.append(output.get("text") or data.get("text/plain", ""))
    return "\n".join(found)


def test_there_are_three_of_8_to_15_cells_and_they_are_small(script: ModuleType, kept: dict[str, Notebook]) -> None:
    assert tuple(kept) == NAMES
    assert all(8 <= len(one["cells"]) <= 20 for one in kept.values())
    assert sum(path.stat().st_size for path in script.NOTEBOOKS) < MOST_BYTES


def test_what_is_kept_is_what_they_show(kept: dict[str, Notebook], fresh: dict[str, Notebook]) -> None:
    for name in NAMES:
        shown = [kinds(cell) for cell in code_cells(kept[name])]
        assert shown == [kinds(cell) for cell in code_cells(fresh[name])][: len(shown)], name
        assert any(shown)


@pytest.mark.parametrize("name", NAMES)
def test_they_show_pictures_and_tables_and_write_few_lines(name: str, fresh: dict[str, Notebook]) -> None:
    cells = code_cells(fresh[name])
    shown = [kind for cell in cells for output in kinds(cell) for kind in output]
    assert "image/png" in shown and "text/html" in shown
    assert [text_of(cell) for cell in cells if len(text_of(cell).splitlines()) > MOST_LINES] == []


def test_progress_is_one_output_that_is_written_anew(fresh: dict[str, Notebook]) -> None:
    (cell,) = [cell for cell in code_cells(fresh["start"]) if "kopt.fit(" in cell["source"]]
    (output,) = cell["outputs"]
    lines = output["data"]["text/plain"].splitlines()
    assert output["output_type"] == "display_data"
    assert len(lines) == 10 and lines[-1].startswith("epoch 10/10  loss ") and "|" not in "".join(lines)


def test_a_figure_is_shown_once_with_pyplot_and_without(fresh: dict[str, Notebook]) -> None:
    """The first probe is the counter-test: a figure of matplotlib's own is no picture without pyplot."""
    *cells, plain, inline = code_cells(fresh["start"])
    drawn = [cell for cell in cells if cell["source"].splitlines()[-1].startswith("kopt.plot(")]
    assert [kinds(cell) for cell in [*drawn, inline]] == [[["image/png", "text/plain"]]] * (len(drawn) + 1)
    assert len(drawn) == 3 and kinds(plain) == [["text/plain"]]


@pytest.mark.parametrize("name", NAMES)
def test_their_links_lead_somewhere(name: str, kept: dict[str, Notebook]) -> None:
    text = "\n".join(cell["source"] for cell in kept[name]["cells"] if cell["cell_type"] == "markdown")
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    assert links and [link for link in links if not (ROOT / "docs" / "notebooks" / link).is_file()] == []


def test_nothing_of_this_machine_is_kept(script: ModuleType) -> None:
    for path in script.NOTEBOOKS:
        assert not re.search(r"/(?:tmp|root|home|work)/", path.read_text()), path.name
        assert json.loads(path.read_text())["metadata"]["kernelspec"]["name"] == "python3"


def test_only_skipped_steps_are_logged(fresh: dict[str, Notebook]) -> None:
    """In the one cell that breaks the data; TensorFlow's own lines, of which kopt is no source, are left out."""
    said = [
        output["text"]
        for one in fresh.values()
        for cell in code_cells(one)
        for output in cell["outputs"]
        if output.get("name") == "stderr"
    ]
    lines = "".join(said).splitlines()
    assert len(lines) < 8 and [line for line in lines if "skipped, for its gradient was not finite" not in line] == []


def test_other_lines_than_tensorflows_are_kept(script: ModuleType) -> None:
    """The counter-test of what is left out."""
    lines = {"I0000 00:00:17 5488 port.cc:153] oneDNN": True, "UserWarning: x": False, "I0000 a\nepoch 1": False}
    made = {text: script.nbformat.v4.new_output("stream", name="stderr", text=text) for text in lines}
    assert {text: script.is_of_tensorflow(output) for text, output in made.items()} == lines
