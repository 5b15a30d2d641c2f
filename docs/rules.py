"""Writes docs/rules.md, the table of update rules: `python docs/rules.py`; a test compares the two."""

import inspect
import pathlib
import re
import sys

from keras import ops, tree

from kopt.rules import GradientDescent, Rule, registry

PAGE = pathlib.Path(__file__).with_suffix(".md")
SHAPE = (64, 64)  # of the matrix whose state is counted
HEAD = """# Which rule

Every rule of `kopt.rules`, by family. Each trains in `compile` as `kopt.optimizers.Optimizer(rule, rate)`, and
directly in `kopt.training.minimize`. The *usual rate* is the rate to begin with. *State* is the number of numbers
that a rule keeps for each number of a matrix of 64 x 64, at its defaults.
`python docs/rules.py` writes this page.

Any rule can be stepped by two gradients, for flat minima, at twice the operations:
`kopt.training.TrainStep(model, sharpness=SAM(0.05))`, see `kopt.training.sharpness`.

## What each is worth

Not measured yet: seconds and updates to a target belong here, once a benchmark has measured them.
"""


def state_of(rule: type[Rule]) -> str:
    """Return the numbers of state a number of a parameter; a wrapper's around gradient descent; or "-"."""
    try:
        made = rule()
    except (TypeError, ValueError):
        try:
            made = rule(GradientDescent())
        except (TypeError, ValueError):
            return "-"
    leaves = tree.flatten(made.init([ops.zeros(SHAPE)]))
    return f"{sum(ops.size(leaf) for leaf in leaves if leaf is not None) / (SHAPE[0] * SHAPE[1]):.3g}"


def source_of(rule: type[Rule]) -> str:
    """Return the first line of what the class names as its source, or "-"."""
    found = re.search(r"^Source:\n(.*?)(?:\n\n|\Z)", inspect.getdoc(rule) or "", re.S | re.M)
    text = " ".join(found[1].split()) if found else "-"
    year = re.search(r".*?\b(?:19|20)\d\d\b", text)
    return (year[0] if year else text.split(";")[0]).rstrip(".")


def row(rule: type[Rule]) -> str:
    """Return a rule's line of its family's table."""
    what = (inspect.getdoc(rule) or "").split("\n\n")[0].replace("\n", " ").replace("|", "\\|")
    source = source_of(rule).replace("|", "\\|")
    return f"| `kopt.rules.{rule.__name__}` | {what} | {rule.usual_rate:g} | {state_of(rule)} | {source} |\n"


def page() -> str:
    """Return the text of docs/rules.md."""
    families: dict[str, list[type[Rule]]] = {}
    for name in registry:
        families.setdefault(registry[name].__module__, []).append(registry[name])
    text = HEAD
    for module, rules in sorted(families.items()):
        title = (sys.modules[module].__doc__ or module).strip().split("\n")[0].rstrip(".")
        text += f"\n## {title}\n\n| rule | what | usual rate | state | source |\n|---|---|---|---|---|\n"
        text += "".join(row(rule) for rule in sorted(rules, key=lambda one: one.__name__))
    return text


if __name__ == "__main__":
    PAGE.write_text(page())
