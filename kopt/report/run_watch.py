"""Watch runs: a table of all that are in a folder, those at work too, shown again until Ctrl-C."""

import itertools
import os
import pathlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import rich.box
import rich.console
import rich.live
import rich.table
import rich.text

from kopt.report.progress import read_progress
from kopt.report.run_finder import find
from kopt.report.run_folder import UNFINISHED, deserted, has_checkpoint
from kopt.report.run_reader import read_run_text
from kopt.report.run_texts import RunText
from kopt.report.unfinished import is_finished
from kopt.values.checks import require
from kopt.values.places import as_path, stays_in
from kopt.values.texts import clipped

__all__ = ["Row", "rows_of", "watch_runs"]

COLUMNS = ("run", "state", "epoch", "score", "best", "time", "left")
NONE = "-"


class Row(NamedTuple):
    """A run in the table; all fields are texts, and `left` is what is left of its training."""

    run: str
    state: str
    epoch: str
    score: str
    best: str
    time: str
    left: str

    def sentence(self) -> str:
        """Return the row as a line."""
        parts = [self.state, f"epoch {self.epoch}", self.score, f"best {self.best}", self.time, f"left {self.left}"]
        return f"{self.run}: " + ", ".join(part for part in parts if not part.endswith(NONE))


def rows_of(folder: str | os.PathLike[str]) -> list[Row]:
    """Return a row for each run in a folder, finished, at work or ended; those at work come last.

    Args:
        folder: The folder with a folder for each recipe.

    Returns:
        The rows: of a finished run with the score on the test split, else with that on the validation split so far.

    Raises:
        ValueError: When there is no such folder.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     rows_of(root)
        []
    """
    finished = [row_of(run) for run in find(folder, "folder", read_run_text)[0]]
    others = [row_of_place(place) for place in places_at_work(as_path(folder))]
    known = {row.run for row in others}
    return [row for row in finished if row.run not in known] + sorted(others, key=lambda row: row.state == "running")


def places_at_work(root: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yield the folders of runs that are not at their end: under way, or left by a killed process."""
    for place in sorted(root.glob("*/*")):
        begun = place.name.startswith(UNFINISHED) or read_progress(place) is not None
        if begun and stays_in(place, root) and (place / "recipe.json").is_file() and not is_finished(place):
            yield place


def row_of_place(place: pathlib.Path) -> Row:
    """Return the row of a run that is not at its end."""
    name = f"{place.parent.name}/{place.name.removeprefix(UNFINISHED)}"
    resumable = ", can go on" if has_checkpoint(place) else ""
    state, found = f"killed{resumable}" if deserted(place) else "running", read_progress(place)
    if found is None:
        return Row(name, state, NONE, NONE, NONE, NONE, NONE)
    score, best = (NONE if one is None else f"{one:.4f}" for one in (found.score, found.best))
    left = duration(found.left) if state == "running" else NONE
    named = score if score == NONE else f"val_{found.metric} {score}"
    return Row(name, state, f"{found.epoch} of {found.epochs}", named, best, duration(found.seconds), left)


def row_of(run: RunText) -> Row:
    """Return the row of a run that has results."""
    results, epochs = run.metrics, str(len(run.history["loss"]))
    state = "unfinished" if "unfinished" in results else "finished"
    score = NONE if results["value"] is None else f"test {results['metric']} {results['value']:.4f}"
    return Row(f"{run.recipe.name}/{run.folder.name}", state, epochs, score, NONE, duration(results["seconds"]), NONE)


def duration(seconds: float) -> str:
    """Return a duration as hours, minutes and seconds."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def watch_runs(folder: str | os.PathLike[str], *, every: float = 1.0, times: int | None = None) -> None:
    """Show the runs in a folder again and again until Ctrl-C: as a table, or as lines where there is no terminal.

    Args:
        folder: The folder with a folder for each recipe.
        every: Seconds between two looks, > 0.
        times: How often to look; None for until Ctrl-C.

    Raises:
        ValueError: When there is no such folder.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     watch_runs(root, times=1)
        no runs yet

    Source:
        `watch`, `rich.live`.
    """
    require(every > 0, "every", "must be > 0", every)
    looks = itertools.count() if times is None else range(times)
    try:
        if sys.stdout.isatty():
            console = rich.console.Console()
            with rich.live.Live(table_of(rows_of(folder)), console=console, auto_refresh=False) as live:
                for _ in waiting(looks, every):
                    live.update(table_of(rows_of(folder)), refresh=True)
        else:
            before: list[Row] | None = None
            for _ in waiting(looks, every):
                before = print_changes(before, rows_of(folder))
    except KeyboardInterrupt:
        return


def waiting(looks: "itertools.count[int] | range", every: float) -> Iterator[int]:
    """Yield the numbers of looks, with a pause before each but the first."""
    for number in looks:
        if number:
            time.sleep(every)
        yield number


def table_of(rows: Sequence[Row]) -> rich.table.Table | rich.text.Text:
    """Return the table of runs, without markup and control characters."""
    if not rows:
        return rich.text.Text("no runs yet")
    table = rich.table.Table(*COLUMNS, box=rich.box.SIMPLE)
    for row in rows:
        style = "bold" if row.state == "running" else None
        table.add_row(*(rich.text.Text(clipped(cell)) for cell in row), style=style)
    return table


def print_changes(before: Sequence[Row] | None, rows: list[Row]) -> list[Row]:
    """Print a line for each run in which more than the time has changed, and return the rows."""
    if not rows and before is None:
        print("no runs yet", flush=True)
    known = {row.run: row for row in before or ()}
    for row in rows:
        last = known.get(row.run)
        if last is None or (last.state, last.epoch, last.score) != (row.state, row.epoch, row.score):
            print(clipped(row.sentence()), flush=True)
    return rows
