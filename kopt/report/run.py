"""Run: the record of a finished training."""

import pathlib
from typing import NamedTuple

from kopt.values.checks import is_number
from kopt.values.fields import Named
from kopt.values.html_table import html_table
from kopt.values.texts import clipped, printable
from kopt.values.types import Json

__all__ = ["Run"]

DEFAULT = pathlib.Path("saved_models")  # where `kopt.run` writes


class Run(NamedTuple):
    """A finished run: its folder, its recipe, its history (name -> a value an epoch), and its results.

    Example:
        >>> results = {"metric": "accuracy", "value": 0.97, "target": 0.95}
        >>> Run(pathlib.Path("saved_models/digits/1"), Named("digits"), {"loss": [0.2]}, results)
        <Run digits: test accuracy 0.9700, target 0.9500, saved_models/digits/1; go on: kopt.plot(run)>
    """

    folder: pathlib.Path
    recipe: Named
    history: dict[str, list[float]]
    metrics: dict[str, Json]

    def __repr__(self) -> str:
        parts = [text for _, text in results_of(self)]
        folder = [] if self.folder is None else [printable(self.folder)]
        what = ", ".join([*parts, *folder]) or "without results"
        return f"<{type(self).__name__} {name_of(self)}: {what}; go on: {next_steps(self)[0]}>"

    def _repr_html_(self) -> str:
        shown = [*results_of(self)]
        numbers = {"loss": ",.4g", "seconds": ",.4g", "parameters": ",.0f"}
        shown += [(name, text) for name, form in numbers.items() if (text := number(self.metrics.get(name), form))]
        shown += [("epochs", str(len(self.history.get("loss", ()))))]
        shown += [] if self.folder is None else [("folder", str(self.folder))]
        return html_table(f"{type(self).__name__} {name_of(self)}", [*shown, ("go on", ", ".join(next_steps(self)))])


def name_of(run: Run) -> str:
    """Return the name of a run's recipe."""
    return "" if run.recipe is None else clipped(run.recipe.name)


def results_of(run: Run) -> list[tuple[str, str]]:
    """Return what a run reached, by what it is: the score and what it is compared with, or why the run has ended."""
    metrics, found = run.metrics, list[tuple[str, str]]()
    if "unfinished" in metrics:
        found.append(("unfinished", f"unfinished: {clipped(metrics['unfinished'])}"))
    names = {"value": f"test {metrics.get('metric')}", "target": "target", "baseline": metrics.get("baseline_name")}
    for key, name in names.items():
        if text := number(metrics.get(key), ".4f"):
            found.append(("result" if key == "value" else key, f"{clipped(name)} {text}"))
    return found


def number(value: Json, form: str) -> str:
    """Return a number as a text; the empty text for what is none, for the files of a run may be damaged."""
    return f"{value:{form}}" if is_number(value) else ""


def next_steps(run: Run) -> list[str]:
    """Return code with which one goes on from a run."""
    if "unfinished" in run.metrics and run.folder is not None:
        root = run.folder.parent.parent
        place = "" if root == DEFAULT else f"folder={str(root)!r}, "
        return [printable(f"kopt.run(run.recipe, {place}resume={str(run.folder)!r})")]
    return ["kopt.plot(run)", *(["kopt.predict(run, rows)"] if run.folder is not None else [])]
