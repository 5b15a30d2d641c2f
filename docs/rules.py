"""Writes docs/rules.md, the table of update rules: `python docs/rules.py`; a test compares the two."""

import dataclasses
import inspect
import math
import pathlib
import re
import sys

from kopt.rules import GradientDescent, Rule, registry, state_bytes

PAGE = pathlib.Path(__file__).with_suffix(".md")
SHAPE = (512, 512)  # of the matrix whose state is counted
HEAD = """# Which rule

Every rule of `kopt.rules`, by family. Each trains in `compile` as `kopt.optimizers.Optimizer(rule, rate)`, and
directly in `kopt.training.minimize`; a rule that needs no arguments has an optimizer of its name,
`kopt.optimizers.AdamW(0.001)`. The *usual rate* is the rate to begin with; 1 means that a rule finds its own. *State*
is the bytes that a rule keeps for each number of a float32 kernel of 512 x 512, at its defaults; of a wrapper, those
that it adds to its rule's. `python docs/rules.py` writes this page.

Any rule can be stepped by two gradients, for flat minima, at twice the operations:
`kopt.training.TrainStep(model, sharpness=SAM(0.05))`, see `kopt.training.sharpness`.

## What each is worth

`recipes/benchmarks/time_to_target.py` counts the updates until a rule reaches on the validation split what a tuned Adam
reaches: each rule has the same 20 draws of rate, warm-up, momentum and weight decay, and 5 seeds of the best draw; or
none, its defaults at the usual rate. A dash stands for rules that did not reach it within the budget in most seeds. The
score is AlgoPerf's: 1 for the fastest on every work, 0 for four times as many updates. The score is looked at once an
epoch, of 37 updates on digits, 186 on electricity, 137 on diamonds, 51 on sentiment and MNIST and 254 on ratings: rules
that are one epoch apart are not told apart, nor are 3 seeds from 2. So far 16 rules were measured on digits, 6 on
electricity, diamonds, sentiment and ratings and 3 on MNIST, in updates; seconds, characters and the other rules were
not. An update of SOAP or Shampoo costs many of Adam's on nets as small as these.

![the share of works at the target, by updates](pictures/time_to_target.png)

Which rule when, by these figures, of six small works and 5 seeds each:

- You tune, on images or numbers: `ScheduleFreeAdamW`, which needs no schedule, was ahead of Adam and NAdamW on digits,
  MNIST, electricity and diamonds. With a schedule, `NAdamW` was ahead of Adam and AdamW on three of these, and reached
  the target of MNIST in no seed; on diamonds Adam and AdamW each reached the target in 2 of 5 seeds. `SOAP` took the
  fewest updates on electricity and diamonds.
- You tune, and most weights are a table of words, films or people (sentiment, ratings): `Adam`. On sentiment it took
  153 updates and NAdamW 255, each in 3 of 5 seeds, which is no more than a tie; AdamW reached the target in 1 seed, and
  ScheduleFreeAdamW, SOAP and Lion in none. On ratings Adam, AdamW and NAdamW end at the same score, within 0.0002 of
  each other, and the other three at a worse one.
- You do not tune: `Prodigy` finds its rate, and was first on digits; of those measured on all but MNIST `SOAP` reached
  three of five targets by its defaults, NAdamW and ScheduleFreeAdamW electricity's alone, and Adam none. On sentiment,
  ratings and MNIST no rule's defaults reached the target; `ScheduleFreeAdamW` came nearest, to 0.838, 0.895 and 0.967,
  where Adam came to 0.829, 0.945 and 0.954.
- Memory is short: see the column of bytes; `Lion` has half of Adam's, and reached the target on digits alone.

"""
MEASURED = pathlib.Path(__file__).parents[1] / "recipes" / "benchmarks" / "time_to_target.md"


def made(rule: type[Rule]) -> Rule | None:
    """Return a rule with its defaults, a wrapper around gradient descent; None for one that needs other arguments."""
    lacking = [one.name for one in dataclasses.fields(rule) if one.default is dataclasses.MISSING]
    if lacking in ([], ["of"]):
        return rule(*[GradientDescent() for _ in lacking])
    return None


def numbers_of(rule: type[Rule]) -> tuple[str, str]:
    """Return the usual rate, and the bytes of state a parameter; those of a wrapper are what it adds."""
    one = made(rule)
    if one is None:
        return "those of its rules", "those of its rules"
    rate = "that of its rule" if isinstance(rule.usual_rate, property) else f"{one.usual_rate:g}"
    return rate, f"{state_bytes(one, [SHAPE]) / math.prod(SHAPE):.3g}"


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
    rate, size = numbers_of(rule)
    return f"| `kopt.rules.{rule.__name__}` | {what} | {rate} | {size} | {source} |\n"


def page() -> str:
    """Return the text of docs/rules.md."""
    families: dict[str, list[type[Rule]]] = {}
    for name in registry:
        families.setdefault(registry[name].__module__, []).append(registry[name])
    text = HEAD + MEASURED.read_text().rstrip() + "\n"
    for module, rules in sorted(families.items()):
        title = (sys.modules[module].__doc__ or module).strip().split("\n")[0].rstrip(".")
        text += f"\n## {title}\n\n| rule | what | usual rate | state, bytes | source |\n|---|---|---|---|---|\n"
        text += "".join(row(rule) for rule in sorted(rules, key=lambda one: one.__name__))
    return text


if __name__ == "__main__":
    PAGE.write_text(page())
