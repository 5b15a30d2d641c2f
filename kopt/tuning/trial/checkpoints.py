"""Checkpoints of trials: weights of the best epoch to load, those of the last to resume from, and their removal."""

import contextlib
import json
import logging
import os
import pathlib
import re
from collections.abc import Sequence

import keras
import numpy as np

from kopt import distribute
from kopt.tuning.trial.snapshot import StartAnew, Watched, read_snapshot, restore, take_snapshot, write_snapshot
from kopt.values.types import Json, KerasCallback, Logs, Objective, ParameterValue

__all__ = ["Checkpoint", "Progress", "discard", "keep_checkpoints"]

log = logging.getLogger("kopt")

BEST = "checkpoint.weights.h5"  # KerasTuner's name, for `load_model`
SHAPES = "build_config.json"  # KerasTuner's name


class Progress:
    """The progress of a trial, in a file of the trial's folder, from which another process can resume the trial.

    Args:
        folder: The folder of the trial.

    Example:
        >>> import tempfile, pathlib
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     progress = Progress(pathlib.Path(folder))
        ...     progress.epochs.append({"loss": 1.0})
        ...     progress.write()
        ...     Progress(pathlib.Path(folder)).epochs
        [{'loss': 1.0}]
    """

    def __init__(self, folder: pathlib.Path):
        self.folder, self.file = folder, folder / "progress.json"
        found = read_json(self.file)
        self.of: dict[str, Json] = found.get("of", {})  # what decides the meaning of its metrics
        self.values: dict[str, ParameterValue] | None = found.get("values")  # hyperparameters of its model
        self.finished: list[dict[str, float]] = found.get("finished", [])  # metrics of each execution that has ended
        self.epochs: list[dict[str, float]] = found.get("epochs", [])  # logs of the running execution
        self.last: str | None = found.get("last")  # name of the files of its last epoch: weights and snapshot
        self.best_before: float | None = found.get("best_before")  # best objective of the ended executions
        self.best: float | None = found.get("best") if self.last else self.best_before  # of the running one too

    def write(self) -> None:
        """Write the file in one atomic step, and remove the files of earlier epochs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        fields = {name: value for name, value in vars(self).items() if name not in ("folder", "file")}
        unfinished = self.file.with_suffix(".part")
        unfinished.write_text(json.dumps(fields))
        os.replace(unfinished, self.file)
        for old in self.folder.glob("last-*"):
            if self.last is None or not old.name.startswith(f"{self.last}."):
                old.unlink()

    def end_execution(self, metrics: dict[str, float]) -> None:
        """Record the metrics of an execution that has ended, and begin the next one."""
        self.finished.append(metrics)
        self.epochs, self.last, self.best_before = [], None, self.best
        self.write()

    def begin_anew(self) -> None:
        """Discard the epochs of the running execution."""
        self.epochs, self.last, self.best = [], None, self.best_before
        self.write()

    def changed(self, terms: dict[str, Json]) -> list[str]:
        """Record the terms that decide the meaning of the trial's metrics; return the names of those that changed."""
        before, self.of = self.of, terms
        began = bool(self.finished or self.epochs)
        return sorted(name for name in {*terms, *before} if terms.get(name) != before.get(name)) if began else []

    def require_values(self, values: dict[str, ParameterValue]) -> None:
        """Record the hyperparameters that the model was built with.

        Raises:
            StartAnew: When they have changed.
        """
        before, self.values = self.values, dict(values)
        if (self.finished or self.epochs) and before != self.values:
            raise StartAnew("its hyperparameters are others", whole=True)

    def restart(self) -> None:
        """Discard the progress of all executions."""
        self.end()
        self.finished, self.best, self.best_before = [], None, None

    def end(self) -> None:
        """Remove the files that only an unfinished trial needs."""
        self.epochs, self.last = [], None
        for one in [*self.folder.glob("last-*"), *self.folder.glob("progress.*"), *self.folder.glob("part-*")]:
            one.unlink()


def read_json(file: pathlib.Path) -> dict[str, Json]:
    """Return the content of a JSON file; nothing when the file is missing, or a power failure broke it."""
    try:
        found = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):
        found = None
    if is_progress(found):
        return found
    log.warning("%s is broken: the trial begins anew", file)
    return {}


def is_progress(found: Json) -> bool:
    """Return whether the fields of a JSON file are those that `Progress.write` writes, in kind."""
    if not isinstance(found, dict) or not all(isinstance(found.get(name) or {}, dict) for name in ("of", "values")):
        return False
    bests = [found.get(name) for name in ("best", "best_before")]
    metrics = [found.get(name, []) for name in ("finished", "epochs")]
    last = found.get("last")  # a name of files in the trial's folder, and in no other
    return (
        (last is None or (isinstance(last, str) and re.fullmatch(r"last-[0-9]{1,9}", last) is not None))
        and all(one is None or is_number(one) for one in bests)
        and all(isinstance(some, list) and all(map(are_metrics, some)) for some in metrics)
    )


