"""Writes docs/moved.md, the table of names that have moved: `python docs/moved.py`; a test compares the two."""

import ast
import pathlib

import kopt
from kopt.values.moved import moved_modules

PAGE = pathlib.Path(__file__).with_suffix(".md")
HEAD = """# Names that have moved

An old name goes on working, with a `DeprecationWarning` that says the new one, until kopt 1.0. Python hides the warning
outside `__main__` and tests; `python -W default::DeprecationWarning` shows it. `python docs/moved.py` writes this page.

| before | now |
|---|---|
"""


def moved_names(tree: ast.AST) -> dict[str, str]:
    """Return old name -> new name of the calls of `warn_moved` in a file whose arguments are texts."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and is_warn_moved(node.func)]
    texts = [[argument.value for argument in call.args[:2] if isinstance(argument, ast.Constant)] for call in calls]
    return {str(both[0]): str(both[1]) for both in texts if len(both) == 2}


def is_warn_moved(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)
    return name == "warn_moved"


def moved() -> dict[str, str]:
    """Return old name -> new name, of modules and of what is in them."""
    found = dict(moved_modules.moved)
    for path in sorted(pathlib.Path(kopt.__file__).parent.rglob("*.py")):
        found |= moved_names(ast.parse(path.read_text()))
    return dict(sorted(found.items()))


def page() -> str:
    """Return the text of docs/moved.md."""
    return HEAD + "".join(f"| `{old}` | `{new}` |\n" for old, new in moved().items())


if __name__ == "__main__":
    PAGE.write_text(page())
