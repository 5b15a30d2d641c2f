"""Comparing runs: what differs in the recipes, and in the results."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import matplotlib.figure

from kopt.checks import require
from kopt.fields import paths
from kopt.report.plots import plain
from kopt.report.run import Run
from kopt.report.run_folder import read_run
from kopt.tasks import better

__all__ = ["compare_figure", "differences", "found_runs"]

COLORS = ("#1b6ca8", "#e07a1f", "#3a8f4d", "#b03a5b", "#6b5bab", "#8a6d3b", "#4a4a4a")
ABSENT = "-"


def differences(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Tell the fields and the results in which runs differ.

    Args:
        runs: Two or more.

    Returns:
        Path in the recipe -> a text a run, for those that are not the same in all; then the results, all of them.

    Raises:
        ValueError: When there are fewer than two.

    Example:
        >>> differences([])
        Traceback (most recent call last):
        ValueError: runs must be two or more, got 0.

    Source:
        `git diff`, for recipes.
    """
    require(len(runs) >= 2, "runs", "must be two or more", len(runs))
    fields = [{"name": run.recipe.name} | paths(run.recipe) for run in runs]
    names = dict.fromkeys(name for found in fields for name in found)
    rows = [(name, [written(found.get(name, ABSENT)) for found in fields]) for name in names]
    # A nested value differs when a field of it does: the field is told, and not both, where all have it.
    told = [(name, row) for name, row in rows if len(set(row)) > 1]
    inner = [name for name, _ in told]
    told = [
        (name, row)
        for name, row in told
        if not any(other.startswith(f"{name}.") for other in inner) or kinds(fields, name)
    ]
    results = dict.fromkeys(name for run in runs for name in run.metrics)
    return told + [(name, [written(run.metrics.get(name, ABSENT)) for run in runs]) for name in results]


def kinds(fields: Sequence[dict[str, Any]], name: str) -> bool:
    """Whether the values at a path are of different types."""
    return len({type(found.get(name)) for found in fields}) > 1


def written(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def compare_figure(runs: Sequence[Run]) -> matplotlib.figure.Figure:
    """Draw the curves of several runs into one picture: loss, score and learning rate, a color a run.

    Args:
        runs: Two or more.

    Returns:
        A figure; validation is a full line, training a dashed one.

    Raises:
        ValueError: When there are fewer than two.

    Example:
        >>> compare_figure([])
        Traceback (most recent call last):
        ValueError: runs must be two or more, got 0.

    Source:
        matplotlib.
    """
    require(len(runs) >= 2, "runs", "must be two or more", len(runs))
    panels = list(dict.fromkeys(["loss", *(run.metrics["metric"] for run in runs), "learning_rate"]))
    figure = matplotlib.figure.Figure(figsize=(8, 2.6 * len(panels)), layout="constrained")
    rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, panel in zip(map(plain, rows), panels):
        for number, run in enumerate(runs):
            color = COLORS[number % len(COLORS)]
            for name, style in ((panel, "--"), (f"val_{panel}", "-")):
                if name in run.history:
                    line = "-" if panel == "learning_rate" else style
                    label = f"{run.recipe.name} {run.folder.name}" if line == "-" else None
                    epochs = range(1, len(run.history[name]) + 1)
                    axes.plot(
                        epochs, run.history[name], line, color=color, linewidth=2 if line == "-" else 1, label=label
                    )
        axes.set_ylabel(panel.replace("_", " "))
    if all(min(run.history["loss"]) > 0 for run in runs):
        rows[0].set_yscale("log")
    rows[0].legend(frameon=False, fontsize=8)
    rows[0].set_title("full: validation, dashed: training", fontsize=9, loc="left")
    rows[-1].set_xlabel("epoch")
    rows[-1].xaxis.get_major_locator().set_params(integer=True)
    return figure


def found_runs(root: str | os.PathLike[str], sort: str = "folder") -> tuple[list[Run], list[str]]:
    """Find the runs in a folder of runs.

    Args:
        root: Where the recipes' folders are.
        sort: "folder" for their names, and with them their times; "value" for the best of each score first; or another
            result: "seconds", "parameters", the least first.

    Returns:
        The runs; and a sentence for each folder that has a recipe.json and is no whole run.

    Raises:
        ValueError: When there is no such folder, or no run has that result.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     found_runs(root)
        ([], [])

    Source:
        `ls`.
    """
    require(pathlib.Path(root).is_dir(), "folder", "must be one with runs", str(root))
    runs, broken = [], []
    for path in sorted(pathlib.Path(root).glob("*/*/recipe.json")):
        if not path.parent.name.startswith("."):
            try:
                runs.append(read_run(path.parent))
            except ValueError as error:
                broken.append(str(error))
    if sort == "folder" or not runs:
        return runs, broken
    known = sorted({name for run in runs for name, value in run.metrics.items() if isinstance(value, (int, float))})
    require(sort in known, "sort", f"must be one of folder, {', '.join(known)}", sort)

    def place(run: Run) -> tuple[Any, ...]:
        value, score = run.metrics.get(sort), run.metrics["metric"]
        if not isinstance(value, (int, float)):
            return True, score, 0.0
        higher = sort == "value" and better(score) == "max"
        return False, score if sort == "value" else "", -value if higher else value

    return sorted(runs, key=place), broken
