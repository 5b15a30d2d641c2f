"""What the page says of each trial: its score, its values, its time and its size."""

import dataclasses
import datetime
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from optuna.trial import FrozenTrial, TrialState

from kopt.tuning.search.oracle import StudyOracle
from kopt.tuning.search.records import TrialRecord, is_surplus
from kopt.tuning.trial.objectives import directions
from kopt.values.types import ParameterValue

__all__ = ["Entry", "Running", "duration_text", "entries_of", "number_text", "start_of", "under_way"]


@dataclasses.dataclass(frozen=True)
class Entry:
    """A trial that has a score, as the page shows it.

    Args:
        number: Its number.
        state: How it ended: "complete" or "pruned".
        scores: The value of each objective at its best epoch.
        epoch: The number of that epoch, from 1.
        values: Name -> value of each hyperparameter.
        seconds: How long it took; None when the study does not say.
        parameters: How many parameters its model had; None when kopt did not train it.
        enqueued: Whether the user gave its values.
        kept: Whether its checkpoint is in the folder of the search.

    Example:
        >>> Entry(0, "complete", (0.5,), 3, {"rate": 0.1}, 2.0, None, False, True).scores
        (0.5,)
    """

    number: int
    state: str
    scores: tuple[float, ...]
    epoch: int
    values: Mapping[str, ParameterValue]
    seconds: float | None
    parameters: int | None
    enqueued: bool
    kept: bool


def entries_of(oracle: StudyOracle) -> list[Entry]:
    """Return the trials of a search that have a score, the best first.

    Args:
        oracle: The oracle of the search.

    Example:
        >>> import tempfile
        >>> from kopt.tuning.tuner import Tuner
        >>> class Search(Tuner):
        ...     def run_trial(self, trial, **_):
        ...         return trial.hyperparameters.Choice("units", [16, 64])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tuner = Search(max_trials=2, directory=folder)
        ...     tuner.search(verbose=0)
        ...     [(one.scores, one.values) for one in entries_of(tuner.oracle)]
        [((16.0,), {'units': 16}), ((64.0,), {'units': 64})]
    """
    names, ranking = list(directions(oracle.objective)), oracle.ranking()
    known = {str(one.number): one for one in oracle.study.get_trials(deepcopy=False)}
    found = []
    for trial in ranking:
        one = known[trial.trial_id]
        record, weights = TrialRecord.of(one), oracle.folder.trial(trial.trial_id) / "checkpoint.weights.h5"
        scores = tuple(float(trial.metrics.get_best_value(name)) for name in names)
        ended, values = (one.number, one.state.name.lower()), dict(trial.hyperparameters.values)
        size = (seconds_of(one), record.parameters)
        found.append(Entry(*ended, scores, trial.best_step + 1, values, *size, bool(record.start), is_file(weights)))
    return found


def is_file(path: pathlib.Path) -> bool:
    return path.is_file()


def seconds_of(one: FrozenTrial) -> float | None:
    """Return how long a trial took; of one that was begun again, its last try."""
    return None if one.duration is None else one.duration.total_seconds()


class Running(NamedTuple):
    """A trial that runs: its number, its last step, the value that it reported there, and seconds since it began."""

    number: int
    step: int
    value: float | None
    seconds: float | None


def start_of(entries: Sequence[Entry]) -> tuple[str, Entry] | None:
    """Return the trial that the search began with, and what to call it; None where no complete one is that.

    Args:
        entries: The trials of the search.

    Returns:
        The first complete one that the user enqueued, else the first complete one.

    Example:
        >>> start_of([]) is None
        True
    """
    complete = sorted((one for one in entries if one.state == "complete"), key=lambda one: one.number)
    if not complete:
        return None
    enqueued = [one for one in complete if one.enqueued]
    return ("the start that was enqueued", enqueued[0]) if enqueued else ("the first trial", complete[0])


def median_of(entries: Sequence[Entry]) -> float:
    """Return the median of the first objective over the complete trials."""
    return statistics.median(one.scores[0] for one in entries if one.state == "complete")


def under_way(oracle: StudyOracle) -> list[Running]:
    """Return the trials that run; those whose process has ended are left out.

    Args:
        oracle: The oracle of the search.

    Example:
        >>> import tempfile
        >>> from kopt.tuning.tuner import Tuner
        >>> class Search(Tuner):
        ...     def run_trial(self, trial, **_):
        ...         return trial.hyperparameters.Float("x", 0, 1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     under_way(Search(max_trials=1, directory=folder).oracle)
        []
    """
    now, found = datetime.datetime.now(), []
    begun = oracle.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    lost = {one.number for locks in oracle.retries.locks for one in locks.lost(begun)}
    for one in begun:
        if not is_surplus(one) and one.number not in lost:
            step = one.last_step or 0
            value = one.intermediate_values.get(step)
            since = None if one.datetime_start is None else (now - one.datetime_start).total_seconds()
            found.append(Running(one.number, step, value, since))
    return found


def number_text(value: object, digits: int = 4) -> str:
    """Return a value of a hyperparameter or a score as a short text; whole numbers have all their digits.

    Args:
        value: A number, a text, True, False or None.
        digits: Of a number with a point.

    Example:
        >>> number_text(0.123456), number_text(64), number_text(335900.0), number_text("adam")
        ('0.1235', '64', '335,900', 'adam')
    """
    if not isinstance(value, float):
        return str(value)
    counts = value.is_integer() and 10**digits <= abs(value) < 1e12
    return f"{value:,.0f}" if counts else f"{value:.{digits}g}"


def duration_text(seconds: float | None) -> str:
    """Return a duration with its unit.

    Args:
        seconds: The duration; None when it is not known.

    Example:
        >>> duration_text(0.25), duration_text(75.0), duration_text(8000.0), duration_text(None)
        ('0.2 s', '1 min 15 s', '2 h 13 min', '-')
    """
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    return f"{minutes} min {seconds % 60:.0f} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
