"""Checkpoints of trials: the best epoch to load, the last one to go on from, and no more than are wanted."""

import contextlib
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kopt import distribute

__all__ = ["Checkpoint", "Progress", "keep_checkpoints"]

BEST = "checkpoint.weights.h5"  # KerasTuner's name, for `load_model`
SHAPES = "build_config.json"  # KerasTuner's name


class Progress:
    """How far a trial is, in its folder: so that another process can go on with it.

    Args:
        folder: The trial's.

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
        found = json.loads(self.file.read_text()) if self.file.exists() else {}
        self.finished: list[dict[str, float]] = found.get("finished", [])  # what each ended execution reached
        self.epochs: list[dict[str, float]] = found.get("epochs", [])  # of the execution that is under way
        self.weights: str | None = found.get("weights")  # after its last epoch
        self.best: float | None = found.get("best")  # objective of the checkpoint, over all executions

    def write(self) -> None:
        """Write it, all or nothing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        fields = {name: value for name, value in vars(self).items() if name not in ("folder", "file")}
        unfinished = self.file.with_suffix(".part")
        unfinished.write_text(json.dumps(fields))
        os.replace(unfinished, self.file)
        for old in self.folder.glob("last-*"):
            if old.name != self.weights:
                old.unlink()

    def end_execution(self, metrics: dict[str, float]) -> None:
        """Begin with the next execution."""
        self.finished.append(metrics)
        self.epochs, self.weights = [], None
        self.write()

    def end(self) -> None:
        """Remove what only an unfinished trial needs."""
        self.epochs, self.weights = [], None
        for one in [*self.folder.glob("last-*"), *self.folder.glob("progress.*")]:
            one.unlink()


class Checkpoint(keras.callbacks.Callback):
    """Save the weights, with the optimizer's, of the best and of the last epoch; load the last where there is one.

    Args:
        progress: The trial's.
        objective: What the best epoch is the best of; where it is not in the logs, the last epoch is.

    Example:
        >>> import keras, keras_tuner, numpy as np, pathlib, tempfile
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     callback = Checkpoint(Progress(pathlib.Path(folder)), keras_tuner.Objective("loss", "min"))
        ...     _ = model.fit(np.eye(2), np.ones((2, 1)), epochs=2, verbose=0, callbacks=[callback])
        ...     sorted(path.name for path in pathlib.Path(folder).iterdir())
        ['checkpoint.weights.h5', 'last-2.weights.h5', 'progress.json']
    """

    def __init__(self, progress: Progress, objective: Any):
        super().__init__()
        self.progress, self.objective = progress, objective

    def on_train_begin(self, logs: Any = None) -> None:
        if self.progress.weights is not None:
            self.model.load_weights(self.progress.folder / self.progress.weights)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if not distribute.is_chief(self.model.distribute_strategy):
            return
        progress, logs = self.progress, logs or {}
        progress.folder.mkdir(parents=True, exist_ok=True)
        last = progress.folder / f"last-{epoch + 1}.weights.h5"
        self.model.save_weights(last, overwrite=True)
        if self.is_best(logs):
            linked = progress.folder / f"part-{BEST}"
            linked.unlink(missing_ok=True)
            os.link(last, linked)
            os.replace(linked, progress.folder / BEST)
        progress.epochs.append({name: float(value) for name, value in logs.items() if np.ndim(value) == 0})
        progress.weights = last.name
        progress.write()

    def is_best(self, logs: Any) -> bool:
        if not self.objective.has_value(logs):
            return True
        value, best = float(self.objective.get_value(logs)), self.progress.best
        better = np.isfinite(value) and (best is None or bool(self.objective.better_than(value, best)))
        if better:
            self.progress.best = value
        return better


def keep_checkpoints(folder: pathlib.Path, ended: Sequence[str], keep: int) -> None:
    """Remove the checkpoints of all ended trials but the best ones.

    Args:
        folder: The search's folder.
        ended: Numbers of the trials that have ended, the best first.
        keep: How many checkpoints to keep, >= 0.

    Example:
        >>> import tempfile, pathlib
        >>> with tempfile.TemporaryDirectory() as root:
        ...     folder = pathlib.Path(root)
        ...     for number in "012":
        ...         (folder / f"trial_{number}").mkdir()
        ...         (folder / f"trial_{number}" / "checkpoint.weights.h5").touch()
        ...     keep_checkpoints(folder, ["2", "0", "1"], keep=1)
        ...     [str(path.relative_to(folder)) for path in folder.rglob("*.h5")]
        ['trial_2/checkpoint.weights.h5']
    """
    unwanted = {f"trial_{number}" for number in ended[keep:]}
    for trial in [path for path in folder.iterdir() if path.name in unwanted]:
        for name in (BEST, SHAPES):
            (trial / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # there is something of the user's in it
            trial.rmdir()
