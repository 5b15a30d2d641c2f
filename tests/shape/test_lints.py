"""The linters pass, and would fail."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("arguments", [("flake8",), ("mypy",)], ids=" ".join)
def test_lint(arguments: tuple[str, ...], python) -> None:
    python("-m", *arguments)


def test_imports_point_one_way(python) -> None:
    assert "3 kept, 0 broken" in python("-c", "from importlinter.cli import lint_imports_command as c; c()").stdout


def test_an_arrow_back_is_found(tmp_path, python) -> None:
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
