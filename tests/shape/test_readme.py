"""What the READMEs say is true: code runs, commands are the ones that run, figures are those that were measured.

`.ci/run` follows README.md in an environment that has only what it has installed so far; test_docs.py looks at names.
"""

import configparser
import importlib.metadata
import os
import pathlib
import re
import shlex
import subprocess
from collections.abc import Mapping

import pytest
from packaging.specifiers import SpecifierSet
from scripts import loaded

import kopt

ROOT = pathlib.Path(kopt.__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
CHINESE = (ROOT / "README.zh-CN.md").read_text()
BLOCK = re.compile(r'^```(\w+)(?: title="([\w.]+)")?\n(.*?)^```', re.S | re.M)
SNIPPETS = [block for language, _, block in BLOCK.findall(README) if language == "python"]
FILES = {file for _, file, _ in BLOCK.findall(README) if file}
COMMANDS = [
    line for language, _, block in BLOCK.findall(README) if language == "bash" for line in block.splitlines() if line
]


def rows(text: str, section: int) -> list[list[str]]:
    """Return the cells of the table in a section, without its head."""
    lines = [line for line in text.split("\n## ")[section].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_python_blocks_run(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "readme"}
    for block in SNIPPETS:
        exec(compile(block, "README.md", "exec"), names)


def test_it_is_read_in_a_minute() -> None:
    assert len(README.splitlines()) <= 120 and max(map(len, README.splitlines())) <= 125
    assert len(SNIPPETS) == 5 and max(len(block.splitlines()) for block in SNIPPETS) <= 8
    assert len(re.findall(r"^!\[", README, re.M)) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_name_files_and_extras_that_are_there(command: str) -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    for word in shlex.split(command, comments=True):
        if word.endswith(".py") and word not in FILES:
            assert (ROOT / word).is_file()
        for extra in re.findall(r"\[(\w+)\]", word):
            assert extra in setup["options.extras_require"]


def test_the_chinese_readme_is_in_step() -> None:
    """The same code but for comments, figures, sections, files and links, page by page."""
    pages = (README, CHINESE)
    bare = [[(*head, re.sub(r" *#.*", "", code)) for *head, code in BLOCK.findall(page)] for page in pages]
    assert bare[0] == bare[1] and len(bare[0]) > 7
    found = [[re.sub(r"\.zh-CN", "", link) for link in re.findall(r"\]\(([^)]+)\)", page)] for page in pages]
    assert found[0] == found[1] and len(found[0]) > 15
    assert "](README.zh-CN.md)" in README and "](README.md)" in CHINESE
    tables = [re.findall(r"^\|.*\|$", page, re.M) for page in pages]
    figures = [[re.findall(r"\d[\d.e+-]*|`[^`]+`", line) for line in table] for table in tables]
    assert figures[0] == figures[1] and len(figures[0]) > 20
    assert [len(re.findall(r"^#+ ", page, re.M)) for page in pages] == [7, 7]


def test_the_figures_of_speed_are_those_that_were_measured() -> None:
    overview = loaded(ROOT / "docs" / "overview.py")
    steps = overview.speeds()
    epochs = re.compile(r"^ {4}(\w.*?)? {2,}10 +(.*)$", re.M)
    names = {"digits": "digits MLP", "MLP": "MLP 784", "small": "CNN", "transformer": "transformer"}
    text = (ROOT / "recipes" / "benchmarks" / "time_to_model.py").read_text()
    shown = rows(README, 2)
    assert len(shown) == len(names)
    for work, *cells in shown:
        name = names[work.split()[0]]
        assert [float(cell) for cell in cells[:4]] == steps[name]
        block = text[text.index(f"\n    {name}  ") :]
        fit, loop, *_, torch, _ratio, _memory, _its = epochs.search(block)[2].split()
        assert cells[4:] == [loop, fit, torch]


def test_the_figures_of_exactness_are_those_that_were_measured() -> None:
    overview = loaded(ROOT / "docs" / "overview.py")
    measured = overview.measured("exactness", r"\w[\w ,='-]*?")
    shown = rows(README, 3)
    assert {case: [keras, ours] for case, keras, ours, _ in shown} == measured
    assert list(measured) == list(loaded(ROOT / "recipes" / "benchmarks" / "exactness.py").CASES)
    assert all((ROOT / test.strip("`")).is_file() for *_, test in shown)


def test_ci_runs_the_readmes_test_command() -> None:
    command = 'python -m pip install -e ".[dev]" && python -m pytest'
    written = [line for line in README.splitlines() if line.startswith(command)]
    assert len(written) == 1 and "--cov" in written[0]
    # The lines of .ci/run that find the command and run it, with a shell that prints what it is given.
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    found = next(line for line in script if line.startswith("command="))
    runs = next(line for line in script if '"$command"' in line)
    shell = f'{found}; in_venv() {{ printf "%s" "$2"; }}; place=; {runs}'
    assert subprocess.run(["bash", "-c", shell], cwd=ROOT, capture_output=True, text=True).stdout == written[0]


def run_ci(
    folder: pathlib.Path, reader: int = 0, first: int = 0, release: int = 0, other: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run the whole script, with a python3 and a python3.13 that only make a `python` which ends as it is told.

    What each `python` is called with is written into the file `calls`.
    """
    tools = folder / "tools"
    tools.mkdir()
    for name, code in (("python3", first), ("python3.13", other)):
        ends = {"*.ci/readme.py*": reader, "*pytest*": code, "*--strict*": release}
        cases = "".join(f"{called}) exit {status};; " for called, status in ends.items())
        made = f'#!/bin/sh\\necho "$*" >> {folder}/calls\\ncase "$*" in {cases}esac\\n'
        make = f'for tool in python kopt; do printf \'{made}\' > "$3/bin/$tool"; chmod +x "$3/bin/$tool"; done'
        (tools / name).write_text(f'#!/bin/sh\nmkdir -p "$3/bin"\n{make}\n')
    (tools / "initdb").write_text("#!/bin/sh\n")
    (tools / "chromium").write_text("#!/bin/sh\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    script = [ROOT / ".ci" / "run"]
    return subprocess.run(script, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("reader", "first", "release", "other", "status"),
    [(0, 0, 0, 0, 0), (5, 0, 0, 0, 5), (0, 3, 0, 0, 3), (0, 0, 6, 0, 6), (0, 0, 0, 4, 4)],
)
def test_ci_ends_with_the_status_of_what_failed(
    reader: int, first: int, release: int, other: int, status: int, tmp_path
) -> None:
    done = run_ci(tmp_path, reader, first, release, other)
    assert done.returncode == status, done.stderr
    assert ("the contracts on" in done.stdout) == (reader == first == release == 0)


def test_ci_follows_the_readme_after_its_first_command(tmp_path) -> None:
    run_ci(tmp_path)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[:3] == [
        "-m pip install -e .[recipes]",
        ".ci/readme.py README.md",
        "recipes/benchmarks/exactness.py",
    ]
    assert COMMANDS[0].startswith('python -m pip install -e ".[recipes]"')


FOLLOWED = """
```bash
python -m pip install nothing
python recipes/no.py
```
```python
x = 1
```
```python title="mine.py"
import sys
print(sys.argv, file=open("said", "w"))
```
```bash
python mine.py --rate 0.1    # a comment
python -m pip install -e ".[dev]" && false
```
```python
y = x + 1
import pathlib
pathlib.Path("y").write_text(str(y))
```
"""


def test_a_readme_is_followed_in_order(tmp_path, monkeypatch) -> None:
    readme = loaded(ROOT / ".ci" / "readme.py")
    monkeypatch.chdir(tmp_path)
    assert readme.follow(FOLLOWED.replace("python recipes/no.py\n", ""), tmp_path) == 4
    assert (tmp_path / "said").read_text() == "['mine.py', '--rate', '0.1']\n" and (tmp_path / "y").read_text() == "2"


def test_a_readme_that_fails_is_found(tmp_path, monkeypatch) -> None:
    """The counter-test: a recipe that is not there, a package that is not installed, no command at the beginning."""
    readme = loaded(ROOT / ".ci" / "readme.py")
    monkeypatch.chdir(tmp_path)
    for place, (text, error) in enumerate(
        {
            FOLLOWED: subprocess.CalledProcessError,
            "```bash\npython -m pip install x\n```\n```python\nimport nowhere\n```\n": ModuleNotFoundError,
            "```python\nimport kopt\n```\n": SystemExit,
        }.items()
    ):
        folder = tmp_path / str(place)
        folder.mkdir()
        with pytest.raises(error):
            readme.follow(text, folder)


def test_a_test_by_hand_has_no_floor_of_coverage() -> None:
    """The floor is the whole suite's: it holds where --cov is given, which only the README's command does."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert float(setup["coverage:report"]["fail_under"]) >= 97.5 and "--cov" not in setup["tool:pytest"]["addopts"]


def test_constraints_pin_every_dependency() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    wanted = setup["options"]["install_requires"] + "".join(setup["options.extras_require"].values())
    names = {re.split(r"[<>=\[]", line)[0] for line in wanted.split("\n") if line} - {"kopt-keras"}
    pinned = {
        line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    }
    assert names <= pinned


def test_what_is_pinned_takes_every_python_that_kopt_takes() -> None:
    """Debian's Python may be older than the one that the versions were found with.

    What a distribution needs is known where the pinned version is installed, as it is in CI.
    """
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    oldest = setup["options"]["python_requires"].removeprefix(">=") + ".0"
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.lower().split("==") for line in lines if "==" in line)
    there = {one.metadata["Name"].lower(): one for one in importlib.metadata.distributions()}
    as_pinned = {name: there[name].metadata for name in pinned if name in there and there[name].version == pinned[name]}
    assert too_new({name: found.get("Requires-Python") for name, found in as_pinned.items()}, oldest) == []


def too_new(needed: Mapping[str, str | None], python: str) -> list[str]:
    """Return the distributions that a version of Python is too old for."""
    return [name for name, versions in needed.items() if versions and python not in SpecifierSet(versions)]


def test_a_pin_that_debians_python_cannot_take_would_be_found() -> None:
    needed = {"fine": ">=3.9", "newer": ">=3.11.5", "any": None}
    assert too_new(needed, "3.11.0") == ["newer"] and too_new(needed, "3.11.7") == []
