"""Rows of later use: what a user has, in memory or in files, as the inputs of a run's model."""

import csv
import logging
import os
import pathlib
import zipfile
from collections.abc import Mapping, Sequence

import keras
import numpy as np

from kopt.data import Data
from kopt.data.base import Inputs
from kopt.data.coercion import Framed
from kopt.data.files import IMAGES
from kopt.data.frames import read_parquet
from kopt.values.checks import needs, require
from kopt.values.places import as_path
from kopt.values.texts import clipped
from kopt.values.types import ArrayLike

__all__ = ["TABLES", "content", "inputs_for", "require_inputs"]

TABLES = (".csv", ".parquet", ".pq")
NEITHER = "must be a folder or a file that ends in .csv, .parquet, .npy, .npz, .txt or as images do, and is there"

log = logging.getLogger("kopt")


def inputs_for(model: keras.Model, data: Data, rows: ArrayLike) -> Inputs:
    """Return rows as the inputs of a model, read as the data of its run were.

    Columns go by their names in the source, in any order; columns that are no inputs are left out, and the log says so.

    Args:
        model: The model, from raw inputs.
        data: The data of its run.
        rows: An array, texts, columns by name, a frame, or files: see `kopt.predict`.

    Returns:
        An array, or columns by name, as `model.predict` takes them.

    Raises:
        ValueError: When a column is not there, or the rows are not of the kind or the shape that the model takes.

    Example:
        >>> from kopt.data import Digits
        >>> two = keras.Input((2,))
        >>> inputs_for(keras.Model(two, two), Digits(), [[1.0, 2.0]])
        array([[1., 2.]], dtype=float32)

    Source:
        `sklearn.compose.ColumnTransformer`, for columns by name.
    """
    given = content(model, data, rows)
    wanted = model.input
    if isinstance(wanted, Mapping):
        rule = "must be columns by name, a frame, a list of dicts or the path of a table for this run"
        require(is_columns(given) or isinstance(given, str), "rows", rule, type(given).__name__)
        say_left_out(data, given, list(wanted))
    else:
        require(not is_columns(given), "rows", "must be an array for this run, and no columns", type(given).__name__)
    return require_inputs(model, data, data.columns_of(given))


def content(model: keras.Model, data: Data, rows: ArrayLike) -> ArrayLike:
    """Return what is in files, or what is in memory as it is.

    Args:
        model: The model, from raw inputs.
        data: The data of its run; it may read tables or images itself.
        rows: A path, several, or rows.

    Returns:
        An array, texts, columns by name, or what `data.columns_of` reads.

    Raises:
        ValueError: When there is no such file, or it is none that can be read.

    Example:
        >>> from kopt.data import Digits
        >>> two = keras.Input((2,))
        >>> content(keras.Model(two, two), Digits(), "no.npy")
        Traceback (most recent call last):
        ValueError: rows must be a folder or a file that ends in .csv, ..., got 'no.npy'.
    """
    images = not isinstance(model.input, Mapping) and len(model.input_shape) == 4
    if images and isinstance(rows, (list, tuple)) and rows and all(isinstance(one, (str, os.PathLike)) for one in rows):
        return of_images(model, data, [as_path(one, "rows") for one in rows])
    if isinstance(rows, (list, tuple)) and rows and all(isinstance(one, Mapping) for one in rows):
        return {name: [row.get(name) for row in rows] for name in dict.fromkeys(key for row in rows for key in row)}
    if not isinstance(rows, (str, os.PathLike)):
        return rows
    path = as_path(rows, "rows")
    ending = path.suffix.lower()
    known = path.is_dir() or (path.is_file() and ending in (*IMAGES, *TABLES, ".npy", ".npz", ".txt"))
    require(known, "rows", NEITHER, str(path))
    if path.is_dir() or ending in IMAGES or ending == ".txt":
        return of_files(model, data, path, images)
    if ending in TABLES:
        return of_table(model, data, path)
    return of_arrays(path)


def of_files(model: keras.Model, data: Data, path: pathlib.Path, images: bool) -> ArrayLike:
    """Return the images or texts of a folder, of the folders in it and of a file; of a text file, each line is one."""
    endings = IMAGES if images else (".txt",)
    rule = f"must be of {'images' if images else 'texts'} ({', '.join(endings)}) for this run"
    files = files_in(path, endings)
    require(len(files) > 0, "rows", rule, str(path))
    if images:
        return of_images(model, data, files)
    texts = [one.read_text("utf-8") for one in files]
    return texts if path.is_dir() else texts[0].splitlines()


def files_in(path: pathlib.Path, endings: Sequence[str]) -> list[pathlib.Path]:
    """Return the files of a folder and of the folders in it, in sorted order, or the file itself."""
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [one for one in found if one.suffix.lower() in endings]


def of_images(model: keras.Model, data: Data, files: Sequence[pathlib.Path]) -> ArrayLike:
    """Return images as the model takes them, or the files when the data read and resize them as in training."""
    if data.reads == "images":
        return [str(one) for one in files]
    height, width, channels = model.input_shape[1:]
    size, mode = (height, width), {1: "grayscale", 3: "rgb"}.get(channels, "rgba")
    load = keras.utils.load_img
    return np.stack([keras.utils.img_to_array(load(one, color_mode=mode, target_size=size)) for one in files])


