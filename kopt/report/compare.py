"""Compare runs: the fields in which their recipes differ, their results and their curves."""

from collections.abc import Sequence

import matplotlib.axes

from kopt.report.figure import Figure
from kopt.report.run import Run
from kopt.report.run_texts import FieldText, RecipeText, RunText, field_text, recipe_text
from kopt.report.style import COLORS, drawable, logarithmic, plain, spans_decades, titled
from kopt.values.checks import require
from kopt.values.texts import in_picture

__all__ = ["compare_figure", "differences"]

ABSENT = FieldText(type(None).__name__, "-")


def differences(runs: Sequence[Run | RunText]) -> list[tuple[str, list[str]]]:
    """Return the fields of recipes in which runs differ, and the results of all runs.

    Args:
        runs: Two or more runs.

    Returns:
        Path in the recipe -> a text for each run, for fields that are not the same in all; then all results.

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
    fields = [fields_of(run) for run in runs]
    names = dict.fromkeys(name for found in fields for name in found)
    rows = [(name, [found.get(name, ABSENT).text for found in fields]) for name in names]
    # A nested value differs when one of its fields does: only the field is listed, when all runs have it.
    differing = [(name, row) for name, row in rows if len(set(row)) > 1]
    inner = [name for name, _ in differing]
    differing = [
        (name, row)
        for name, row in differing
        if not any(other.startswith(f"{name}.") for other in inner) or kinds(fields, name)
    ]
    results = dict.fromkeys(name for run in runs for name in run.metrics)
    return differing + [(name, [field_text(run.metrics.get(name, ABSENT.text)) for run in runs]) for name in results]


def fields_of(run: Run | RunText) -> dict[str, FieldText]:
    """Return the fields of a run's recipe as texts, its name first."""
    recipe = run.recipe if isinstance(run.recipe, RecipeText) else recipe_text(run.recipe)
    return {"name": FieldText("str", recipe.name)} | recipe.fields


def kinds(fields: Sequence[dict[str, FieldText]], name: str) -> bool:
    """Whether the values at a path are of different types."""
    return len({found.get(name, ABSENT).kind for found in fields}) > 1


def compare_figure(runs: Sequence[Run | RunText]) -> Figure:
    """Draw the curves of several runs into one picture: loss, score and learning rate, a color a run.

    Args:
        runs: Two or more runs.

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
    figure = Figure(figsize=(8, 2.6 * len(panels)))
    rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, panel in zip(map(plain, rows), panels):
        for number, run in enumerate(runs):
            draw(axes, panel, run, COLORS[number % len(COLORS)])
        axes.set_ylabel(in_picture(panel.replace("_", " ")))
    if spans_decades([loss for run in runs for loss in run.history["loss"]]):
        logarithmic(rows[0], "y")
    titled(rows[0], "full: validation, dashed: training", columns=2)
    rows[-1].set_xlabel("epoch")
    rows[-1].xaxis.get_major_locator().set_params(integer=True)
    return figure


def draw(axes: matplotlib.axes.Axes, panel: str, run: Run | RunText, color: str) -> None:
    """Draw a run's training and validation in a panel, and label the last one with the run's name."""
    names = [name for name in (panel, f"val_{panel}") if len(run.history.get(name, ()))]
    for name in names:
        full = name != panel or panel == "learning_rate"
        width, style = (2, "-") if full else (1, "--")
        label = in_picture(f"{run.recipe.name} {run.folder.name}") if name == names[-1] else None
        epochs = range(1, len(run.history[name]) + 1)
        axes.plot(epochs, drawable(run.history[name]), color=color, label=label, linewidth=width, linestyle=style)
