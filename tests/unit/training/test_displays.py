"""Progress is a bar on a terminal, one output in a notebook, and a line an epoch in files and pipes."""

import json
import re
import subprocess
import sys
import types
from collections.abc import Iterator

import pytest

from kopt.training import ProgressBar, fit
from kopt.training.displays import LAST, Bar, Lines, NotebookOutput, display_for

# Shows two epochs of five steps as a run does, without TensorFlow.
TWO_EPOCHS = """
from kopt.training.displays import display_for
display = display_for(None)
print(type(display).__name__)
for epoch in (1, 2):
    display.begin(f"epoch {epoch}/2", 5)
    for done in range(1, 6):
        display.step(done, "loss 0.5  " + "f1_score [0.1 0.2]  " * 20)
    display.end(f"epoch {epoch}/2  loss 0.5")
display.close()
"""


@pytest.fixture(scope="module")
def shown() -> dict[str, str]:
    """What the same run shows in different places; in forks of one process, for imports take seconds."""
    code = f"""
import json, os, pty, sys
import kopt.training.displays

def run(environment, terminal):
    read, write = pty.openpty() if terminal else os.pipe()
    child = os.fork()
    if not child:
        os.dup2(write, 1)
        sys.stdout = os.fdopen(1, "w")
        os.environ.update(environment)
        exec({TWO_EPOCHS!r})
        sys.stdout.flush()
        os._exit(0)
    os.close(write)
    found = b""
    try:
        while part := os.read(read, 2 ** 16):
            found += part
    except OSError:
        pass
    os.waitpid(child, 0)
    return found.decode()

places = {{
    "terminal": ({{"TERM": "xterm", "COLUMNS": "60"}}, True),
    "dumb": ({{"TERM": "dumb"}}, True),
    "pipe": ({{"TERM": "xterm"}}, False),
    "forced": ({{"TERM": "xterm", "FORCE_COLOR": "1"}}, False),
}}
print(json.dumps({{name: run(*how) for name, how in places.items()}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


LINES = ["epoch 1/2  loss 0.5", "epoch 2/2  loss 0.5"]


@pytest.mark.parametrize("place", ["pipe", "forced", "dumb"])
def test_where_no_cursor_moves_there_is_a_line_an_epoch_and_nothing_else(shown, place: str) -> None:
    assert shown[place].splitlines() == ["Lines", *LINES]


def test_a_terminal_has_a_bar_that_is_removed_and_the_lines_stay(shown) -> None:
    text = shown["terminal"]
    assert (
        text.splitlines()[0] == "Bar"
        and "━" in text
        and "5/5 loss 0.5  f1_score [0.1" in re.sub(r"\x1b\[[0-9;]*m", "", text)
    )
    assert screen(text)[1:] == LINES


def screen(text: str) -> list[str]:
    """Return the lines that stay on a terminal: what is erased, and what is above a cursor that goes up, does not."""
    rows, row = [""], 0
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
        if part == "\n":
            row += 1
            rows += [""] * (row + 1 - len(rows))
        elif part == "\x1b[2K":
            rows[row] = ""
        elif part.endswith("A"):
            row -= int(part[2:-1] or 1)
        elif part[0] not in "\x1b\r":
            rows[row] += part
    return [line for line in rows if line.strip()]


class Outputs:
    """A kernel of Jupyter, as far as progress meets one: it keeps every content of every output."""

    def __init__(self) -> None:
        self.contents: list[list[str]] = []
        self.config = {"IPKernelApp": {}}

    def display(self, content: object, *, display_id: bool) -> "Outputs.Handle":
        assert display_id
        self.contents.append([repr(content)])
        return Outputs.Handle(self.contents[-1])

    class Handle:
        def __init__(self, contents: list[str]):
            self.contents = contents

        def update(self, content: object) -> None:
            self.contents.append(repr(content))


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Outputs]:
    found = Outputs()
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: found))
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=found.display))
    yield found


def test_a_notebook_has_one_output_with_the_last_lines(kernel, monkeypatch, network, points, capsys) -> None:
    fit(network(), *points, batch_size=10, epochs=LAST + 5)
    (contents,) = kernel.contents
    assert capsys.readouterr().out == "" and len(contents) < LAST
    first, *lines = contents[-1].splitlines()
    assert (
        first == "... 5 epochs before" and len(lines) == LAST and lines[-1].startswith(f"epoch {LAST + 5}/{LAST + 5}")
    )
    monkeypatch.setattr("kopt.training.displays.PAUSE", 0.0)
    fit(network(steps_per_execution=5), *points, batch_size=10, epochs=2)
    contents = kernel.contents[1]
    assert any("epoch 2/2  |██████████··········| 5/10  loss " in content for content in contents)
    assert contents[-1].count("\n") == 1 and "|" not in contents[-1]


def test_a_notebooks_output_keeps_no_bar_when_training_raises(kernel, network, points) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(network(), *points, epochs=2, callbacks=[Raising()])
    first, *_, last = (content.count("|") for content in kernel.contents[0])
    assert (first, last) == (2, 0)


class Raising(ProgressBar):
    def on_epoch_end(self, epoch, logs=None):
        raise KeyboardInterrupt


def test_verbose_2_is_lines_everywhere(kernel, network, points, capsys) -> None:
    fit(network(), *points, epochs=2, verbose=2)
    assert len(capsys.readouterr().out.splitlines()) == 2 and kernel.contents == []


def test_ipython_on_a_terminal_is_no_notebook(kernel) -> None:
    assert isinstance(display_for(None), NotebookOutput)
    kernel.config = {}
    assert isinstance(display_for(None), Lines) and isinstance(display_for(True), Bar)
