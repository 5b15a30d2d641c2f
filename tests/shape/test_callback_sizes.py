"""Each of the callbacks that people beg for is at most 100 lines of code, in one file that reads at one sitting.

Counted are the lines of the callback's file that are neither blank nor of a docstring; imports and comments count.
"""

import ast
import pathlib

import pytest

import kopt

ROOM = pathlib.Path(kopt.__file__).resolve().parent
FILES = [
    *(f"callbacks/{name}.py" for name in ("stop_when", "validate_every", "batch_logs", "sample_predictions")),
    "training/progress.py",
]
PARTS = ["callbacks/mid_epoch.py", "callbacks/sample_tables.py", "callbacks/step_history.py", "training/displays.py"]
MOST = 100


def code_lines(text: str) -> int:
    """Return the number of lines of a module that are neither blank nor of a docstring."""
    documented = set[int]()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            first = node.body[0]
            documented |= set(range(first.lineno, (first.end_lineno or 0) + 1))
    return sum(1 for number, line in enumerate(text.splitlines(), 1) if line.strip() and number not in documented)


@pytest.mark.parametrize("name", FILES + PARTS)
def test_a_callback_has_at_most_a_hundred_lines_of_code(name: str) -> None:
    assert code_lines((ROOM / name).read_text()) <= MOST


TEXT = '''"""A module.

Of two parts."""

import os  # one


class A:
    """Doc."""

    # two more
    x = """three,
    four"""
'''


def test_lines_are_counted_as_is_said() -> None:
    assert code_lines(TEXT) == 5
    assert code_lines("x = 1\n" * 101) == 101
