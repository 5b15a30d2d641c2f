"""Progress: what a trial is of and which of its models are trained, in a file; the removal of a trial's files."""

import contextlib
import json
import os
import pathlib
from collections.abc import Sequence

from kopt.training.checkpoint.content import Content
from kopt.training.checkpoint.files import Damaged
from kopt.training.checkpoint.folder import CheckpointFolder
from kopt.values.checks import is_number
from kopt.values.places import inside
from kopt.values.types import Json, ParameterValue

__all__ = ["BEST", "Progress", "StartAnew", "discard", "keep_checkpoints"]

BEST = "checkpoint.weights.h5"  # KerasTuner's name, for `load_model`
SHAPES = "build_config.json"  # KerasTuner's name
LAST = "last"  # the folder of the checkpoint of the execution that runs
FIELDS = ("of", "values", "finished", "best")
OLD = "last-*"  # files of kopt 0.1


class StartAnew(BaseException):
    """Ends an execution that cannot be resumed; a BaseException, so that no `except Exception` of a user catches it.

    Args:
        why: The reason, as the end of a sentence.
        whole: Whether the earlier executions of the trial must begin anew too.

    Example:
        >>> StartAnew("its weights are others").whole
        False
    """

    def __init__(self, why: str, *, whole: bool = False):
        super().__init__(why)
        self.whole = whole


class Progress:
    """The progress of a trial, from which another process can go on with it.

    `progress.json` has what is of the trial: what it was trained on, its hyperparameters, the metrics of the executions
    that have ended. Where the execution that runs is stands in a checkpoint, in the folder `last`.

    Args:
        folder: The folder of the trial.

    Raises:
        ValueError: When a link in the folder leads out of it.

    Example:
        >>> import tempfile, pathlib
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Progress(pathlib.Path(folder)).end_execution({"loss": 1.0})
        ...     progress = Progress(pathlib.Path(folder))
        ...     progress.finished, progress.begun
        ([{'loss': 1.0}], True)
    """

    def __init__(self, folder: pathlib.Path):
        self.folder, self.file = folder, folder / "progress.json"
        self.checkpoints = CheckpointFolder(inside(folder, LAST, "trial"), keep=1)
        found, self.fault = self.read()
        self.of: dict[str, Json] = found.get("of", {})  # what decides the meaning of its metrics
        self.values: dict[str, ParameterValue] | None = found.get("values")  # hyperparameters of its model
        self.finished: list[dict[str, float]] = found.get("finished", [])  # metrics of each execution that has ended
        self.best_before: float | None = found.get("best")  # best objective of the ended executions
        self.best: float | None = self.best_before  # of the running one too

    def read(self) -> tuple[dict[str, Json], str | None]:
        """Return the content of the file, and why the trial cannot go on by it."""
        there = bool(self.checkpoints.steps())
        old = any(self.folder.glob(OLD))
        try:
            found = json.loads(self.file.read_text())
        except FileNotFoundError:
            if old:
                return {}, "an older version of kopt began it"
            return {}, "its progress.json is missing" if there else None
        except (ValueError, RecursionError):
            return {}, "its progress.json is broken"
        if old or (isinstance(found, dict) and "last" in found):
            return {}, "an older version of kopt began it"
        return (found, None) if is_progress(found) else ({}, "its progress.json is broken")

    @property
    def begun(self) -> bool:
        """Whether there is anything to go on from."""
        return self.fault is None and bool(self.finished or self.checkpoints.steps())

    def last(self) -> Content | None:
        """Return the checkpoint of the execution that runs, None where it has none.

        Raises:
            StartAnew: When it is damaged.
        """
        try:
            return self.checkpoints.read()
        except Damaged as error:
            raise StartAnew(str(error)) from error

    def write(self) -> None:
        """Write the file in one atomic step."""
        self.folder.mkdir(parents=True, exist_ok=True)
        fields = {"of": self.of, "values": self.values, "finished": self.finished, "best": self.best_before}
        unfinished = self.file.with_suffix(".part")
        unfinished.write_text(json.dumps(fields))
        os.replace(unfinished, self.file)

    def end_execution(self, metrics: dict[str, float]) -> None:
        """Record the metrics of an execution that has ended, and begin the next one."""
        self.finished.append(metrics)
        self.best_before = self.best
        self.checkpoints.remove()  # first: the next execution must not go on from it
        self.write()

    def begin_anew(self) -> None:
        """Discard the checkpoint of the running execution."""
        self.best = self.best_before
        self.checkpoints.remove()

    def changed(self, terms: dict[str, Json]) -> list[str]:
        """Record the terms that decide the meaning of the trial's metrics; return the names of those that changed."""
        before, self.of = self.of, terms
        names = sorted(name for name in {*terms, *before} if terms.get(name) != before.get(name))
        return names if self.begun else []

    def require_values(self, values: dict[str, ParameterValue]) -> None:
        """Record the hyperparameters that the model was built with.

        Raises:
            StartAnew: When they have changed.
        """
        before, self.values = self.values, dict(values)
        if self.begun and before != self.values:
            raise StartAnew("its hyperparameters are others", whole=True)

    def restart(self) -> None:
        """Discard the progress of all executions."""
        self.end()
        self.fault, self.finished, self.best, self.best_before = None, [], None, None

    def end(self) -> None:
        """Remove the files that only an unfinished trial needs."""
        self.checkpoints.remove()
        for one in [file for name in ("progress.*", "part-*", OLD) for file in self.folder.glob(name)]:
            one.unlink()


