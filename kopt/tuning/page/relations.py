"""The charts of several hyperparameters at once: parallel coordinates, and pairs over contours."""

import html
import itertools
from collections.abc import Mapping, Sequence

import contourpy
import numpy as np
import optuna
from optuna.trial import FrozenTrial

from kopt.report.style import INK, VERMILION, ramp
from kopt.tuning.page.charts import SIDE, Axis, chart, dots, legend, line, picture
from kopt.tuning.page.figures import place, scored, told
from kopt.tuning.page.names import breakable, shortened
from kopt.tuning.page.scales import Scale, scale_of_numbers

__all__ = ["pairs", "parallel"]

LINES = 200  # trials in parallel coordinates: the best ones
ROW = 3.4  # rem: the height of an axis in parallel coordinates
PAIRED = 3  # the most important hyperparameters, in pairs
CELLS = 30  # of a contour's grid, in each direction
BANDS = 6  # colors of a contour
NEAR = 0.12  # of an axis: how far a trial tells something about its surroundings


def colored(trials: Sequence[FrozenTrial], way: str) -> list[tuple[FrozenTrial, str]]:
    """Return trials with a color by their rank, the best last."""
    order = sorted(trials, key=lambda one: one.values[0], reverse=way == "min")
    last = max(1, len(order) - 1)
    return [(one, ramp(1 - rank / last)) for rank, one in enumerate(order)]


def ramp_legend() -> dict[str, str]:
    """Return the legend of colors by rank."""
    return {"best trials": ramp(0), "middle": ramp(0.5), "worst trials": ramp(1)}


def parallel(study: optuna.Study, scales: Mapping[str, Scale], name: str, way: str) -> str:
    """Return parallel coordinates whose axes lie one below the other, so that any number fits a narrow window.

    Args:
        study: What `report.with_values` returns.
        scales: What `figures.parameter_scales` returns.
        name: The first objective.
        way: Its direction, "min" or "max".

    Returns:
        HTML; a trial is a line from its score down through its values, and is broken where it has no value.

    Example:
        >>> study = optuna.create_study()
        >>> "Parallel coordinates" in parallel(study, {}, "val_loss", "min")
        True
    """
    found = colored(scored(study), way)
    score = scale_of_numbers([one.values[0] for one, _ in found], small=way == "min")
    axes = {name: score, **scales}
    heights = {axis: 1 - (row + 0.4) / len(axes) for row, axis in enumerate(axes)}
    shapes = [line([(0.0, up), (1.0, up)], INK, width=1) for up in heights.values()]
    for number, (one, color) in enumerate(found[-LINES:], 1):
        best = number == min(LINES, len(found))
        points: list[tuple[float, float] | None] = [(place(score, one.values[0]), heights[name])]
        for axis, scale in scales.items():
            points.append((place(scale, one.params[axis]), heights[axis]) if axis in one.params else None)
        drawn = VERMILION if best else color
        shapes.append(line(points, drawn, width=3 if best else 1.2, title=told(one, [name])))
    rows = len(axes)
    names = "".join(
        f"<div class='name' style='grid-row:{row}' title='{html.escape(axis)}'>{breakable(shortened(axis))}</div>"
        for row, axis in enumerate(axes, 1)
    )
    texts = "".join(tick_texts(scale, heights[axis]) for axis, scale in axes.items())
    key = legend({"the best trial": VERMILION} | ramp_legend())
    size = f"grid-template-rows:repeat({rows},{ROW}rem)"
    lines = f"<div class='lines' style='grid-row:1/span {rows}'>{picture(shapes)}{texts}</div>"
    more = f"<p>The best {LINES} of {len(found)} trials.</p>" if len(found) > LINES else ""
    return (
        f"<figure class='chart wide'><figcaption>Parallel coordinates</figcaption>{key}{more}"
        f"<div class='rows' style='{size}'>{names}{lines}</div></figure>"
    )


def tick_texts(scale: Scale, height: float) -> str:
    """Return the texts below an axis; each is cut to its share of the width, and whole when the mouse is on it."""
    ticks = fewer(scale.ticks())
    place = f"top:{100 * (1 - height):.4g}%;max-width:{100 / max(1, len(ticks)):.3g}%"
    return "".join(
        f"<span class='tick' style='left:{100 * at:.4g}%;{place}' title='{text}'>{text}</span>"
        for at, text in ((at, html.escape(text)) for at, text in ticks)
    )


def fewer(ticks: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """Return as many ticks as have room in a narrow window."""
    long = max((len(text) for _, text in ticks), default=0) > 6
    return ticks[:: len(ticks) - 1] if long and len(ticks) > 3 else ticks


def pairs(study: optuna.Study, scales: Mapping[str, Scale], name: str, way: str) -> list[str]:
    """Return a chart for each two of the most important hyperparameters, with the score as color.

    Args:
        study: What `report.with_values` returns.
        scales: What `figures.parameter_scales` returns, the most important hyperparameter first.
        name: The first objective.
        way: Its direction, "min" or "max".

    Returns:
        HTML, one text a chart; two hyperparameters that no trial has together have none.

    Example:
        >>> pairs(optuna.create_study(), {}, "val_loss", "min")
        []
    """
    charts = []
    for (first, across), (second, up) in itertools.combinations(list(scales.items())[:PAIRED], 2):
        found = [one for one in colored(scored(study), way) if first in one[0].params and second in one[0].params]
        spots = [(place(across, one.params[first]), place(up, one.params[second])) for one, _ in found]
        if not spots:
            continue
        ranks = np.linspace(1, 0, len(spots))  # 0 is the best
        bands = [] if across.names or up.names or len(spots) < 4 else contours(np.array(spots), ranks)
        shapes = [dots([(*at, told(one, [name]))], color, size=8, ring=True) for at, (one, color) in zip(spots, found)]
        key = legend(ramp_legend())
        one, other = shortened(first), shortened(second)
        charts.append(chart(f"{one} and {other}", Axis(one, across), Axis(other, up), [*bands, *shapes], legend=key))
    return charts


def contours(spots: np.ndarray, ranks: np.ndarray) -> list[str]:
    """Return filled contours of the ranks around trials, each averaged with weights that fall with the distance."""
    grid = np.linspace(0, 1, CELLS)
    x, y = np.meshgrid(grid, grid)
    square = (x[..., None] - spots[:, 0]) ** 2 + (y[..., None] - spots[:, 1]) ** 2
    exponents = -square / (2 * NEAR**2)
    weights = np.exp(exponents - exponents.max(-1, keepdims=True))
    field = (weights * ranks).sum(-1) / weights.sum(-1)
    levels = np.linspace(field.min(), field.max() + 1e-9, BANDS + 1)
    drawn = contourpy.contour_generator(grid, grid, field, fill_type=contourpy.FillType.OuterCode)
    paths = []
    for low, high in itertools.pairwise(levels):
        for points, codes in zip(*drawn.filled(low, high)):
            steps = "".join(step_of(point, code) for point, code in zip(points, codes))
            color = ramp((low + high) / 2)
            paths.append(f'<path class="filled" d="{steps}" style="fill:{color};fill-rule:evenodd;opacity:.45"/>')
    return paths


def step_of(point: np.ndarray, code: int) -> str:
    """Return a step of an outline in SVG, from the code of matplotlib."""
    closes = "Z" if code == 79 else ""
    return f"{'M' if code == 1 else 'L'}{SIDE * point[0]:.4g} {SIDE * (1 - point[1]):.4g}{closes}"
