"""Resuming: how run(recipe) goes on with a run that a kill, a signal or an error has ended."""

import contextlib
import dataclasses
import datetime
import logging
import os
import pathlib
import shutil
from typing import NamedTuple

from kopt import distribute
from kopt.experiment.recipe import Recipe
from kopt.models import OfFunction
from kopt.report import find_if_any, find_unfinished, write_start
from kopt.report.run_folder import CHECKPOINT, has_checkpoint, reopened_folder, run_folder, takes_locks
from kopt.report.unfinished import AUTO, Unfinished, is_finished
from kopt.training.checkpoint.callback import Checkpoint
from kopt.values.checks import require
from kopt.values.field_paths import paths, replace
from kopt.values.fields import Value
from kopt.values.texts import printable
from kopt.values.types import FieldValue, Strategy

__all__ = ["Begun", "begin", "going_on", "open_folder", "remove_checkpoint", "resumable", "saved_recipe", "say_new"]

log = logging.getLogger("kopt")

EVERY = "30s"  # so that a run shorter than that writes no checkpoint
MAY_GROW = "training.epochs"
ABSENT = "not there"


def saved_recipe(asked: str | os.PathLike[str], folder: str | os.PathLike[str], recipe: str) -> Recipe:
    """Return the recipe of an unfinished run.

    Args:
        asked: "latest", or the folder of the run.
        folder: The folder with a folder for each recipe.
        recipe: The recipe's name.

    Returns:
        The recipe.

    Raises:
        ValueError: When there is no such run, or it is none of a `kopt.Recipe`.

    Example:
        >>> saved_recipe("latest", "nowhere", "vision")
        Traceback (most recent call last):
        ValueError: resume must be of an unfinished run, of which none is in nowhere/vision, got 'latest'.
    """
    found = find_unfinished(asked, folder, recipe).recipe
    require(isinstance(found, Recipe), "resume", "must be of a run of a kopt.Recipe", found)
    assert isinstance(found, Recipe)
    return found


def resumable(
    asked: str | os.PathLike[str] | None, folder: str | os.PathLike[str], recipe: Recipe
) -> Unfinished | None:
    """Find the unfinished run that is to go on, and require that its recipe is this one, but for more epochs.

    Args:
        asked: "latest", "auto" for the latest one if there is one, or the folder of the run; None for a new run.
        folder: The folder with a folder for each recipe.
        recipe: The recipe.

    Returns:
        The run; None where a new one is to begin.

    Raises:
        ValueError: When there is no such run, or its recipe is another; the fields are named.

    Example:
        >>> from kopt import data, models, schedules
        >>> line = Recipe("digits", data.Digits(), model=models.MLP((8, 8, 1), 10), schedule=schedules.Cosine(0.01))
        >>> resumable("latest", "nowhere", line)
        Traceback (most recent call last):
        ValueError: resume must be of an unfinished run, of which none is in nowhere/digits, got 'latest'.
    """
    found = find_if_any(asked, folder, recipe.name)
    if found is None:
        return None
    before, now = paths(found.recipe), paths(recipe)
    differing = [
        f"{path} was {before.get(path, ABSENT)!r} and is {now.get(path, ABSENT)!r}"
        for path in {**before, **now}
        if not is_open(recipe, path) and differs(path, before.get(path, ABSENT), now.get(path, ABSENT))
    ]
    rule = f"must be that of the run that is resumed: {'; '.join(differing)}"
    require(not differing, "recipe", rule, str(found.folder))
    return found


def say_new(asked: str | os.PathLike[str] | None, resumed: Unfinished | None, place: str) -> None:
    """Log that there was no run to go on with, where one was asked for if there is one.

    Args:
        asked: As for `resumable`.
        resumed: What `resumable` returned.
        place: The folder of the recipe's runs.

    Example:
        >>> say_new(None, None, "saved_models/vision")
    """
    if asked == AUTO and resumed is None:
        log.info("resume: no unfinished run is in %s, a new one begins", printable(place))


def is_open(recipe: Recipe, path: str) -> bool:
    """Return whether the field at a path is left to the data of a recipe: all of its model, or a size of it."""
    model, (part, _, name) = recipe.model, path.partition(".")
    whole = model is None or isinstance(model, OfFunction)
    return part == "model" and (whole or (model is not None and name in model.open_sizes()))


def going_on(recipe: Recipe, resumed: Unfinished) -> Recipe:
    """Return the recipe of a run that goes on, with the model that its data gave it when it began.

    Args:
        recipe: The recipe that was asked for.
        resumed: The run, which `resumable` has found to be of that recipe.

    Returns:
        The recipe.

    Example:
        >>> from kopt import data, models
        >>> before = Recipe("digits", data.Digits(), model=models.ConvNet((8, 8, 1), 10))
        >>> going_on(Recipe("digits", data.Digits()), Unfinished(pathlib.Path("run"), before, None, ())).model
        ConvNet((8, 8, 1), outputs=10)
    """
    found = resumed.recipe
    if not isinstance(found, Recipe) or found.model is None or not is_open(recipe, "model"):
        return recipe
    return replace(recipe, {"model": found.model})


def differs(path: str, before: FieldValue, now: FieldValue) -> bool:
    """Return whether a field forbids to go on; of two values of one class the fields of their own are compared."""
    if path == MAY_GROW:
        return bool(now < before)
    return before != now and not (isinstance(before, Value) and type(before) is type(now))


