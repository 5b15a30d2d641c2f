"""The commands `kopt predict` and `kopt evaluate`: from a file to a file, without pandas."""

import contextlib
import csv
import json
import logging
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterator, Mapping
from typing import IO

import numpy as np

from kopt.experiment.predict import evaluate, model_of, predictions, recipe_of
from kopt.values.checks import require, unknown
from kopt.values.places import as_path
from kopt.values.texts import clipped, printable

__all__ = ["evaluate_file", "predict_file"]

# The first bytes of files that are no text -> what their names end in.
STARTS = {
    b"\x93NUMPY": ".npy",
    b"PK\x03\x04": ".npz",
    b"PAR1": ".parquet",
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"GIF8": ".gif",
}


def predict_file(run: str, file: str, output: str = "-", format: str | None = None) -> None:
    """Predict the rows of a file, and write a line for each.

    Args:
        run: The folder of a run.
        file: As `rows` of `predict`; "-" for the standard input: CSV, a text a line for texts, or
            what one of the other files holds.
        output: A file; "-" for the standard output.
        format: "csv" or "jsonl"; when None, what the output ends in, and CSV on the standard output.

    Raises:
        ValueError: As for `predict`, or when output and format do not fit, or the output cannot be written.

    Example:
        >>> predict_file("nowhere", "rows.csv")
        Traceback (most recent call last):
        ValueError: folder must be a run's, with a recipe.json, got 'nowhere'.

    Source:
        See `predict`.
    """
    target = None if output == "-" else as_path(output, "output")
    write = WRITERS[format_of(target, format)]
    with said_aside(), given_file(run, file) as path:
        found = predictions(run, path)
    if target is None:
        write(sys.stdout, found)
        return
    try:
        aside = target.with_name(f".{target.name}")  # so that the file is whole, or as it was
        with open(aside, "w", newline="", encoding="utf-8") as place:
            write(place, found)
        aside.replace(target)
    except OSError as error:
        raise ValueError(f"output must be one that can be written, got {output!r} ({error.strerror}).") from error
    print(f"{len(next(iter(found.values())))} rows: {printable(target)}")


def format_of(target: pathlib.Path | None, format: str | None) -> str:
    """Return the format that is asked for, by its name or by what the output ends in; or refuse one of them."""
    if format is not None and format not in WRITERS:
        raise unknown("format", format, WRITERS)
    if target is None:
        return format or "csv"
    require(target.parent.is_dir(), "output", "must be - or a file in a folder that is there", str(target))
    ending = target.suffix.removeprefix(".")
    rule = "must end in .csv or .jsonl, or come with a format"
    require(format is not None or ending in WRITERS, "output", rule, str(target))
    rule = f"must be that of the output, {target.name}"
    require(format in (None, ending) or ending not in WRITERS, "format", rule, format)
    return format or ending


def evaluate_file(run: str, file: str) -> None:
    """Print the score and the loss of a run's model on the rows of a file.

    Args:
        run: The folder of a run.
        file: As `rows` of `evaluate`; "-" for the standard input.

    Raises:
        ValueError: As for `evaluate`.

    Example:
        >>> evaluate_file("nowhere", "rows.csv")
        Traceback (most recent call last):
        ValueError: folder must be a run's, with a recipe.json, got 'nowhere'.

    Source:
        See `evaluate`.
    """
    with said_aside(), given_file(run, file) as path:
        found = evaluate(run, path)
    for name, value in found.items():
        print(f"{clipped(name):14} {value if isinstance(value, int) else f'{value:.6g}'}")


@contextlib.contextmanager
def given_file(run: str, file: str) -> Iterator[str]:
    """Give the path of a file; of a temporary one with what is read from the standard input for "-"."""
    if file != "-":
        yield file
        return
    content, model, data = sys.stdin.buffer.read(), model_of(run), recipe_of(run).data
    lines = not isinstance(model.input, Mapping) and model.input.dtype == "string" and data.text_column is None
    plain = ".txt" if lines or data.task == "language" else ".csv"
    ending = next((known for start, known in STARTS.items() if content.startswith(start)), plain)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / f"rows{ending}"
        path.write_bytes(content)
        yield os.fspath(path)


@contextlib.contextmanager
def said_aside() -> Iterator[None]:
    """Print kopt's log lines on the standard error within the block, beside the rows on the standard output."""
    log, handler = logging.getLogger("kopt"), logging.StreamHandler(sys.stderr)
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def write_csv(file: IO[str], columns: Mapping[str, np.ndarray]) -> None:
    """Write columns as CSV; numbers with nine digits, as many as float32 has."""
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(columns)
    rows.writerows(zip(*(map(cell, column.tolist()) for column in columns.values())))


def write_jsonl(file: IO[str], columns: Mapping[str, np.ndarray]) -> None:
    """Write columns as a JSON object a line; a number that is none is null."""
    for row in zip(*(column.tolist() for column in columns.values())):
        cells = {name: None if one != one else one for name, one in zip(columns, row)}
        file.write(json.dumps(cells, ensure_ascii=False) + "\n")


WRITERS = {"csv": write_csv, "jsonl": write_jsonl}


def cell(one: object) -> str:
    if one is None or one != one:
        return ""
    return f"{one:.9g}" if isinstance(one, float) else str(one)