def of_table(model: keras.Model, data: Data, path: pathlib.Path) -> ArrayLike:
    """Return a table's columns, its texts or an array of its numbers; the path when the data read tables themselves."""
    if data.reads == "tables":
        return str(path)
    found = cells_of(path)
    if is_columns(model.input):
        return found
    if model.input.dtype != "string":  # the columns in their order, without the targets
        return np.array([column for name, column in found.items() if name != (data.target_column or "y")]).T
    name = data.text_column or (next(iter(found)) if len(found) == 1 else "text")
    require(name in found, "rows", f"must have a column {clipped(name)!r}, of texts", list(found))
    return found[name]


def cells_of(path: pathlib.Path) -> dict[str, Sequence[str] | np.ndarray]:
    """Return the cells of a CSV or Parquet file by column; of a CSV file one column is enough, as for texts."""
    if path.suffix.lower() != ".csv":
        table = read_parquet(path)
        return dict(zip(table.names, table.columns))
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            names, *rows = [row for row in csv.reader(file, strict=True) if row] or [[]]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"rows must be a CSV file in UTF-8, got {str(path)!r} ({error}).") from error
    short = [number for number, row in enumerate(rows, 2) if len(row) != len(names)]
    require(bool(rows) and not short, "rows", f"must be rows of {len(names)} cells, in each line", short[:3])
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def of_arrays(path: pathlib.Path) -> ArrayLike:
    """Return the array of a .npy file, or of a .npz file `x`, or its arrays by name."""
    found = open_arrays(path)
    return found["x"] if "x" in found and set(found) <= {"x", "y"} else found


def open_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Return the arrays of a .npz file by name, and that of a .npy file as `x`."""
    try:
        with open(path, "rb") as file:
            found = np.load(file, allow_pickle=False)
            return {"x": found} if isinstance(found, np.ndarray) else {name: found[name] for name in found.files}
    except (EOFError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"rows must be a whole file of arrays without objects, got {str(path)!r}.") from error


def is_columns(rows: ArrayLike) -> bool:
    """Return whether rows are columns by name."""
    return isinstance(rows, (Mapping, Framed))


def say_left_out(data: Data, given: ArrayLike, inputs: Sequence[str]) -> None:
    """Log the columns that are given and are no inputs."""
    used = {data.name_in_source(name) for name in inputs} | set(inputs)
    others = [clipped(name) for name in names_of(given) if name not in used]
    if others:
        log.info("columns that are no inputs are left out: %s", ", ".join(others))


def names_of(given: ArrayLike) -> list[str]:
    """Return the names of columns; of a file only the names are read."""
    if not isinstance(given, str):
        return list(given.columns if isinstance(given, Framed) else given)
    if given.lower().endswith(".csv"):
        with open(given, newline="", encoding="utf-8-sig", errors="replace") as file:
            return next(csv.reader(file), [])
    return list(needs("pyarrow.parquet", "parquet").read_schema(given).names)


def require_inputs(model: keras.Model, data: Data, x: Inputs) -> Inputs:
    """Return inputs with numbers and texts where a model takes them, or refuse them.

    Args:
        model: The model, from raw inputs.
        data: The data of its run.
        x: An array, or columns by name.

    Returns:
        The same, with texts in arrays of objects, and only the columns that the model takes.

    Raises:
        ValueError: When they are not of the names, kinds and shapes that the model takes, or a number is not finite.

    Example:
        >>> from kopt.data import Digits
        >>> two = keras.Input((2,))
        >>> require_inputs(keras.Model(two, two), Digits(), np.zeros((1, 3)))
        Traceback (most recent call last):
        ValueError: rows must be of the shape (n, 2), got (1, 3).
    """
    wanted = model.input
    if not isinstance(wanted, Mapping):
        return as_taken(np.asarray(x), wanted, "rows", data.imputes)
    columns = x if isinstance(x, Mapping) else {}
    lacking = [clipped(data.name_in_source(name)) for name in wanted if name not in columns]
    require(not lacking, "rows", "must have the columns of all inputs: these are not there", lacking)
    taken = {name: as_taken(columns[name], one, f"column {name!r}", data.imputes) for name, one in wanted.items()}
    counts = sorted({len(column) for column in taken.values()})
    require(len(counts) == 1, "rows", "must have columns of equal length", counts)
    return taken


def as_taken(array: np.ndarray, wanted: keras.KerasTensor, name: str, imputes: bool) -> np.ndarray:
    """Return an array as an input takes it."""
    shape = tuple(wanted.shape[1:])
    column = shape == (1,) and array.ndim == 1
    fits = array.ndim == len(shape) + 1 and all(b in (None, a) for a, b in zip(array.shape[1:], shape))
    sizes = ", ".join("any" if size is None else str(size) for size in shape)
    require(column or fits, name, f"must be of the shape (n, {sizes})" if shape else "must be (n,)", array.shape)
    require(len(array) > 0, name, "must have a row or more", array.shape)
    if wanted.dtype == "string":
        require(array.dtype.kind in "OUT", name, "must hold texts", array.dtype.name)
        return array.astype(object)
    if array.dtype.kind in "OU":
        array = as_numbers(array, name)
    require(array.dtype.kind in "iufb", name, "must hold numbers", array.dtype.name)
    odd = int(np.sum(np.isinf(array) if imputes else ~np.isfinite(array)))
    require(odd == 0, name, "must be finite", f"{odd} that are not")
    return array


def as_numbers(array: np.ndarray, name: str) -> np.ndarray:
    """Return texts of numbers as float32."""
    try:
        return array.astype("float32")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold numbers, got texts ({error}).") from error
