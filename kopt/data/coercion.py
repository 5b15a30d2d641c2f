"""Coercion of the user's data to float32, texts and class numbers; other data are refused."""

import re
from collections.abc import Iterable, Mapping
from typing import Protocol, runtime_checkable

import numpy as np

from kopt.tasks.task import PlainTask
from kopt.values.checks import require
from kopt.values.texts import clipped
from kopt.values.types import ArrayLike

__all__ = ["WHOLE", "Framed", "as_inputs", "as_plain", "as_targets", "looks_like_classes"]

FEW = 20  # the most different whole numbers that count as classes
WHOLE = 2**24  # float32 does not hold all whole numbers beyond


@runtime_checkable
class Framed(Protocol):
    """A frame of pandas or polars, as far as it is read."""

    columns: Iterable[str]

    def __getitem__(self, name: str) -> "Series": ...


class Series(Protocol):
    """A column of a frame."""

    def to_numpy(self) -> np.ndarray: ...


def as_inputs(x: ArrayLike) -> ArrayLike:
    """Return inputs as float32 and texts.

    Args:
        x: Numbers of any shape, (n,) texts, or columns of either by name, as a dict or a pandas DataFrame.

    Returns:
        float32 of at least two dimensions, (n,) Python strings in an object array, or a dict of (n,) of both.

    Raises:
        ValueError: When x is of another kind, or float32 cannot hold its numbers.

    Example:
        >>> as_inputs({"size": [1, 2], "kind": ["a", "b"]})
        {'size': array([1., 2.], dtype=float32), 'kind': array(['a', 'b'], dtype=object)}

    Source:
        The inputs of `keras.Model.fit`.
    """
    if isinstance(x, Framed):
        x = {name: x[name].to_numpy() for name in x.columns}
    if isinstance(x, Mapping):
        require(len(x) > 0, "x", "must have columns", x)
        return {as_name(name): as_column(column, f"column {name!r} of x") for name, column in x.items()}
    x = as_plain(x, "x")
    if x.dtype.kind == "O":
        require(x.ndim == 1, "x", "must be one text a row, or columns by name", x.shape)
        return x
    require(x.ndim >= 1 and x[:1].size > 0, "x", "must have rows of one number or more", x.shape)
    return as_floats(x[:, None] if x.ndim == 1 else x, "x")


def as_name(name: object) -> str:
    """Return the name of a column, or refuse it when a layer cannot have it."""
    fits = isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9.][A-Za-z0-9_.-]*", name)
    require(bool(fits), "x", "must have columns called by letters, digits, dots, hyphens and underscores", name)
    return str(name)


def as_column(column: ArrayLike, name: str) -> np.ndarray:
    column = as_plain(column, name)
    column = column[:, 0] if column.ndim == 2 and column.shape[1] == 1 else column
    require(column.ndim == 1, name, "must be (n,)", column.shape)
    return column if column.dtype.kind == "O" else as_floats(column, name)


def as_plain(values: ArrayLike, name: str) -> np.ndarray:
    """Return an array of numbers, booleans, or Python strings.

    Args:
        values: The data of the user.
        name: Their name in errors.

    Returns:
        An array.

    Raises:
        ValueError: When the data hold dates, complex numbers, None, or a mixture.

    Example:
        >>> as_plain(["a", "b"], "y")
        array(['a', 'b'], dtype=object)
        >>> as_plain([None, "b"], "y")
        Traceback (most recent call last):
        ValueError: y must hold numbers or texts alone, got None.
    """
    require(not np.ma.is_masked(values), name, "must have no masked values", values)
    try:
        array = np.asarray(values)
    except ValueError as error:  # from NumPy, for lists of unequal lengths
        raise ValueError(f"{name} must be an array, or lists of equal lengths, got {clipped(repr(values))}.") from error
    if array.ndim == 1 and array.dtype.kind in "OT":
        array = np.array(array.tolist(), dtype=object)  # pandas' own kinds of texts and numbers as Python's
    if array.dtype.kind == "O" and array.size and all(is_number(one) for one in array.ravel()):
        array = as_numbers(array, name)
    if array.dtype.kind in "SU":
        array = (array if array.dtype.kind == "U" else as_texts(array, name)).astype(object)
    if array.dtype.kind == "O":
        other = [one for one in array.ravel() if not isinstance(one, str)]
        require(not other, name, "must hold numbers or texts alone", other[0] if other else None)
    require(array.dtype.kind in "iufbO", name, "must hold numbers or texts", array.dtype.name)
    require(array.ndim >= 1, name, "must be an array of rows", values)
    return array


