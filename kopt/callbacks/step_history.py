"""StepHistory: values by the step of a run, kept in memory, as a CSV file and for TensorBoard."""

import csv
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from kopt.values.places import as_path
from kopt.values.types import CallbackState

Place = str | os.PathLike[str]


class StepHistory:
    """Values by the step of a run: a column a name, "step" first.

    The files hold what `columns` holds: a run that goes on writes them anew up to where it goes on.

    Args:
        file: A CSV file, or None.
        folder: A folder of events for TensorBoard, or None.
    """

    def __init__(self, file: Place | None, folder: Place | None):
        self.file = None if file is None else as_path(file, "file")
        self.folder = None if folder is None else as_path(folder, "folder")
        self.columns: dict[str, list[float]] = {}
        self.writes = False
        self.events: tf.summary.SummaryWriter | None = None

    def begin(self, writes: bool) -> None:
        """Begin a run; `writes` says whether this process writes files."""
        self.close()
        self.columns, self.writes = {"step": []}, writes
        self.put_back(self.columns)

    def put_back(self, columns: Mapping[str, Sequence[float] | np.ndarray]) -> None:
        """Take the values of an earlier part of the run in place of what is there, in the files too."""
        self.close()
        self.columns = {"step": []}
        if self.writes and self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self.file.write_text("")
        if self.writes and self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
        if len(columns["step"]):
            self.add({name: np.asarray(values).tolist() for name, values in columns.items()})

    def add(self, rows: Mapping[str, Sequence[float]]) -> None:
        """Add rows, given as columns."""
        for name, values in rows.items():
            self.columns.setdefault(name, []).extend(values)
        if self.writes and self.file is not None:
            self.write_csv(self.file, rows)
        if self.writes and self.folder is not None:
            self.write_events(self.folder, rows)

    def write_csv(self, file: pathlib.Path, rows: Mapping[str, Sequence[float]]) -> None:
        with file.open("a", newline="") as lines:
            table = csv.writer(lines)
            if not lines.tell():
                table.writerow(rows)
            table.writerows(zip(*rows.values()))

    def write_events(self, folder: pathlib.Path, rows: Mapping[str, Sequence[float]]) -> None:
        self.events = self.events or tf.summary.create_file_writer(str(folder))
        with self.events.as_default():
            for name, values in rows.items():
                for step, value in zip(rows["step"], values) if name != "step" else ():
                    tf.summary.scalar(name, value, step=int(step))
        self.events.flush()

    def state(self) -> CallbackState:
        """Return the values as arrays, for a checkpoint."""
        return {name: np.asarray(values) for name, values in self.columns.items()}

    def close(self) -> None:
        """Close the files."""
        if self.events is not None:
            self.events.close()
            self.events = None
