"""The linters pass, and would fail; the commands are those of .pre-commit-config.yaml."""

import pathlib
import subprocess
import sys

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
COMMANDS = {hook["id"]: hook["entry"].split() for repository in HOOKS for hook in repository["hooks"]}

# Each is refused by the rule of its name, with the configuration of this project.
REFUSED = {
    "F401": "import os\n",
    "I001": "import sys\nimport os\n\nprint(os, sys)\n",
    "UP006": "import typing\n\nx: typing.List[int] = []\n",
    "B006": "def f(x=[]):\n    return x\n",
    "C416": "print([x for x in (1, 2)])\n",
    "PIE810": "def f(x):\n    return x.startswith('a') or x.startswith('b')\n",
    "RET503": "def f(x):\n    if x:\n        return 1\n",
    "SIM102": "if input():\n    if input():\n        print()\n",
    "E501": f"x = '{'x' * 120}'\n",
    "C901": "def f(x):\n" + "    while x:\n        x -= 1\n" * 8 + "    return x\n",
    "PLR0911": "def f(x):\n" + "".join(f"    if x == {i}:\n        return {i}\n" for i in range(9)) + "    return x\n",
    "PLR0912": "def f(x):\n" + "".join(f"    if x == {i}:\n        x = 0\n" for i in range(9)) + "    return x\n",
    "PLR0913": "def f(a, b, c, d, e, f, g, h, i):\n    return a\n",
    "PLR0915": "def f(x):\n" + "    x += 1\n" * 41 + "    return x\n",
}


def test_the_hooks_download_nothing_and_run_what_is_installed() -> None:
    for repository in HOOKS:
        assert repository["repo"] == "local"
        for hook in repository["hooks"]:
            assert hook["language"] == "system" and hook["entry"].startswith("python -m ")
    assert set(COMMANDS) == {"ruff-check", "ruff-format", "mypy"}


@pytest.mark.parametrize("name", COMMANDS)
def test_lint(name: str, python) -> None:
    python(*COMMANDS[name][1:])


@pytest.mark.parametrize("rule", REFUSED)
def test_what_a_rule_is_for_is_refused(rule: str) -> None:
    """The counter-test: each group of rules is switched on, with the bounds that CONTRIBUTING.md names."""
    command = [sys.executable, "-m", "ruff", "check", "--output-format=concise", "--stdin-filename=kopt/x.py", "-"]
    done = subprocess.run(command, cwd=ROOT, input=REFUSED[rule], capture_output=True, text=True)
    assert done.returncode == 1 and f" {rule} " in done.stdout


def test_a_file_that_is_not_formatted_is_refused() -> None:
    command = [sys.executable, "-m", "ruff", "format", "--check", "--stdin-filename=kopt/x.py", "-"]
    assert subprocess.run(command, cwd=ROOT, input="x  = 'a'\n", capture_output=True, text=True).returncode == 1


def test_imports_point_one_way(python) -> None:
    assert "4 kept, 0 broken" in python("-c", "from importlinter.cli import lint_imports_command as c; c()").stdout


def test_an_arrow_back_is_found(tmp_path) -> None:
    """The counter-test: the contract's own tool refuses a leaf that imports a part above it."""
    package = tmp_path / "toy"
    package.mkdir()
    for name, text in {"__init__": "", "fields": "import toy.run", "run": ""}.items():
        (package / f"{name}.py").write_text(text)
    (tmp_path / "setup.cfg").write_text(
        "[importlinter]\nroot_package = toy\n[importlinter:contract:one]\nname = One way\ntype = layers\n"
        "layers =\n    toy.run\n    toy.fields\n"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command as c; c()",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0 and "1 broken" in done.stdout


def test_no_two_folders_on_the_path_have_modules_of_one_name() -> None:
    """A test would import the other one, as the order of tests in a process has it."""
    folders = "recipes/benchmarks", "tests/contracts", "tests/faults", "tests/golden/rules"
    names = [file.stem for folder in folders for file in (ROOT / folder).glob("*.py") if file.stem != "conftest"]
    assert len(names) > 90 and {name for name in names if names.count(name) > 1} == set()