def are_metrics(found: Json) -> bool:
    return isinstance(found, dict) and all(map(is_number, found.values()))


def is_number(found: Json) -> bool:
    return isinstance(found, (int, float)) and not isinstance(found, bool)


class Checkpoint(keras.callbacks.Callback):
    """A callback that saves weights and optimizers of the best and the last epoch, and resumes from the last one.

    Any loop that calls `set_model` and `on_epoch_end` saves its best epoch. To be resumed, a loop must also call
    `on_train_begin` once, and begin with the epoch `initial_epoch`, as `fit` does; any other loop begins anew.
    Restored exactly: weights, optimizers, Keras' seeds, the random states of NumPy and Python, and plain attributes of
    callbacks. Not restored: the position in a generator or a shuffled `tf.data.Dataset`, and random numbers that a
    compiled step draws by `tf.random`.

    Args:
        progress: The progress of the trial.
        objective: The objective that the best epoch optimizes; when no epoch reports it, the last epoch is saved.
        first: The number of the epoch with which `fit` begins.
        made: Seed generators that the model does not hold.

    Example:
        >>> import keras, keras_tuner, numpy as np, pathlib, tempfile
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     callback = Checkpoint(Progress(pathlib.Path(folder)), keras_tuner.Objective("loss", "min"))
        ...     _ = model.fit(np.eye(2), np.ones((2, 1)), epochs=2, verbose=0, callbacks=[callback])
        ...     sorted(path.name for path in pathlib.Path(folder).iterdir())
        ['checkpoint.weights.h5', 'last-2.npz', 'last-2.weights.h5', 'progress.json']
    """

    def __init__(
        self,
        progress: Progress,
        objective: Objective,
        *,
        first: int = 0,
        made: Sequence[keras.random.SeedGenerator] = (),
    ):
        super().__init__()
        self.progress, self.objective, self.made = progress, objective, made
        self.beside: Sequence[KerasCallback] = ()  # the other callbacks of the fit
        self.goes_on = progress.last is not None
        self.logs = list(progress.epochs)
        self.next: int | None = first  # the next epoch; None when training cannot be resumed
        self.kept: Watched | None = None

    def on_train_begin(self, logs: Logs = None) -> None:
        if self.kept is not None:
            self.refuse("it has more than one fit")
            self.progress.epochs, self.progress.last = [], None
            return
        self.kept = Watched(self.beside)
        if self.goes_on:
            self.restore(self.progress.folder / f"{self.progress.last}", self.kept)

    def restore(self, last: pathlib.Path, watched: Watched) -> None:
        """Restore training from the files of the last epoch."""
        snapshot = read_snapshot(last.with_suffix(".npz"))
        try:
            restore(snapshot, last.with_suffix(".weights.h5"), self.model, self.made, watched)
        except OSError as error:
            raise StartAnew(f"its weights file is broken, {error}") from error

    def refuse(self, why: str) -> None:
        """Note that training cannot be resumed; raise StartAnew when it was resumed."""
        self.next = None
        if self.goes_on:
            raise StartAnew(why)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        if epoch != self.next:
            self.refuse(f"its fit does not begin with epoch {self.next}")

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if self.kept is None or epoch != self.next:
            self.refuse(f"its fit does not begin with epoch {self.next}")
        else:
            self.next = epoch + 1
        logs = logs or {}
        self.logs.append({name: float(value) for name, value in logs.items() if np.ndim(value) == 0})
        if distribute.is_chief(self.model.distribute_strategy):
            self.save(logs)

    def save(self, logs: Logs) -> None:
        """Save the weights if the epoch is the best and, unless training ends, the files to resume from."""
        progress, best, goes_on = self.progress, self.is_best(logs), self.next is not None
        # No files to resume from when the fit is about to stop: a process that dies now resumes from the epoch before.
        goes_on = goes_on and not self.model.stop_training
        if not best and not goes_on:
            return
        progress.folder.mkdir(parents=True, exist_ok=True)
        weights = progress.folder / f"last-{len(self.logs)}.weights.h5"
        self.model.save_weights(weights, overwrite=True)
        if best:
            linked = progress.folder / f"part-{BEST}"
            linked.unlink(missing_ok=True)
            os.link(weights, linked)
            os.replace(linked, progress.folder / BEST)
        if goes_on and self.kept is not None:
            progress.epochs, progress.last = list(self.logs), f"last-{len(self.logs)}"
            snapshot = take_snapshot(self.model, self.made, self.kept)
            write_snapshot(snapshot, progress.folder / f"{progress.last}.npz")
            progress.write()
        else:
            weights.unlink()

    def is_best(self, logs: Logs) -> bool:
        """Return whether an epoch is the best so far; record its objective if so."""
        if not self.objective.has_value(logs):
            return self.progress.best is None  # with validation_freq, some epochs do not report it
        value, best = float(self.objective.get_value(logs)), self.progress.best
        better = np.isfinite(value) and (best is None or bool(self.objective.better_than(value, best)))
        if better:
            self.progress.best = value
        return better


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
