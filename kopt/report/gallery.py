"""Galleries: all kinds of schedules, or loss curves side by side."""

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import keras
import matplotlib.axes
import matplotlib.ticker
import numpy as np

from kopt import schedules
from kopt.report.figure import Figure
from kopt.report.style import BLUE, COLORS, SMALL, TITLE, logarithmic, plain, titled
from kopt.schedules import Constant, Cosine, Linear, Schedule
from kopt.values.checks import require
from kopt.values.texts import in_picture

__all__ = ["SCHEDULES", "curves_figure", "schedules_figure"]

WIDE = 3  # panels in a row of the picture of schedules
LETTERS = 46  # of a title in a line

Panels: TypeAlias = tuple[Figure, list[matplotlib.axes.Axes]]

TIMES = np.linspace(0, 100, 500, endpoint=False)
# Each kind of the registry, and some that are composed, over 100 units.
SCHEDULES: tuple[Schedule, ...] = (
    Constant(1),
    schedules.Step(1, 0.5, every=25),
    schedules.Piecewise((1, 0.3, 0.6), (30, 70)),
    schedules.Piecewise((0, 1, 0.2), (0, 20, 90), interpolate=True),
    schedules.Exponential(1, 0.5, every=25),
    schedules.InverseTime(1, 1, every=25),
    schedules.InverseSqrt(1, every=15).warmup(15),
    Linear(1, duration=100),
    schedules.Polynomial(1, duration=100, power=2),
    Cosine(1, duration=100),
    schedules.REX(1, duration=100),
    schedules.Tanh(1, duration=100),
    schedules.FlatCosine(1, duration=100),
    schedules.WarmupStableDecay(1, duration=100, tail="1-sqrt"),
    schedules.OneCycle(1, duration=100),
    schedules.Triangular(1, every=40, decay=0.7),
    schedules.CosineRestarts(1, every=20, growth=1.5, decay=0.8),
    Cosine(1).warmup(5).restart(33),
    Constant(1).then(Linear(0.5, duration=40), at=50),
    (Cosine(1, duration=90) * 0.8).clip(0.2, 0.7).delay(10),
)


def schedules_figure(shown: Sequence[Schedule] = SCHEDULES) -> Figure:
    """Draw schedules over 100 units, a panel each, three in a row.

    Args:
        shown: One or more schedules with values in [0, 1] and a known duration.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: When there is none.

    Example:
        >>> schedules_figure([Cosine(1, duration=100)]).axes[0].get_title("left")
        'Cosine(1, duration=100)'

    Source:
        matplotlib.
    """
    rows = -(-len(shown) // WIDE)
    figure, panels = grid(len(shown), WIDE, figsize=(10, 0.4 + 1.75 * rows), shared=True)
    for axes, schedule in zip(panels, shown):
        axes.plot(TIMES, keras.ops.convert_to_numpy(schedule(TIMES)), linewidth=2, color=BLUE)
        titled(axes, "\n".join(textwrap.wrap(in_picture(repr(schedule)), LETTERS)), SMALL)
        axes.set(ylim=(-0.02, 1.05), xlim=(0, 100))
    figure.supxlabel("time, of 100", fontsize=TITLE)
    figure.supylabel("learning rate, as a share of the highest", fontsize=TITLE)
    return figure


def curves_figure(
    panels: Mapping[str, Mapping[str, Sequence[float] | np.ndarray]], *, columns: int = 3, **axes: object
) -> Figure:
    """Draw losses over steps or epochs on a logarithmic scale, one panel a title, one line a name.

    Args:
        panels: Title -> name -> losses in order; one panel or more.
        columns: Panels in a row, >= 1.
        **axes: Properties of the axes of every panel, such as xlabel="epoch".

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: When there is no panel.

    Example:
        >>> figure = curves_figure({"digits": {"train": [1.0, 0.5], "validation": [1.1, 0.9]}}, xlabel="epoch")
        >>> figure.axes[0].get_title("left"), len(figure.axes[0].lines)
        ('digits', 2)

    Source:
        matplotlib.
    """
    require(columns >= 1, "columns", "must be >= 1", columns)
    rows = -(-len(panels) // columns)
    figure, places = grid(
        len(panels), min(columns, max(1, len(panels))), figsize=(5.5 * min(columns, len(panels)), 4 * rows)
    )
    for place, (title, lines) in zip(places, panels.items()):
        for (name, values), color in zip(lines.items(), itertools.cycle(COLORS)):
            steps = np.arange(1, len(values) + 1)
            place.plot(steps, np.maximum(values, 1e-12), label=in_picture(name), linewidth=2, color=color)
        logarithmic(place, "y")
        place.set(**{"ylabel": "loss", "xlabel": "steps or epochs"} | axes)
        place.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
        titled(place, in_picture(title), columns=2)
    return figure


def grid(count: int, columns: int, *, figsize: tuple[float, float], shared: bool = False) -> Panels:
    """Return a figure and its panels without a frame at the top and on the right; positions left over are empty."""
    require(count >= 1, "panels", "must be one or more", count)
    figure = Figure(figsize=figsize)
    found = list(figure.subplots(-(-count // columns), columns, squeeze=False, sharex=shared, sharey=shared).flat)
    for axes in found:
        plain(axes)
    for axes in found[count:]:
        axes.set_visible(False)
    return figure, found[:count]
