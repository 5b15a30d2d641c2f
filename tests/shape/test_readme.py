"""What the README says is true: its code runs, its commands are the ones that run; test_docs.py looks at its names."""

import configparser
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import re
import shlex
import subprocess

import pytest
from packaging.specifiers import SpecifierSet

import kopt
from kopt.tasks.task import better

ROOT = pathlib.Path(kopt.__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = dict.fromkeys(re.findall(r"```python\n(.*?)```", README, re.S))
COMMANDS = [
    line for block in re.findall(r"```bash\n(.*?)```", README, re.S) for line in block.splitlines() if line.strip()
]


def test_python_blocks_run(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in BLOCKS:
        exec(compile(block, "README.md", "exec"), names)
    assert len(BLOCKS) >= 3


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_name_files_and_extras_that_are_there(command: str) -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    for word in shlex.split(command):
        if word.endswith(".py"):
            assert (ROOT / word).is_file()
        for extra in re.findall(r"\[(\w+)\]", word):
            assert extra in setup["options.extras_require"]


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


@pytest.mark.parametrize(
    ("first", "release", "other", "status"), [(0, 0, 0, 0), (3, 0, 0, 3), (0, 5, 0, 5), (0, 0, 4, 4)]
)
def test_ci_ends_with_the_status_of_what_failed(first: int, release: int, other: int, status: int, tmp_path) -> None:
    """The whole script, with a python3 and a python3.13 that only make a `python` which ends as they are told."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, code in (("python3", first), ("python3.13", other)):
        made = f'#!/bin/sh\\ncase "$*" in *pytest*) exit {code};; *--strict*) exit {release};; esac\\n'
        make = f'for tool in python kopt; do printf \'{made}\' > "$3/bin/$tool"; chmod +x "$3/bin/$tool"; done'
        (tools / name).write_text(f'#!/bin/sh\nmkdir -p "$3/bin"\n{make}\n')
    (tools / "initdb").write_text("#!/bin/sh\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    script = [ROOT / ".ci" / "run"]
    done = subprocess.run(script, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stderr
    assert ("the contracts on" in done.stdout) == (first == release == 0)


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
    """Debian's Python may be older than the one that the versions were found with."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    oldest = setup["options"]["python_requires"].removeprefix(">=") + ".0"
    pinned = [line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line]
    there = {
        one.metadata["Name"].lower(): one.metadata.get("Requires-Python") for one in importlib.metadata.distributions()
    }
    needs = {name: there[name.lower()] for name in pinned if there.get(name.lower())}
    assert len(needs) > 100
    assert {name: needed for name, needed in needs.items() if oldest not in SpecifierSet(needed)} == {}


def test_the_gallery_is_what_the_recipes_say_and_reached() -> None:
    spec = importlib.util.spec_from_file_location("gallery", ROOT / "recipes" / "benchmarks" / "gallery.py")
    assert spec and spec.loader
    gallery = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gallery)
    results = json.loads(gallery.RESULTS.read_text())
    shown = README[README.index(gallery.BEGIN) + len(gallery.BEGIN) : README.index(gallery.END)]
    assert shown == gallery.table(results)
    recipes = gallery.with_target()
    assert set(results) == set(recipes)
    for name, found in results.items():
        target = recipes[name].target
        reached = found["mean"] >= target if better(found["metric"]) == "max" else found["mean"] <= target
        assert found["target"] == target and reached, name
