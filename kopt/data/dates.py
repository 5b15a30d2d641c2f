"""Dates of a table: texts become points in time, and these become numbers that a model can use."""

import datetime
import re
from collections.abc import Collection, Sequence

import numpy as np

from kopt.values.checks import needs

__all__ = ["ZONED", "are_iso", "date_numbers", "has_times", "iso_dates", "parsed_dates"]

TIME = r"[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?"
ISO = re.compile(rf"\s*\d{{4}}-\d\d-\d\d({TIME})?\s*", re.ASCII)
ZONED = re.compile(rf"\s*\d{{4}}-\d\d-\d\d{TIME}(Z|[+-]\d\d:?\d\d)\s*", re.ASCII)
DAY = np.timedelta64(1, "D")


def are_iso(cells: Collection[str]) -> bool:
    """Return whether all cells are dates as 2026-01-31, or with a time as 2026-01-31T10:00 or 2026-01-31T10:00+01:00.

    Args:
        cells: Different cells of a table.

    Returns:
        A bool; False when there are no cells.

    Example:
        >>> are_iso(["2026-01-31", "2026-01-31 10:00"]), are_iso(["2026-02-31"]), are_iso(["31.01.2026"])
        (True, False, False)
    """
    written = bool(cells) and all(ISO.fullmatch(cell) or ZONED.fullmatch(cell) for cell in cells)
    return written and len(iso_dates(cells)) == len(cells)


def iso_dates(cells: Collection[str]) -> dict[str, np.datetime64]:
    """Return the point in time of each cell that is an ISO date; with an offset, in UTC.

    Args:
        cells: Different cells.

    Returns:
        Cell -> datetime64 in microseconds, without the other cells.

    Example:
        >>> iso_dates(["2026-01-31T00:30+01:00", "about 2026"])
        {'2026-01-31T00:30+01:00': np.datetime64('2026-01-30T23:30:00.000000')}
    """
    written = [cell for cell in cells if ISO.fullmatch(cell)]
    try:
        points = list(np.array([cell.strip() for cell in written], "datetime64[us]"))
    except ValueError:  # one of them is on no calendar: 2026-02-31
        points = [point_of(cell.strip()) for cell in written]
    found = {cell: point for cell, point in zip(written, points) if point is not None}
    return found | {cell: point for cell in cells if ZONED.fullmatch(cell) and (point := zoned(cell)) is not None}


def zoned(cell: str) -> np.datetime64 | None:
    """Return the point in time, in UTC, of a text with an offset, or None when it is on no calendar."""
    try:
        point = datetime.datetime.fromisoformat(cell.strip())
        return np.datetime64(point.astimezone(datetime.UTC).replace(tzinfo=None), "us")
    except (ValueError, OverflowError):
        return None


def point_of(cell: str) -> np.datetime64 | None:
    try:
        return np.datetime64(cell, "us")
    except ValueError:
        return None


def parsed_dates(cells: Collection[str], pattern: str = "") -> dict[str, np.datetime64]:
    """Return the point in time of each cell that is a date; of another time zone, in UTC.

    Args:
        cells: Different cells.
        pattern: How they are written, as for `datetime.strptime`; empty for ISO dates, and for what pandas reads in one
            way alone.

    Returns:
        Cell -> datetime64 in microseconds, without the cells that are no dates, or two: 1/2/2026.

    Raises:
        ImportError: When the dates are not of ISO and pandas is not installed.

    Example:
        >>> parsed_dates(["2026-01-31", "none"])
        {'2026-01-31': np.datetime64('2026-01-31T00:00:00.000000')}
        >>> parsed_dates(["1/2/2026", "31/1/2026"])
        {'31/1/2026': np.datetime64('2026-01-31T00:00:00.000000')}
        >>> parsed_dates(["1/2/2026"], "%d/%m/%Y")
        {'1/2/2026': np.datetime64('2026-02-01T00:00:00.000000')}

    Source:
        `pandas.to_datetime`.
    """
    found = {} if pattern else iso_dates(cells)
    others = [cell for cell in cells if cell not in found]
    if others and (pattern or any(any(map(str.isdigit, cell)) for cell in others)):
        found |= by_pandas(others, pattern)
    return found


def by_pandas(cells: Sequence[str], pattern: str) -> dict[str, np.datetime64]:
    """Return what pandas reads in the same way whether the day or the month comes first."""
    to_datetime = needs("pandas", "recipes").to_datetime
    read = [
        to_datetime(list(cells), format=pattern or "mixed", dayfirst=first and not pattern, utc=True, errors="coerce")
        .tz_localize(None)
        .to_numpy()
        .astype("datetime64[us]")
        for first in (False, True)
    ]
    return {cell: one for cell, one, other in zip(cells, *read) if one == other}


def has_times(points: np.ndarray) -> bool:
    """Return whether some points in time are not midnight.

    Args:
        points: datetime64.

    Returns:
        A bool.

    Example:
        >>> has_times(np.array(["2026-01-31T10:00"], "datetime64[us]"))
        True
    """
    there = points[~np.isnat(points)]
    return bool(np.any(there != there.astype("datetime64[D]")))


def date_numbers(name: str, points: np.ndarray, *, times: bool) -> dict[str, np.ndarray]:
    """Return the numbers of points in time: year, month (1 to 12), weekday (Monday is 0) and days since 1970.

    Args:
        name: The name of the column.
        points: (n,) datetime64, NaT where it is missing.
        times: Whether the hour of the day counts too, from 0 to below 24, with its minutes as a part of it.

    Returns:
        Name -> (n,) float64, NaN where the point is missing; the days have the time of day as a part of them.

    Example:
        >>> date_numbers("when", np.array(["2026-01-31T06:00"], "datetime64[us]"), times=False)
        {'when.year': array([2026.]), 'when.month': array([1.]), 'when.weekday': array([5.]), 'when.days': ...
    """
    day = points.astype("datetime64[D]")
    found = {
        "year": points.astype("datetime64[Y]").astype("int64") + 1970.0,
        "month": points.astype("datetime64[M]").astype("int64") % 12 + 1.0,
        "weekday": (day.astype("int64") + 3) % 7 + 0.0,  # 1970 began on a Thursday
        "days": (points - np.datetime64(0, "us")) / DAY,
    }
    found |= {"hour": (points - day) / DAY * 24} if times else {}
    return {f"{name}.{part}": np.where(np.isnat(points), np.nan, values) for part, values in found.items()}
