"""Report: the page of a search: what won, what mattered, the trials, and the rest folded."""

import datetime
import html
import os
import pathlib
import warnings
from collections.abc import Collection, Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from kopt.tuning.importances import Importances
from kopt.tuning.page.charts import bars
from kopt.tuning.page.figures import curves, front, history, parameter_scales, slices
from kopt.tuning.page.relations import pairs, parallel
from kopt.tuning.page.style import STYLE, reload_script
from kopt.tuning.page.tables import failures, running, trials_table
from kopt.tuning.page.trials import Entry, entries_of
from kopt.tuning.page.winner import front_winners, winner
from kopt.tuning.search.oracle import StudyOracle
from kopt.tuning.search.records import is_surplus, without_attributes
from kopt.tuning.space.distributions import Dimension
from kopt.tuning.trial.objectives import directions
from kopt.values.checks import require
from kopt.values.types import ParameterValue

__all__ = ["importances_of", "with_values", "write_report"]

BARS = 30  # hyperparameters whose importance is shown
PLOTTED = 10  # the most important hyperparameters: plotted against the result, and in the table


def write_report(oracle: StudyOracle, *, live: bool = False, empty: bool = False) -> pathlib.Path:
    """Write the page of a search.

    Args:
        oracle: The oracle of the search.
        live: Whether the page loads itself again every 5 s, for a search that is at work.
        empty: Whether the search may have no complete trial yet.

    Returns:
        The file, report.html in the folder of the search; the page needs no network and no other file.

    Raises:
        ValueError: When no trial is complete and the page may not be empty.

    Example:
        >>> import tempfile
        >>> from kopt.tuning.tuner import Tuner
        >>> class Search(Tuner):
        ...     def run_trial(self, trial, **_):
        ...         return trial.hyperparameters.Float("x", 0, 1) + trial.hyperparameters.Float("y", 0, 1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tuner = Search(max_trials=3, directory=folder)
        ...     tuner.search(verbose=0)
        ...     text = write_report(tuner.oracle).read_text()
        >>> "Parallel coordinates" in text, "<script" in text
        (True, False)

    Source:
        `optuna.visualization`.
    """
    complete = oracle.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    require(bool(complete) or empty, "report()", "must have a complete trial", len(complete))
    title = html.escape(f"Search {oracle.folder.path.name}")
    parts = [f"<h1>{title}</h1><p>{html.escape(summary(oracle))}</p>"]
    if live:
        parts.append(f"<p>At work; written at {datetime.datetime.now():%H:%M:%S}, and loaded again every 5 s.</p>")
    parts += [running(oracle), *(content(oracle, complete) if complete else ()), failures(oracle)]
    head = "<meta charset='utf-8'><meta name='viewport' content='width=device-width, initial-scale=1'>"
    head += f"<title>{title}</title><style>{STYLE}</style>"
    body = "".join(parts) + (reload_script() if live else "")
    page = f"<!DOCTYPE html><html lang='en'><head>{head}</head><body>{body}</body></html>"
    return written(oracle.folder.path / "report.html", page)


def written(file: pathlib.Path, text: str) -> pathlib.Path:
    """Write a file whole, for several processes may write it while a browser reads it."""
    part = file.with_name(f".{file.name}.{os.getpid()}")
    part.write_text(text, encoding="utf-8")
    part.replace(file)
    return file


def content(oracle: StudyOracle, complete: Sequence[FrozenTrial]) -> list[str]:
    """Return the parts of the page of a search that has complete trials: winner, charts, table, what is folded."""
    ways = directions(oracle.objective)
    (name, way), several = next(iter(ways.items())), len(ways) > 1
    shares = importances_of(oracle.study) if len(complete) >= 2 else {}
    order = different(complete, shares)
    study, entries = with_values(oracle, only=order[:PLOTTED]), entries_of(oracle)
    scales = parameter_scales(study, order[:PLOTTED])
    shown = [parallel(study, scales, name, way)] if scales else []
    shown += [front(study, ways)] if several else []
    shown += [importance_bars(shares)] if shares and order else []
    shown += [history(study, name, way), "" if several else curves(study, oracle.study, name, way)]
    folded = [
        ("Pairs of hyperparameters, and contours of the rank", pairs(study, scales, name, way)),
        ("Each hyperparameter alone", slices(study, scales, name, way)),
    ]
    return [
        front_winners(entries, ways, len(study.best_trials)) if several else winner(entries, name, way),
        f"<h2>What mattered</h2><div class='charts'>{''.join(shown)}</div>",
        f"<h2>Trials</h2><p>{left_out(len(order))}</p>{trials_table(oracle, entries, columns(oracle, entries, order))}",
        *(fold(title, charts) for title, charts in folded if charts),
    ]


def fold(title: str, charts: Sequence[str]) -> str:
    """Return charts that are shown when their title is clicked."""
    return f"<details><summary>{title}</summary><div class='charts'>{''.join(charts)}</div></details>"


def importance_bars(shares: Mapping[str, float]) -> str:
    """Return the chart of the most important hyperparameters."""
    most = dict(list(shares.items())[:BARS])
    return bars("Importances (PED-ANOVA)", most, "share of the differences between trials that it explains")


def columns(oracle: StudyOracle, entries: Sequence[Entry], order: Sequence[str]) -> list[str]:
    """Return the hyperparameters of the table: all, or the most important ones of many."""
    asked = list(dict.fromkeys(name for one in entries for name in one.values))
    if len(asked) <= PLOTTED:
        return asked
    space = {(hp.name, str(hp.conditions)): hp for one in oracle.ranking() for hp in one.hyperparameters.space}
    known = {found.name: found.hp.name for found in map(oracle.dimension, space.values()) if found is not None}
    return list(dict.fromkeys(known[name] for name in order if name in known))[:PLOTTED]