def as_numbers(array: np.ndarray, name: str) -> np.ndarray:
    """Return Python's numbers as float64."""
    try:
        return array.astype("float64")
    except OverflowError as error:
        raise ValueError(f"{name} must hold numbers that a float can hold ({error}).") from error


def as_texts(array: np.ndarray, name: str) -> np.ndarray:
    """Return texts of bytes in UTF-8."""
    try:
        return np.char.decode(array, "utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} must hold texts in UTF-8, got {error.object[:20]!r}.") from error


def is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating))


def as_floats(array: np.ndarray, name: str) -> np.ndarray:
    """Return numbers as float32, or refuse those that float32 cannot hold."""
    if array.dtype.kind in "iu":
        most = int(np.abs(array.astype("float64")).max(initial=0))
        require(most <= WHOLE, name, f"must hold whole numbers up to {WHOLE}, for float32; give names as texts", most)
    finite = array[np.isfinite(array)] if array.dtype.kind == "f" else array
    most_float = float(np.abs(finite.astype("float64")).max(initial=0))
    limit = float(np.finfo("float32").max)
    require(most_float <= limit, name, f"must hold numbers up to {limit:.1e}, for float32", most_float)
    return array.astype("float32")


def looks_like_classes(y: np.ndarray) -> bool:
    """Return whether targets look like classes: texts, booleans, or up to 20 different whole numbers.

    Args:
        y: The result of `as_plain`.

    Returns:
        A bool; False for floating-point numbers.

    Example:
        >>> looks_like_classes(np.array([3, 1, 3])), looks_like_classes(np.arange(50))
        (True, False)
    """
    one = y.ndim == 1 or y.shape[1:] == (1,)
    return y.dtype.kind in "bO" or one and y.dtype.kind in "iu" and len(np.unique(y)) <= FEW


def as_targets(y: np.ndarray, task: PlainTask) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return targets as a task needs them.

    Args:
        y: The result of `as_plain`.
        task: "classification", "regression" or "forecast".

    Returns:
        (n,) int32 numbers of classes in sorted order, and the names of the classes; or float32 targets, and no names.

    Raises:
        ValueError: When the targets do not fit the task.

    Example:
        >>> as_targets(np.array([7, 5, 7]), "classification")
        (array([1, 0, 1], dtype=int32), ('5', '7'))
    """
    if task != "classification":
        require(y.dtype.kind != "O", "y", f"must be numbers for {task}", str(y[0]))
        require(y.ndim <= 2, "y", "must be (n,) or (n, k)", y.shape)
        y = y.astype("float64")  # whole numbers too large for float32 are rounded, as other numbers are
        return as_floats(y[:, None] if task == "forecast" and y.ndim == 1 else y, "y"), ()
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    require(y.ndim == 1, "y", "must be (n,) for classification, one class a row", y.shape)
    whole = y.dtype.kind in "iubO" or bool(np.all(np.isfinite(y)) and np.all(y == np.floor(y)))
    require(whole, "y", "must be whole numbers or texts for classification", y.dtype.name)
    kinds, numbers = np.unique(y if y.dtype.kind in "Ob" else y.astype("int64"), return_inverse=True)
    require(len(kinds) >= 2, "y", "must have two classes or more", [str(kind) for kind in kinds])
    return numbers.astype("int32"), tuple(map(str, kinds))
