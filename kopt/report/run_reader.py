"""Read run folders, which may be damaged in any way."""

import csv
import io
import json
import os
import pathlib
from collections.abc import Callable
from typing import NamedTuple

from kopt.report.run import Run
from kopt.report.run_texts import RecipeText, RunText, recipe_text, text_in
from kopt.values import parts
from kopt.values.checks import is_number, require
from kopt.values.fields import Named, from_json
from kopt.values.places import as_path, stays_in
from kopt.values.texts import clipped
from kopt.values.types import Json

__all__ = ["read_run", "read_run_text"]

RESULTS = ("metric", "value", "baseline", "seconds", "parameters")
# Errors that a damaged file may raise in Python's readers, and in Keras when it builds values.
READING = (csv.Error, LookupError, OSError, RecursionError, ValueError)
DAMAGE = (*READING, ArithmeticError, AttributeError, ImportError, TypeError)


def read_run(folder: str | os.PathLike[str]) -> Run:
    """Read a run folder; `kopt.load_model` reads the `model.keras` in it.

    Args:
        folder: saved_models/<recipe>/<run>.

    Returns:
        The run. An interrupted run has no score: its "value" is None, and "unfinished" in its results says why.

    Raises:
        ValueError: When the folder is not a run folder, or a file in it is damaged or a link out of the folder.

    Example:
        >>> read_run("nowhere")
        Traceback (most recent call last):
        ValueError: folder must be a run's, with a recipe.json, got 'nowhere'.

    Source:
        The reverse of `write_result`.
    """
    found = read_files(folder, recipe_of)
    return Run(found.folder, found.recipe, found.history, found.metrics)


def read_run_text(folder: str | os.PathLike[str]) -> RunText:
    """Read a run folder for showing it: the recipe as texts, without building it where its file has them.

    Args:
        folder: saved_models/<recipe>/<run>.

    Returns:
        The run.

    Raises:
        ValueError: As from `read_run`.

    Example:
        >>> read_run_text("nowhere")
        Traceback (most recent call last):
        ValueError: folder must be a run's, with a recipe.json, got 'nowhere'.

    Source:
        See `read_run`.
    """
    found = read_files(folder, text_of)
    if found.recipe is None:
        parts.load()
        found = read_files(folder, lambda text: recipe_text(recipe_of(text)))
    return RunText(found.folder, found.recipe, found.history, found.metrics)


class Files(NamedTuple):
    """What the files of a run hold."""

    folder: pathlib.Path
    recipe: Json
    history: dict[str, list[float]]
    metrics: dict[str, Json]


def read_files(folder: str | os.PathLike[str], read_recipe: Callable[[str], Json]) -> Files:
    """Read the files of a run, its recipe by a reader; refuse those that lack, are damaged or lead elsewhere."""
    place = as_path(folder)
    readers = {"recipe.json": read_recipe, "history.csv": history_of, "metrics.json": metrics_of}
    for name in readers:
        require(os.path.isfile(place / name), "folder", f"must be a run's, with a {name}", str(folder))
        require(stays_in(place / name, place), "folder", f"must hold its {name}, and no link out of it", str(folder))
    found: dict[str, Json] = {}
    for name, reader in readers.items():
        try:
            found[name] = reader((place / name).read_text(encoding="utf-8"))
        except DAMAGE as error:
            why = clipped(str(error) or type(error).__name__)
            raise ValueError(f"folder must be a run's, with a whole {name}, got {str(folder)!r} ({why}).") from error
    return Files(place, found["recipe.json"], found["history.csv"], found["metrics.json"])


def text_of(text: str) -> RecipeText | None:
    """Return the texts of a recipe that its file holds, or None."""
    content = json.loads(text)
    return text_in(content) if isinstance(content, dict) else None


def recipe_of(text: str) -> Named:
    recipe = from_json(json.dumps(json.loads(text)["recipe"]))
    require(isinstance(recipe, Named), "recipe", "must be a Recipe", type(recipe).__name__)
    return recipe


def history_of(text: str) -> dict[str, list[float]]:
    header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    require(header[:1] == ["epoch"] and "loss" in header, "columns", "must be epoch, loss and others", header)
    require(len(set(header)) == len(header), "columns", "must differ", header)
    for line, row in enumerate(rows, 2):
        require(len(row) == len(header), f"line {line}", f"must have {len(header)} cells", len(row))
    require(text.endswith("\n"), "the last line", "must end", rows[-1:])
    return {name: [number(row[place]) for row in rows] for place, name in enumerate(header) if name != "epoch"}


def number(text: str) -> float:
    return float(text) if text else float("nan")


def metrics_of(text: str) -> dict[str, Json]:
    metrics = json.loads(text)
    require(isinstance(metrics, dict), "metrics", "must be names and values", metrics)
    absent = [name for name in RESULTS if name not in metrics]
    require(not absent, "metrics", f"must have {', '.join(RESULTS)}", sorted(metrics))
    require(isinstance(metrics["metric"], str), "metric", "must be a text", metrics["metric"])
    for name in RESULTS[1:]:
        value = metrics[name]
        if not (value is None and name == "value" and "unfinished" in metrics):
            require(is_number(value), name, "must be a number", value)
            float(value)  # an integer of any length is JSON
    return metrics
