"""Report: the page of a search, with ranking, history, importances, results by values, and learning curves."""

import html
import pathlib
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TypedDict

import optuna
from optuna import visualization
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from kopt.tuning.search.oracle import StudyOracle
from kopt.tuning.search.records import is_surplus, without_attributes
from kopt.tuning.space.distributions import Dimension
from kopt.tuning.trial.objectives import directions
from kopt.values.checks import needs, require
from kopt.values.types import Figure, ParameterValue

__all__ = ["importances_of", "with_values", "write_report"]

ROWS = 50  # in the ranking
COLUMNS = 20  # in the ranking: the most important hyperparameters
BARS = 30  # hyperparameters whose importance is shown
PLOTTED = 10  # the most important hyperparameters, plotted against the result
CONTOURS = 4  # the most important hyperparameters, plotted in pairs
STYLE = """body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em }
table { border-collapse: collapse; font-size: 14px } th, td { padding: 2px 12px 2px 0; text-align: left }
div.table { overflow-x: auto } tr:nth-child(even) { background: #f4f4f4 }"""


class Target(TypedDict):
    """The arguments of Optuna's plots that name one objective of several."""

    target: Callable[[FrozenTrial], float] | None
    target_name: str


def write_report(oracle: StudyOracle) -> pathlib.Path:
    """Write the page of a search.

    Args:
        oracle: The oracle of the search.

    Returns:
        The file, report.html in the folder of the search; the page needs no network.

    Raises:
        ImportError: When plotly is not installed.
        ValueError: When no trial is complete.

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
        >>> "Parallel Coordinate" in text, "<script src" in text
        (True, False)

    Source:
        `optuna.visualization`.
    """
    offline = needs("plotly.offline", "tune")
    names = list(directions(oracle.objective))
    complete = oracle.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    require(bool(complete), "report()", "must have a complete trial", len(complete))
    shares = importances_of(oracle.study) if len(complete) >= 2 else {}
    order = different(complete, shares)
    title = f"Search {oracle.folder.path.name}"
    sentences = [summary(oracle), left_out(len(order))]
    parts = [f"<h1>{html.escape(title)}</h1>", *(f"<p>{html.escape(one)}</p>" for one in sentences if one)]
    parts.append(ranking(oracle, names, order))
    for figure in figures(with_values(oracle, only=order[:PLOTTED]), names, order, shares):
        parts.append(figure.to_html(full_html=False, include_plotlyjs=False))
    file = oracle.folder.path / "report.html"
    head = f"<meta charset='utf-8'><title>{html.escape(title)}</title><style>{STYLE}</style>"
    script = f"<script>{offline.get_plotlyjs()}</script>"
    file.write_text(f"<!DOCTYPE html><html><head>{head}{script}</head><body>{''.join(parts)}</body></html>")
    return file


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
    sentence = f"Of {count} hyperparameters that had several values, the {PLOTTED} most important ones are plotted"
    if count > COLUMNS:
        sentence += f", {COLUMNS} are in the table and {min(count, BARS)} have a bar; tuner.importances() has all"
    return f"{sentence}."


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


def importances_of(study: optuna.Study) -> dict[str, float]:
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
    return {name: float(share) / total for name, share in sorted(found.items(), key=lambda one: (-one[1], one[0]))}


def first_value(trial: FrozenTrial) -> float:
    """Return the value of the first objective."""
    return trial.values[0]


def figures(study: optuna.Study, names: list[str], order: list[str], shares: Mapping[str, float]) -> Iterator[Figure]:
    """Yield the plots that are not empty; `order` has the most important hyperparameters first."""
    several = len(names) > 1
    how: Target = {"target": first_value if several else None, "target_name": names[0]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # Optuna warns of two hyperparameters that no trial has together.
        warnings.filterwarnings("ignore", "Contour plot will not be displayed", UserWarning)
        if several and len(names) <= 3:
            yield visualization.plot_pareto_front(study, target_names=names)
        yield visualization.plot_optimization_history(study, **how)
        if shares and order:
            yield bars(shares)
            yield visualization.plot_parallel_coordinate(study, params=order[:PLOTTED], **how)
            yield visualization.plot_slice(study, params=order[:PLOTTED], **how)
            if len(order) >= 2:
                yield visualization.plot_contour(study, params=order[:CONTOURS], **how)
        if not several and any(one.intermediate_values for one in study.get_trials(deepcopy=False)):
            curves = visualization.plot_intermediate_values(study)
            yield curves.update_layout(title="Learning curves", xaxis_title="epoch", yaxis_title=names[0])


def bars(shares: Mapping[str, float]) -> Figure:
    """Return a bar chart of the most important hyperparameters."""
    graph = needs("plotly.graph_objects", "tune")
    names = list(shares)[:BARS][::-1]
    figure = graph.Figure(graph.Bar(x=[shares[name] for name in names], y=names, orientation="h"))
    return figure.update_layout(title="Importances (PED-ANOVA)", xaxis_title="share of the difference between trials")


def summary(oracle: StudyOracle) -> str:
    """Return a sentence on the objectives, and on how many trials are in each state."""
    trials = [one for one in oracle.study.get_trials(deepcopy=False) if not is_surplus(one)]
    counts = {state: sum(one.state == state for one in trials) for state in TrialState}
    counted = ", ".join(f"{count} {state.name.lower()}" for state, count in counts.items() if count)
    return f"{' and '.join(f'{name} ({way})' for name, way in directions(oracle.objective).items())}; {counted}"


def ranking(oracle: StudyOracle, names: list[str], order: list[str]) -> str:
    """Return an HTML table of the best trials with their values: all values, or the most important ones of many."""
    best = oracle.ranking()[:ROWS]
    asked = list(dict.fromkeys(name for trial in best for name in trial.hyperparameters.values))
    if len(asked) > COLUMNS:
        space = {(hp.name, str(hp.conditions)): hp for trial in best for hp in trial.hyperparameters.space}
        known = {found.name: found.hp.name for found in map(oracle.dimension, space.values()) if found is not None}
        asked = list(dict.fromkeys(known[name] for name in order if name in known))[:COLUMNS]
    states = {str(one.number): one.state.name.lower() for one in oracle.study.get_trials(deepcopy=False)}
    rows = [["", "trial", *names, "epoch", "", *asked]]
    for place, trial in enumerate(best, 1):
        reached = [f"{trial.metrics.get_best_value(name):.5g}" for name in names]
        values = [trial.hyperparameters.values.get(name, "") for name in asked]
        texts = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in values]
        rows.append([str(place), trial.trial_id, *reached, str(trial.best_step + 1), states[trial.trial_id], *texts])
    cells = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    cells[0] = cells[0].replace("td>", "th>")
    return f"<div class='table'><table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table></div>"
