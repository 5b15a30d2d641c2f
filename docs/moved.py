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
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and called(node.func) == "warn_moved"]
    texts = [[argument.value for argument in call.args[:2] if isinstance(argument, ast.Constant)] for call in calls]
    return {str(both[0]): str(both[1]) for both in texts if len(both) == 2}


def renamed(tree: ast.AST, module: str) -> dict[str, str]:
    """Return old name -> new name of the calls of `moved_names` in the file of a module."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and called(node.func) == "moved_names"]
    found = [ast.literal_eval(call.args[1]) for call in calls]
    pairs = [pair for one in found for pair in one.items()]
    return {f"{module}.{old}": new if "." in new else f"{module}.{new}" for old, new in pairs}


def called(function: ast.expr) -> str | None:
    """Return the name of a called function, without its module."""
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)


def module_of(path: pathlib.Path) -> str:
    """Return the name of the module in a file of kopt."""
    parts = path.relative_to(pathlib.Path(kopt.__file__).parent.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def moved() -> dict[str, str]:
    """Return old name -> new name, of modules and of what is in them."""
    found = dict(moved_modules.moved)
    for path in sorted(pathlib.Path(kopt.__file__).parent.rglob("*.py")):
        tree = ast.parse(path.read_text())
        found |= moved_names(tree) | renamed(tree, module_of(path))
    return dict(sorted(found.items()))


def page() -> str:
    """Return the text of docs/moved.md."""
    return HEAD + "".join(f"| `{old}` | `{new}` |\n" for old, new in moved().items())


if __name__ == "__main__":
    PAGE.write_text(page())