def is_progress(found: Json) -> bool:
    """Return whether the fields of a JSON file are those that `Progress.write` writes, in kind."""
    if not isinstance(found, dict) or not {*found} <= {*FIELDS}:
        return False
    finished, best = found.get("finished", []), found.get("best")
    return (
        isinstance(found.get("of", {}), dict)
        and isinstance(found.get("values"), (dict, type(None)))
        and (best is None or is_number(best))
        and isinstance(finished, list)
        and all(map(are_metrics, finished))
    )


def are_metrics(found: Json) -> bool:
    return isinstance(found, dict) and all(map(is_number, found.values()))


def discard(folder: pathlib.Path) -> None:
    """Remove a trial's training files, and its folder when nothing else is in it.

    Args:
        folder: The folder of the trial.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     folder = pathlib.Path(root) / "trial_0"
        ...     folder.mkdir()
        ...     (folder / "checkpoint.weights.h5").touch()
        ...     discard(folder)
        ...     folder.exists()
        False
    """
    if not folder.is_dir():
        return
    Progress(folder).end()
    for name in (BEST, SHAPES):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # files of the user are in it
        folder.rmdir()


def keep_checkpoints(folder: pathlib.Path, ended: Sequence[str], kept: Sequence[str]) -> None:
    """Remove the checkpoints of the ended trials that are not kept.

    Args:
        folder: The folder of the search.
        ended: Numbers of the trials that have ended.
        kept: Numbers of the trials whose checkpoints stay.

    Example:
        >>> import tempfile, pathlib
        >>> with tempfile.TemporaryDirectory() as root:
        ...     folder = pathlib.Path(root)
        ...     for number in "012":
        ...         (folder / f"trial_{number}").mkdir()
        ...         (folder / f"trial_{number}" / "checkpoint.weights.h5").touch()
        ...     keep_checkpoints(folder, ["2", "0", "1"], kept=["2"])
        ...     [str(path.relative_to(folder)) for path in folder.rglob("*.h5")]
        ['trial_2/checkpoint.weights.h5']
    """
    unwanted = {f"trial_{number}" for number in {*ended} - {*kept}}
    for trial in [path for path in folder.iterdir() if path.name in unwanted]:
        discard(trial)
