"""The charts of a search: scores in order, learning curves, the Pareto front, slices."""

from collections.abc import Mapping, Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from kopt.report.style import BLUE, GREY, INK, ORANGE, VERMILION
from kopt.tuning.page.charts import Axis, chart, dots, legend, line
from kopt.tuning.page.names import shortened
from kopt.tuning.page.scales import Scale, scale_of_numbers, scale_of_parameter
from kopt.values.types import ParameterValue

__all__ = ["curves", "front", "history", "parameter_scales", "slices", "told"]

CURVES = 200  # that are drawn


def scored(study: optuna.Study) -> list[FrozenTrial]:
    """Return the complete trials."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def told(trial: FrozenTrial, names: Sequence[str]) -> str:
    """Return a trial's number, scores and values as lines.

    Args:
        trial: The trial.
        names: The names of the objectives.

    Example:
        >>> told(optuna.create_trial(value=0.5), ["val_loss"])
        'trial 0\\nval_loss 0.5'
    """
    lines = [f"trial {max(trial.number, 0)}"]
    lines += [f"{name} {value:.5g}" for name, value in zip(names, trial.values or ())]
    return "\n".join([*lines, *(f"{name} {shown(value)}" for name, value in trial.params.items())])


def shown(value: ParameterValue) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def history(study: optuna.Study, name: str, way: str) -> str:
    """Return the chart of scores in the order of the trials, and the best so far.

    Args:
        study: What `report.with_values` returns.
        name: The first objective.
        way: Its direction, "min" or "max".

    Returns:
        HTML.

    Example:
        >>> study = optuna.create_study()
        >>> study.add_trial(optuna.create_trial(value=0.5))
        >>> "best so far" in history(study, "val_loss", "min")
        True
    """
    found = scored(study)
    scale = scale_of_numbers([one.values[0] for one in found], small=way == "min")
    across = Scale(-0.5, max(one.number for one in found) + 0.5, whole=True)
    better = min if way == "min" else max
    steps: list[tuple[float, float] | None] = []
    best = found[0].values[0]
    for one in found:
        before, best = best, better(best, one.values[0])
        for value in dict.fromkeys((before, best)):
            steps.append((place(across, one.number), place(scale, value)))
    steps.append((1.0, place(scale, best)))
    spots = [(place(across, one.number), place(scale, one.values[0]), told(one, [name])) for one in found]
    key = legend({"complete trials": BLUE, "best so far": VERMILION})
    shapes = [line(steps, VERMILION, width=2), dots(spots, BLUE)]
    return chart("Scores in the order of the trials", Axis("trial", across), Axis(name, scale), shapes, legend=key)


def place(scale: Scale, value: ParameterValue) -> float:
    """Return the place of a value that is known to be on the axis."""
    found = scale.place(value)
    return 0.0 if found is None else found


def curves(study: optuna.Study, live: optuna.Study, name: str, way: str) -> str:
    """Return the chart of the scores by epoch: of complete, pruned and running trials, the best one in front.

    Args:
        study: What `report.with_values` returns.
        live: The study of the search, whose running trials are drawn too.
        name: The objective.
        way: Its direction, "min" or "max".

    Returns:
        HTML; an empty text when no trial has reported an epoch.

    Example:
        >>> study = optuna.create_study()
        >>> study.add_trial(optuna.create_trial(value=0.5, intermediate_values={1: 0.7, 2: 0.5}))
        >>> "complete (1)" in curves(study, study, "val_loss", "min")
        True
    """
    kinds = {
        "complete": (BLUE, "", scored(study)),
        "pruned": (ORANGE, "5 4", study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))),
        "running": (GREY, "1 4", live.get_trials(deepcopy=False, states=(TrialState.RUNNING,))),
    }
    drawn = {kind: [one for one in of if one.intermediate_values] for kind, (_, _, of) in kinds.items()}
    every = [one for found in drawn.values() for one in found]
    if not every:
        return ""
    up = scale_of_numbers([value for one in every for value in one.intermediate_values.values()], small=way == "min")
    last = max(one.last_step or 0 for one in every)
    across = Scale(min(0, *(min(one.intermediate_values) for one in every)), last, whole=True)
    shapes, key = [], {}
    for kind, (color, dash, _) in kinds.items():
        if drawn[kind]:
            key[f"{kind} ({len(drawn[kind])})"] = color
            shapes += [one_curve(one, across, up, color, dash, name) for one in drawn[kind][-CURVES:]]
    if drawn["complete"]:
        best = (min if way == "min" else max)(drawn["complete"], key=lambda one: one.values[0])
        key[f"the best: trial {best.number}"] = INK
        shapes.append(one_curve(best, across, up, INK, "", name, 3))
    return chart("Learning curves", Axis("epoch", across), Axis(name, up), shapes, legend=legend(key))


def one_curve(
    trial: FrozenTrial, across: Scale, up: Scale, color: str, dash: str, name: str, width: float = 1.2
) -> str:
    """Return the curve of a trial; a dot where it has reported once."""
    points: list[tuple[float, float] | None] = []
    for step, value in sorted(trial.intermediate_values.items()):
        height = up.place(value)
        points.append(None if height is None else (place(across, step), height))
    title = told(trial, [name])
    if len(points) == 1 and points[0] is not None:
        return dots([(*points[0], title)], color, size=4)
    return line(points, color, width=width, dash=dash, title=title)


def front(study: optuna.Study, ways: Mapping[str, str]) -> str:
    """Return the chart of the first two objectives, with the trials that no other one beats in all objectives.

    Args:
        study: What `report.with_values` returns.
        ways: The direction of each objective by name; two or more.

    Returns:
        HTML.

    Example:
        >>> study = optuna.create_study(directions=["minimize", "minimize"])
        >>> study.add_trial(optuna.create_trial(values=[0.5, 100]))
        >>> "Pareto front (1)" in front(study, {"val_loss": "min", "parameters": "min"})
        True
    """
    (first, way), (second, other), *_ = ways.items()
    found, best = scored(study), {one.number for one in study.best_trials}
    across = scale_of_numbers([one.values[0] for one in found], small=way == "min")
    up = scale_of_numbers([one.values[1] for one in found], small=other == "min")
    spots = {True: [], False: []}  # type: dict[bool, list[tuple[float, float, str]]]
    for one in found:
        at = place(across, one.values[0]), place(up, one.values[1])
        spots[one.number in best].append((*at, told(one, list(ways))))
    shapes = [dots(spots[False], GREY, size=6), dots(spots[True], VERMILION, size=9)]
    if len(ways) == 2:
        joined = sorted((x, y) for x, y, _ in spots[True])
        shapes.insert(0, line(joined, VERMILION, width=1))
    key = legend({f"Pareto front ({len(best)})": VERMILION, f"others ({len(spots[False])})": GREY})
    return chart("Pareto front", Axis(first, across), Axis(second, up), shapes, legend=key)


def parameter_scales(study: optuna.Study, order: Sequence[str]) -> dict[str, Scale]:
    """Return the scale of each hyperparameter.

    Args:
        study: What `report.with_values` returns.
        order: The names of hyperparameters that trials of the study have.

    Example:
        >>> study = optuna.create_study()
        >>> parameter_scales(study, [])
        {}
    """
    found = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    scales = {}
    for name in order:
        having = [one for one in found if name in one.params]
        scales[name] = scale_of_parameter(having[0].distributions[name], [one.params[name] for one in having])
    return scales


def slices(study: optuna.Study, scales: Mapping[str, Scale], name: str, way: str) -> list[str]:
    """Return a chart for each hyperparameter: the score over its values.

    Args:
        study: What `report.with_values` returns.
        scales: What `parameter_scales` returns.
        name: The first objective.
        way: Its direction, "min" or "max".

    Returns:
        HTML, one text a chart.

    Example:
        >>> slices(optuna.create_study(), {}, "val_loss", "min")
        []
    """
    found = scored(study)
    up = scale_of_numbers([one.values[0] for one in found], small=way == "min")
    charts = []
    for parameter, across in scales.items():
        spots = [
            (place(across, one.params[parameter]), place(up, one.values[0]), told(one, [name]))
            for one in found
            if parameter in one.params
        ]
        called = shortened(parameter)
        charts.append(chart(called, Axis(called, across), Axis(name, up), [dots(spots, BLUE, size=6)]))
    return charts
