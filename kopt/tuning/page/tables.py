"""The tables of the page: the trials with their scores, times and sizes; those that run; those that failed."""

import html
from collections.abc import Sequence

from optuna.trial import TrialState

from kopt.tuning.page.names import breakable, shortened
from kopt.tuning.page.trials import Entry, duration_text, number_text, under_way
from kopt.tuning.search.oracle import StudyOracle
from kopt.tuning.search.records import TrialRecord, is_surplus
from kopt.tuning.trial.objectives import directions
from kopt.values.texts import clipped

__all__ = ["failures", "running", "trials_table"]

ROWS = 50
ERRORS = 20


def table(rows: Sequence[Sequence[str]], titles: Sequence[str] = (), kind: str = "") -> str:
    """Return an HTML table; the first row is its head, and titles are shown when the mouse is on a row."""
    cells = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    cells[0] = "".join(f"<th title='{html.escape(cell)}'>{breakable(shortened(cell))}</th>" for cell in rows[0])
    shown = ["", *titles] if titles else [""] * len(cells)
    lines = (f"<tr title='{html.escape(title)}'>{row}</tr>" for row, title in zip(cells, shown))
    return f"<div class='table {kind}'><table>{''.join(lines)}</table></div>"


def trials_table(oracle: StudyOracle, entries: Sequence[Entry], columns: Sequence[str]) -> str:
    """Return the table of the best trials: scores, epoch, state, time, size and values.

    Args:
        oracle: The oracle of the search, for the names of its objectives.
        entries: The trials, the best first.
        columns: The names of the hyperparameters to show.

    Returns:
        HTML; the table is scrolled within its own frame where it is wider than the window.

    Example:
        >>> import keras_tuner, types
        >>> oracle = types.SimpleNamespace(objective=keras_tuner.Objective("val_loss", "min"))
        >>> "1,024" in trials_table(oracle, [Entry(4, "complete", (0.2,), 3, {}, 2.0, 1024, False, True)], [])
        True
    """
    sized = any(one.parameters is not None for one in entries)
    size = ["parameters"] if sized else []
    rows = [["", "trial", *directions(oracle.objective), "epoch", "state", "time", *size, *columns]]
    for place, one in enumerate(entries[:ROWS], 1):
        scores = [number_text(value, digits=5) for value in one.scores]
        size = ["-" if one.parameters is None else f"{one.parameters:,}"] if sized else []
        values = [number_text(one.values[name]) if name in one.values else "" for name in columns]
        took = duration_text(one.seconds)
        rows.append([str(place), str(one.number), *scores, str(one.epoch), one.state, took, *size, *values])
    more = f"<p>The best {ROWS} of {len(entries)} trials.</p>" if len(entries) > ROWS else ""
    titles = ["\n".join(f"{name} {number_text(value)}" for name, value in one.values.items()) for one in entries[:ROWS]]
    return table(rows, titles) + more


def running(oracle: StudyOracle) -> str:
    """Return the table of the trials that run.

    Args:
        oracle: The oracle of the search.

    Returns:
        HTML; an empty text when none runs.

    Example:
        >>> import tempfile
        >>> from kopt.tuning.tuner import Tuner
        >>> class Search(Tuner):
        ...     def run_trial(self, trial, **_):
        ...         return trial.hyperparameters.Float("x", 0, 1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     running(Search(max_trials=1, directory=folder).oracle)
        ''
    """
    found = under_way(oracle)
    if not found:
        return ""
    rows = [["trial", "epoch", "score there", "for"]]
    for number, step, value, seconds in found:
        reached = "-" if value is None else number_text(value)
        rows.append([str(number), str(step or "-"), reached, duration_text(seconds)])
    return f"<h2>Running</h2>{table(rows)}"


def failures(oracle: StudyOracle) -> str:
    """Return the trials that failed, with the last line of each error, folded.

    Args:
        oracle: The oracle of the search.

    Returns:
        HTML; an empty text when none failed.

    Example:
        >>> import optuna, types
        >>> failures(types.SimpleNamespace(study=optuna.create_study()))
        ''
    """
    failed = oracle.study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
    records = {one.number: TrialRecord.of(one).error for one in failed if not is_surplus(one)}
    if not records:
        return ""
    rows = [["trial", "error"]]
    for number, error in list(records.items())[-ERRORS:]:
        rows.append([str(number), clipped((error or "its process has ended").strip().splitlines()[-1])])
    return f"<details><summary>Failed trials ({len(records)})</summary>{table(rows, kind='errors')}</details>"