def open_folder(
    folder: str | os.PathLike[str], recipe: Recipe, resumed: Unfinished | None
) -> contextlib.AbstractContextManager[tuple[pathlib.Path, pathlib.Path]]:
    """Return the context of a run's folder: a new one, or that of the run that goes on.

    Args:
        folder: The folder with a folder for each recipe.
        recipe: The recipe.
        resumed: The run that goes on; None for a new one.

    Example:
        >>> import tempfile
        >>> from kopt import data, models, schedules
        >>> line = Recipe("digits", data.Digits(), model=models.MLP((8, 8, 1), 10), schedule=schedules.Cosine(0.01))
        >>> with tempfile.TemporaryDirectory() as root, open_folder(root, line, None) as (unfinished, final):
        ...     unfinished.name == f".unfinished-{final.name}"
        True
    """
    return run_folder(folder, recipe.name) if resumed is None else reopened_folder(resumed.folder)


class Begun(NamedTuple):
    """A run that has begun, on one worker.

    Attributes:
        folder: The folder to write into; None on a worker that is not the chief.
        final: What it will be called.
        checkpoint: What writes checkpoints; None where they cannot be.
        recipe: The recipe.
        checksum: The sha256 of the data of the run that goes on; None for a new one.
        resumed: When it was gone on with, this time included.
    """

    folder: pathlib.Path | None
    final: pathlib.Path
    checkpoint: Checkpoint | None
    recipe: Recipe
    checksum: str | None
    resumed: tuple[str, ...]

    def note(self, checksum: str | None) -> None:
        """Write what a killed run is gone on with, when this is the chief.

        Args:
            checksum: The sha256 of the data; None before they are loaded.
        """
        if self.folder is None:
            return
        lacking = write_start(self.folder, self.recipe, checksum or self.checksum, self.resumed)
        for name, why in lacking.items():
            log.warning("%s could not be written (%s): a killed run could not be gone on with", name, why)

    def with_recipe(self, recipe: Recipe, checksum: str) -> "Begun":
        """Return the run with a recipe that its data have made whole, and note it.

        Args:
            recipe: The recipe.
            checksum: The sha256 of the data.
        """
        if recipe == self.recipe:
            return self
        whole = self._replace(recipe=recipe)
        whole.note(checksum)
        return whole

    def require_data(self, checksum: str) -> None:
        """Raise ValueError unless the data are those that the run began with; note them.

        Args:
            checksum: Their sha256.
        """
        same = self.checksum in (None, checksum)
        require(same, "data", f"must be those that the run began with, of sha256 {self.checksum}", checksum)
        self.note(checksum)


def begin(
    strategy: Strategy,
    places: tuple[pathlib.Path | None, pathlib.Path | None],
    recipe: Recipe,
    resumed: Unfinished | None,
) -> Begun:
    """Agree with all workers on the folders of a run, and write what it is gone on with if it is killed.

    Args:
        strategy: The distribution strategy.
        places: The folder to write into and what it will be called, on the chief.
        recipe: The recipe.
        resumed: The run that goes on; None for a new one.

    Returns:
        The run.

    Raises:
        ValueError: When a worker does not see the folder of a run that goes on.

    Example:
        >>> import tempfile
        >>> from kopt import data, distribute, models, schedules
        >>> line = Recipe("digits", data.Digits(), model=models.MLP((8, 8, 1), 10), schedule=schedules.Cosine(0.01))
        >>> with tempfile.TemporaryDirectory() as root, open_folder(root, line, None) as places:
        ...     begun = begin(distribute.strategy(), places, line, None)
        ...     sorted(os.listdir(begun.folder))
        ['environment.json', 'recipe.json']
    """
    folder, final = places
    number = distribute.workers(strategy)
    finders = int(distribute.over_workers(strategy, [float(resumed is not None)])[0])
    place = "no run" if resumed is None else str(resumed.folder)
    require(
        finders in (0, number), "resume", f"must find a run on all {number} workers, as it does on {finders}", place
    )
    there = "" if folder is None or not takes_locks(folder) else str(folder.absolute())
    final_text, there = (distribute.text_from_chief(strategy, text) for text in (str(final), there))
    checkpoint, times, checksum = None, tuple[str, ...](), None
    if there:
        checkpoint = Checkpoint(pathlib.Path(there) / CHECKPOINT, every=EVERY, on_error="warn")
        # The caller receives signals, and removes the checkpoints of a finished run.
        checkpoint.options = dataclasses.replace(checkpoint.options, on_signal="stop", at_end=False)
    if resumed is not None:
        require(bool(there), "resume", "must be of a run on a file system with locks", str(resumed.folder))
        seen = distribute.over_workers(strategy, [float(os.path.isfile(pathlib.Path(there) / "recipe.json"))])
        require(int(seen[0]) == number, "resume", f"must be of a run whose folder all {number} workers see", there)
        times = (*resumed.resumed, datetime.datetime.now().isoformat(timespec="seconds"))
        checksum = resumed.checksum
        said = "" if has_checkpoint(pathlib.Path(there)) else ", from its start, for it has no checkpoint yet"
        log.info("resumed: %s%s", printable(there), said)
    begun = Begun(folder, pathlib.Path(final_text), checkpoint, recipe, checksum, times)
    begun.note(None)
    return begun


def remove_checkpoint(folder: pathlib.Path | None) -> None:
    """Remove the checkpoints of a run that is finished.

    Args:
        folder: The folder of the run; None on a worker that writes nothing.

    Example:
        >>> remove_checkpoint(None)
    """
    if folder is not None and is_finished(folder):
        shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
