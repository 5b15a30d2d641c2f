"""TensorFlow's notices are hidden in commands and recipe scripts, unless the import fails; nowhere else."""

import pytest

RECIPE = '"""Digits.\n\nCommand   python recipes/vision.py\n"""\n'
CODE = """
import os, pathlib, sys, types

kopt = sys.modules["kopt"] = types.ModuleType("kopt")  # kopt/__init__.py imports TensorFlow
kopt.__path__ = [str(pathlib.Path("kopt").resolve())]
from kopt.values.quiet import quiet_imports

with quiet_imports():
    os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\\n")
    os.write(2, b"I0000 00:00:17 1 port.cc:153] oneDNN is on.\\nF0000 00:00:17 1 cpu.cc:3] no AVX\\n")
    print("of Python", file=sys.stderr)
    if "fails" in sys.argv:
        raise ImportError("no library")
os.write(2, b"after\\n")
print(os.environ.get("TF_CPP_MIN_LOG_LEVEL"))
"""
REST = "F0000 00:00:17 1 cpu.cc:3] no AVX\nof Python\n"


@pytest.mark.parametrize(
    ("docstring", "level", "shown", "set_to"),
    [
        *((RECIPE, None, False, "3"), (RECIPE, "3", False, "3"), (RECIPE, "0", True, "0"), (RECIPE, "1", True, "1")),
        ("", None, True, "None"),
    ],
)
def test_notices_are_hidden_in_a_recipe_script(docstring, level, shown, set_to, python, tmp_path) -> None:
    script = tmp_path / "script.py"
    script.write_text(docstring + CODE)
    done = python(str(script), TF_CPP_MIN_LOG_LEVEL=level)
    assert done.stdout == f"{set_to}\n" and ("oneDNN" in done.stderr) is shown
    assert done.stderr.endswith(REST + "after\n") and (shown or done.stderr == REST + "after\n")


def test_all_is_shown_when_the_import_fails(python, tmp_path) -> None:
    script = tmp_path / "script.py"
    script.write_text(RECIPE + CODE)
    done = python(str(script), "fails", expect=1, TF_CPP_MIN_LOG_LEVEL=None)
    assert "oneDNN" in done.stderr and REST in done.stderr and "ImportError: no library" in done.stderr


def test_without_room_for_a_file_all_is_shown(python, tmp_path) -> None:
    script = tmp_path / "script.py"
    script.write_text(RECIPE + CODE.replace("with quiet", "import tempfile\ntempfile.tempdir = '/nowhere'\nwith quiet"))
    done = python(str(script), TF_CPP_MIN_LOG_LEVEL=None)
    assert "oneDNN" in done.stderr and done.stderr.endswith("of Python\nafter\n")
