"""Unfinished runs: those that a kill, a signal or an error has ended, found so that they can be gone on with."""

import json
import os
import pathlib
import re
from typing import NamedTuple

from kopt.report.run_folder import CHECKPOINT, UNFINISHED, has_checkpoint
from kopt.report.run_reader import DAMAGE, recipe_of
from kopt.values.checks import require
from kopt.values.fields import Named
from kopt.values.places import as_path
from kopt.values.texts import clipped, printable
from kopt.values.types import Json

__all__ = ["AUTO", "LATEST", "Unfinished", "find_if_any", "find_unfinished", "is_finished"]

LATEST = "latest"
AUTO = "auto"  # the latest one, if there is one
STAMP = re.compile(r"(\d{4}-\d{2}-\d{2}_\d{2}-\d{2}-\d{2})(?:-(\d{1,9}))?", re.ASCII)


class Unfinished(NamedTuple):
    """A run that can be gone on with.

    Attributes:
        folder: Its folder, which may have its temporary name.
        recipe: Its recipe.
        checksum: The sha256 of its data; None when it was killed before they were loaded.
        resumed: When it was gone on with before, in ISO format.
    """

    folder: pathlib.Path
    recipe: Named
    checksum: str | None
    resumed: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<Unfinished {clipped(self.recipe.name)}, {printable(self.folder)}>"


def find_if_any(asked: str | os.PathLike[str] | None, root: str | os.PathLike[str], recipe: str) -> Unfinished | None:
    """Find the run that a run is asked to go on with.

    Args:
        asked: None for a new run; "auto" for the latest one if there is one; else as for `find_unfinished`.
        root: As for `find_unfinished`.
        recipe: As for `find_unfinished`.

    Returns:
        The run; None where a new one is to begin.

    Raises:
        ValueError: As from `find_unfinished`; with "auto" too where there is a run, but a damaged one.

    Example:
        >>> find_if_any("auto", "nowhere", "vision") is None
        True
    """
    if asked is None or (asked == AUTO and not names_of(as_path(root) / recipe)):
        return None
    return find_unfinished(LATEST if asked == AUTO else asked, root, recipe)


def find_unfinished(asked: str | os.PathLike[str], root: str | os.PathLike[str], recipe: str) -> Unfinished:
    """Find a run that a kill, a signal or an error has ended.

    Args:
        asked: "latest" for the newest one of the recipe by the time in its name; or its folder, by the name that it has
            or by the one that it would have had when whole.
        root: The folder with a folder for each recipe.
        recipe: The recipe's name.

    Returns:
        The run.

    Raises:
        ValueError: When there is none, or the folder is elsewhere, is no run's, is a finished run's, or is damaged.

    Example:
        >>> find_unfinished("latest", "nowhere", "vision")
        Traceback (most recent call last):
        ValueError: resume must be of an unfinished run, of which none is in nowhere/vision, got 'latest'.
    """
    parent = as_path(root) / recipe
    place = latest(parent) if asked == LATEST else named(asked)
    rule = f"must be 'latest', 'auto' or the folder of a run in {parent}"
    require(os.path.isdir(place) and place.resolve().parent == parent.resolve(), "resume", rule, str(asked))
    links = [name for name in ("recipe.json", CHECKPOINT) if os.path.islink(place / name)]
    whole = os.path.isfile(place / "recipe.json") and not links
    require(whole, "resume", "must be the folder of a run, with a recipe.json and no links", str(asked))
    require(is_unfinished(place), "resume", "must be of an unfinished run, not of a finished one", str(asked))
    try:
        text = (place / "recipe.json").read_text(encoding="utf-8")
        found, checksum = recipe_of(text), json.loads(text).get("data_sha256")
    except DAMAGE as error:
        why = clipped(str(error) or type(error).__name__)
        raise ValueError(f"resume must be of a run with a whole recipe.json, got {str(asked)!r} ({why}).") from error
    require(found.name == recipe, "resume", f"must be of a run of {recipe!r}", found.name)
    return Unfinished(place, found, checksum, times_in(place))


def latest(parent: pathlib.Path) -> pathlib.Path:
    """Return the folder of the newest unfinished run in a recipe's folder, by the time in its name."""
    found = names_of(parent)
    require(bool(found), "resume", f"must be of an unfinished run, of which none is in {parent}", LATEST)
    return parent / max(found, key=lambda name: found[name])


def names_of(parent: pathlib.Path) -> dict[str, tuple[str, int]]:
    """Return the names of the unfinished runs in a recipe's folder, each with the time and the number in it."""
    names = os.listdir(parent) if os.path.isdir(parent) else []
    dated = {name: match for name in names if (match := STAMP.fullmatch(name.removeprefix(UNFINISHED)))}
    return {
        name: (match[1], int(match[2] or 1))
        for name, match in dated.items()
        if os.path.isfile(parent / name / "recipe.json") and is_unfinished(parent / name)
    }


def named(asked: str | os.PathLike[str]) -> pathlib.Path:
    """Return the folder that is asked for, by the one or by the other of its names."""
    place = as_path(asked, "resume")
    aside = place.with_name(UNFINISHED + place.name) if place.name else place
    return aside if os.path.isdir(aside) and not os.path.isdir(place) else place


def is_finished(folder: pathlib.Path) -> bool:
    """Tell whether a folder has the results of a finished run.

    Args:
        folder: The folder.

    Example:
        >>> is_finished(pathlib.Path("nowhere"))
        False
    """
    metrics = json_in(folder / "metrics.json")
    return isinstance(metrics, dict) and "unfinished" not in metrics


def is_unfinished(folder: pathlib.Path) -> bool:
    """Return whether a folder is of a run that was ended: by its name, its results, or a checkpoint in it."""
    begun = folder.name.startswith(UNFINISHED) or has_checkpoint(folder)
    metrics = json_in(folder / "metrics.json")
    return not is_finished(folder) and (begun or (isinstance(metrics, dict) and "unfinished" in metrics))


def times_in(folder: pathlib.Path) -> tuple[str, ...]:
    """Return when a run was gone on with, as its environment.json says."""
    environment = json_in(folder / "environment.json")
    found = environment.get("resumed") if isinstance(environment, dict) else None
    return tuple(clipped(one, 40) for one in found if isinstance(one, str)) if isinstance(found, list) else ()


def json_in(path: pathlib.Path) -> Json:
    """Return what a JSON file holds; None when it is not there or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