def different(complete: Collection[FrozenTrial], shares: Mapping[str, float]) -> list[str]:
    """Return the names of the hyperparameters that had several values, the most important first."""
    values: dict[str, set[ParameterValue]] = {}
    for one in complete:
        for name, value in one.params.items():
            values.setdefault(name, set()).add(value)
    several = sorted(name for name, found in values.items() if len(found) > 1)
    return [name for name in shares if name in several] + [name for name in several if name not in shares]


def left_out(count: int) -> str:
    """Return a sentence on the hyperparameters that the page leaves out; an empty text when it shows all."""
    if count <= PLOTTED:
        return ""
    return (
        f"Of {count} hyperparameters that had several values, the {PLOTTED} most important ones are plotted and in the "
        f"table, and {min(count, BARS)} have a bar; a trial's number shows all its values when the mouse is on it, and "
        "tuner.importances() has all."
    )


def with_values(oracle: StudyOracle, only: Collection[str] | None = None) -> optuna.Study:
    """Copy a study, with values in place of the indices that Optuna recorded.

    Args:
        oracle: The oracle of the search.
        only: The hyperparameters to copy; None for all.

    Returns:
        A study in memory with the same trial numbers; trials without a result are empty, failed trials.

    Example:
        >>> import tempfile
        >>> from kopt.tuning.tuner import Tuner
        >>> class Search(Tuner):
        ...     def run_trial(self, trial, **_):
        ...         return trial.hyperparameters.Choice("units", [16, 64, 256])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tuner = Search(max_trials=4, directory=folder)
        ...     tuner.search(verbose=0)
        ...     {one.params["units"] == one.value for one in with_values(tuner.oracle).trials}
        {True}
    """
    oracle.refresh()
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        found = optuna.create_study(directions=oracle.study.directions)
    finally:
        optuna.logging.set_verbosity(level)
    for one in oracle.study.get_trials(deepcopy=False):
        ended = one.state == TrialState.COMPLETE or one.state == TrialState.PRUNED and one.values
        found.add_trial(copied(oracle, one, only) if ended else optuna.create_trial(state=TrialState.FAIL))
    return found


def copied(oracle: StudyOracle, one: FrozenTrial, only: Collection[str] | None) -> FrozenTrial:
    """Return a copy of a trial with values in place of indices, for some of its hyperparameters."""
    new = without_attributes(one)
    kept = [name for name in one.params if only is None or name in only]
    new.params, new.distributions = ({name: of[name] for name in kept} for of in (one.params, one.distributions))
    trial = oracle.trials.get(str(one.number))
    params, distributions = new.params, new.distributions
    for hp in trial.hyperparameters.space if trial else ():
        asked = any(name.startswith(hp.name) for name in params)  # in Optuna the conditions follow the name
        found = oracle.dimension(hp) if asked else None
        if found is not None and found.name in params:
            params[found.name], distributions[found.name] = found.value(params[found.name]), shown(found)
    new.params, new.distributions = params, distributions
    return new


def shown(found: Dimension) -> BaseDistribution:
    """Return the distribution of a dimension's values, for plots."""
    if found.grid is not None:
        return CategoricalDistribution(found.grid)
    if found.hp.__class__.__name__ == "Float" and found.hp.sampling == "reverse_log":
        return FloatDistribution(found.hp.min_value, found.hp.max_value)
    return found.distribution


def importances_of(study: optuna.Study) -> Importances:
    """Return the share of the differences between results that each hyperparameter explains.

    Args:
        study: A study with two complete trials or more.

    Returns:
        Name, with its conditions -> share, the greatest first; with several objectives, for the first one.

    Raises:
        ValueError: When fewer than two trials are complete.

    Example:
        >>> import optuna
        >>> study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
        >>> for _ in range(30):
        ...     trial = study.ask()
        ...     study.tell(trial, trial.suggest_float("matters", 0, 1) + 0 * trial.suggest_float("does_not", 0, 1))
        FrozenTrial(...
        >>> next(iter(importances_of(study)))
        'matters'

    Source:
        Watanabe et al., PED-ANOVA, 2023; `optuna.importance`.
    """
    complete = len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
    require(complete >= 2, "importances()", "must have two complete trials or more", complete)
    sign = -1 if study.directions[0] == StudyDirection.MAXIMIZE else 1
    target = None if len(study.directions) == 1 else lambda trial: sign * trial.values[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # PED-ANOVA warns of low targets, and of few trials.
        for notice in ("PedAnovaImportanceEvaluator computes", "Some regimes for parameter"):
            warnings.filterwarnings("ignore", notice, UserWarning)
        found = optuna.importance.get_param_importances(study, target=target)
    total = sum(found.values()) or 1.0
    ranked = sorted(found.items(), key=lambda one: (-one[1], one[0]))
    return Importances({name: float(share) / total for name, share in ranked})


def summary(oracle: StudyOracle) -> str:
    """Return a sentence on the objectives, and on how many trials are in each state."""
    trials = [one for one in oracle.study.get_trials(deepcopy=False) if not is_surplus(one)]
    counts = {state: sum(one.state == state for one in trials) for state in TrialState}
    counted = ", ".join(f"{count} {state.name.lower()}" for state, count in counts.items() if count) or "no trial yet"
    return f"{' and '.join(f'{name} ({way})' for name, way in directions(oracle.objective).items())}; {counted}"
