"""Find run folders, and say why some of them cannot be read."""

import math
import os
from collections.abc import Callable, Iterable
from typing import TypeVar

from kopt.report.run import Run
from kopt.report.run_folder import UNFINISHED, left_behind
from kopt.report.run_reader import read_run
from kopt.report.run_texts import RunText, direction_in
from kopt.values import parts, paths
from kopt.values.checks import is_number, require
from kopt.values.places import as_path, stays_in
from kopt.values.texts import printable

__all__ = ["find", "found_runs", "read_all", "read_runs"]

AnyRun = TypeVar("AnyRun", Run, RunText)


FILES = ("recipe.json", "metrics.json", "history.csv", "model.keras")  # a folder with one of them is a run folder


def found_runs(root: str | os.PathLike[str], sort: str = "folder") -> tuple[list[Run], list[str]]:
    """Return the runs in a folder of run folders.

    Args:
        root: The folder with a folder for each recipe.
        sort: "folder" for the order of names and times; "value" for the best of each metric first; or another result,
            "seconds" or "parameters", for the least first. Runs without that result come last.

    Returns:
        The runs; and a sentence for each folder that is damaged or was left by a killed run.

    Raises:
        ValueError: When there is no such folder, no run has that result, or the direction of a metric is not known.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     found_runs(root)
        ([], [])

    Source:
        `ls`.
    """
    return find(root, sort, read_run)


def find(root: str | os.PathLike[str], sort: str, read: Callable[..., AnyRun]) -> tuple[list[AnyRun], list[str]]:
    """Return the runs in a folder of run folders as a reader reads them.

    Args:
        root: As for `found_runs`.
        sort: As for `found_runs`.
        read: `read_run`, or `read_run_text` for runs that are only shown.

    Returns:
        The runs; and the sentences.

    Raises:
        ValueError: As from `found_runs`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     find(root, "folder", read_run)
        ([], [])

    Source:
        See `found_runs`.
    """
    place = as_path(root)
    require(os.path.isdir(place), "folder", "must be one with runs", str(root))
    folders = [path for path in sorted(place.glob("*/*")) if not path.name.startswith(UNFINISHED)]
    folders = [path for path in folders if any(os.path.exists(path / name) for name in FILES)]
    runs, broken = read_all((path for path in folders if stays_in(path, place)), read)
    broken += [
        f"folder must not be a link out of {str(place)!r}, got {str(path)!r}."
        for path in folders
        if not stays_in(path, place)
    ]
    broken += left_behind(place)
    return (runs if sort == "folder" or not runs else ordered(runs, sort)), broken


def ordered(runs: list[AnyRun], sort: str) -> list[AnyRun]:
    """Return runs by one of their results, the best or the least first."""
    found: set[str] = {name for run in runs for name, value in run.metrics.items() if is_number(value)}
    known = sorted({"value"} | found)
    require(sort in known, "sort", f"must be one of folder, {', '.join(map(printable, known))}", sort)

    def order(run: AnyRun) -> tuple[bool, str, float]:
        score: str = run.metrics["metric"]
        value = run.metrics.get(sort)
        if not is_number(value) or math.isnan(value):
            return True, score, 0.0
        higher = sort == "value" and direction_of(run) == "max"
        return False, score if sort == "value" else "", -value if higher else value

    return sorted(runs, key=order)


def direction_of(run: Run | RunText) -> str:
    """Return whether more or less of a run's score is better, as its data declare it."""
    declared = run.recipe.direction if isinstance(run, RunText) else direction_in(paths(run.recipe).get("data"))
    known: str = declared or parts.needed("kopt.tasks.directions").better(run.metrics["metric"])
    return known


def read_runs(folders: Iterable[str | os.PathLike[str]]) -> tuple[list[Run], list[str]]:
    """Read run folders, leaving out those that are damaged.

    Args:
        folders: Any number of saved_models/<recipe>/<run>.

    Returns:
        The runs; and a sentence for each folder that was left out.

    Example:
        >>> read_runs(["nowhere"])
        ([], ["folder must be a run's, with a recipe.json, got 'nowhere'."])
    """
    return read_all(folders, read_run)


def read_all(folders: Iterable[str | os.PathLike[str]], read: Callable[..., AnyRun]) -> tuple[list[AnyRun], list[str]]:
    """Read run folders by a reader, leaving out those that it refuses.

    Args:
        folders: As for `read_runs`.
        read: As for `find`.

    Returns:
        The runs; and a sentence for each folder that was left out.

    Example:
        >>> read_all(["nowhere"], read_run)
        ([], ["folder must be a run's, with a recipe.json, got 'nowhere'."])
    """
    runs: list[AnyRun] = []
    broken = []
    for folder in folders:
        try:
            runs.append(read(folder))
        except ValueError as error:
            broken.append(str(error))
    return runs, broken
