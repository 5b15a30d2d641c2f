"""Targets of later rows, for their score: read from where the rows are, and as numbers of classes or as floats."""

import os
from collections.abc import Mapping

import numpy as np

from kopt.data import Data
from kopt.data.coercion import Framed
from kopt.data.files import IMAGES
from kopt.experiment.given_rows import TABLES, cells_of, files_in, open_arrays
from kopt.values.checks import require
from kopt.values.places import as_path
from kopt.values.texts import clipped
from kopt.values.types import ArrayLike

__all__ = ["targets_for", "targets_in"]


def targets_in(data: Data, rows: ArrayLike) -> ArrayLike:
    """Return the targets that come with rows.

    Args:
        data: The data of a run, which may name the column of the targets.
        rows: A frame, columns by name, a .csv, .parquet or .npz file, or a folder with a folder for each class.

    Returns:
        The target of each row.

    Raises:
        ValueError: When there are none.

    Example:
        >>> from kopt.data import Digits
        >>> targets_in(Digits(), {"size": [1, 2], "y": [0, 1]})
        [0, 1]

    Source:
        `keras.utils.image_dataset_from_directory`, for folders.
    """
    name = data.target_column or "y"
    given = in_files(rows, name) if isinstance(rows, (str, os.PathLike)) else rows
    names = list(given.columns) if isinstance(given, Framed) else list(given) if isinstance(given, Mapping) else []
    shown = str(rows) if isinstance(rows, (str, os.PathLike)) else type(rows).__name__
    require(name in names, "rows", f"must have the targets by the name {clipped(name)!r}", shown)
    return given[name]


def in_files(rows: str | os.PathLike[str], name: str) -> ArrayLike:
    """Return the columns or arrays of a file by name; for a folder, the name of each file's folder."""
    path = as_path(rows, "rows")
    if path.is_dir():
        files = files_in(path, IMAGES) or files_in(path, (".txt",))
        return {name: [one.parent.name for one in files]}
    if path.suffix.lower() in TABLES:
        return cells_of(path)
    return open_arrays(path) if path.suffix.lower() == ".npz" else {}


def targets_for(data: Data, y: ArrayLike) -> np.ndarray:
    """Return targets as a run's loss takes them.

    Args:
        data: The data of the run.
        y: Names of classes, or numbers of classes where names are no numbers; numbers for other tasks.

    Returns:
        Numbers of classes, int32, or float32.

    Raises:
        ValueError: When a class is unknown, or a number is none or not finite.

    Example:
        >>> from kopt.data import Reviews
        >>> targets_for(Reviews(), ["great", "other"]), targets_for(Reviews(), [1, 0])
        (array([1, 0], dtype=int32), array([1, 0], dtype=int32))

    Source:
        `sklearn.preprocessing.LabelEncoder`.
    """
    array = np.asarray(y)
    labels = data.labels if data.task == "classification" else ()
    if labels and (array.dtype.kind in "OUTb" or any(map(is_number, labels))):
        return named_classes(array, labels)
    try:
        numbers = array.astype("float32")
    except (TypeError, ValueError) as error:
        raise ValueError(f"y must hold numbers, got others ({error}).") from error
    require(
        bool(np.isfinite(numbers).all()), "y", "must be finite", f"{int((~np.isfinite(numbers)).sum())} that are not"
    )
    return numbers.astype("int32") if data.task in ("classification", "language") else numbers


def named_classes(array: np.ndarray, labels: tuple[str, ...]) -> np.ndarray:
    """Return the number of the class of each name."""
    places = {name: place for place, name in enumerate(labels)}
    names = [text_of(one) for one in array.ravel().tolist()]
    names = [name if name in places else as_read(name, places) for name in names]
    other = [clipped(name) for name in dict.fromkeys(names) if name not in places]
    require(not other, "y", f"must be of the classes {labels[:20]}", other[:5])
    return np.array([places[name] for name in names], "int32")


def as_read(name: str, places: Mapping[str, int]) -> str:
    """Return the name of a class as a table's reader gives it: without blanks around, true and TRUE are True."""
    plain = name.strip()
    return plain.capitalize() if {*places} == {"False", "True"} else plain


def text_of(one: object) -> str:
    """Return the name of a class; 3.0 is called 3."""
    return str(int(one)) if isinstance(one, float) and one.is_integer() else str(one)


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
