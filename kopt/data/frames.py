"""Tables from what Python has in memory: pandas and polars frames, columns by name, rows; and from Parquet files."""

import datetime
import decimal
import os
import pathlib
from collections.abc import Mapping

import numpy as np

from kopt.data.base import checksum
from kopt.data.coercion import Framed
from kopt.data.table import Cells, Table, read_table
from kopt.values.checks import needs, require
from kopt.values.places import as_path
from kopt.values.types import ArrayLike

__all__ = ["read_parquet", "table_digest", "table_of"]

SINGLE = (str, bool, int, float, decimal.Decimal, datetime.date, np.generic)


def table_of(rows: ArrayLike, name: str = "frame") -> Table:
    """Return the table of rows in memory or in a file.

    Args:
        rows: A pandas or polars frame, columns by name, a list of dicts, or the path of a CSV or Parquet file.
        name: What it is called in errors.

    Returns:
        A table; of a frame the number of the first row is 0.

    Raises:
        ValueError: When the rows are none of these, or columns are not of equal length.

    Example:
        >>> table_of([{"size": 1.5, "kind": "a"}, {"size": 2.5}])[:2]
        (['size', 'kind'], [array([1.5, 2.5]), array(['a', None], dtype=object)])

    Source:
        `pandas.DataFrame`.
    """
    if isinstance(rows, (str, os.PathLike)):
        path = as_path(rows, name)
        return read_parquet(path) if path.suffix.lower() in (".parquet", ".pq") else read_table(path)
    if isinstance(rows, (list, tuple)) and rows and all(isinstance(row, Mapping) for row in rows):
        names = list(dict.fromkeys(key for row in rows for key in row))
        rows = {key: [row.get(key) for row in rows] for key in names}
    rule = "must be a pandas or polars frame, columns by name, a list of dicts, or the path of a CSV or Parquet file"
    lazy = type(rows).__name__ == "LazyFrame"
    require(not lazy and isinstance(rows, (Framed, Mapping)), name, rule, "a LazyFrame: collect() it" if lazy else rows)
    if isinstance(rows, Mapping):
        columns = {key: np.atleast_1d(as_array(column)) for key, column in rows.items()}
    else:
        names = list(rows.columns)
        again = sorted({str(one) for one in names if names.count(one) > 1})
        require(not again, name, "must have columns of different names", again)
        columns = {key: rows[key].to_numpy() for key in names}
    return table(columns, name)


def as_array(column: ArrayLike) -> np.ndarray:
    """Return a column as an array; a list with None or of several types as one of Python objects."""
    if isinstance(column, np.ndarray) or not isinstance(column, (list, tuple)):
        return np.asarray(column)
    plain = all(isinstance(one, (int, float)) for one in column)
    return np.array(column) if plain else np.array([*column, None], object)[:-1]


def table(columns: Mapping[str, np.ndarray], name: str) -> Table:
    """Return the table of arrays, after checks."""
    other = [key for key in columns if not isinstance(key, str)]
    require(not other and len(columns) > 0, name, "must have columns, whose names are texts", other)
    flat: list[Cells] = []
    for key, column in columns.items():
        column = column[:, 0] if column.ndim == 2 and column.shape[1] == 1 else column
        require(column.ndim == 1, f"column {key!r} of {name}", "must be (n,)", column.shape)
        require(not np.ma.is_masked(column), f"column {key!r} of {name}", "must have no masked values", column)
        odd = [one for one in column if one is not None and not fits(one)] if column.dtype.kind == "O" else []
        require(not odd, f"column {key!r} of {name}", "must hold numbers, texts or dates", odd[:1])
        flat.append(column)
    lengths = sorted({len(column) for column in flat})
    require(len(lengths) == 1, name, "must have columns of equal length", lengths)
    return Table(list(columns), flat, range(lengths[0]), "row")


def fits(one: object) -> bool:
    """Return whether an object can be a cell: a text, a number, a date, or what stands for none of these."""
    return isinstance(one, SINGLE) or type(one).__name__ in ("NAType", "NaTType")


def table_digest(given: Table) -> str:
    """Return the sha256 of the names, types and values of a table.

    Args:
        given: The table.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> one, other = table_of({"a": [1, 2]}), table_of({"b": [1, 2]})
        >>> table_digest(one) == table_digest(table_of({"a": [1, 2]})) != table_digest(other)
        True
    """
    columns = [np.asarray(column) for column in given.columns]
    columns = [column.astype("int64") if column.dtype.kind == "M" else column for column in columns]
    structure = repr([(name, np.asarray(column).dtype.str) for name, column in zip(given.names, given.columns)])
    # None and "None" have the same text: objects count with their types.
    kinds = [" ".join(type(one).__name__ for one in column) for column in columns if column.dtype.kind == "O"]
    return checksum(np.array([structure, *kinds]), *columns)


def read_parquet(path: pathlib.Path) -> Table:
    """Read the columns of a Parquet file.

    Args:
        path: The file.

    Returns:
        The table; the number of its first row is 0.

    Raises:
        ImportError: When pyarrow is not installed.
        ValueError: When the file is no Parquet file.

    Example:
        >>> read_parquet(pathlib.Path("no.parquet"))
        Traceback (most recent call last):
        ValueError: path must be of a file, got 'no.parquet'.

    Source:
        https://parquet.apache.org.
    """
    require(path.is_file(), "path", "must be of a file", str(path))
    arrow, parquet = needs("pyarrow", "parquet"), needs("pyarrow.parquet", "parquet")
    try:
        found = parquet.read_table(path)
    except (arrow.ArrowInvalid, OSError) as error:
        raise ValueError(
            f"path must be of a Parquet file, got {str(path)!r} ({str(error).splitlines()[0]})."
        ) from error
    columns = {}
    for name in found.column_names:
        column = found[name]
        columns[name] = (
            column.cast(column.type.value_type) if arrow.types.is_dictionary(column.type) else column
        ).to_numpy()
        found = found.drop_columns([name])
    return table(columns, "the file")
