"""The one style of pictures: colors that the color-blind can tell apart, sizes of texts, axes with a grid."""

import math
from collections.abc import Sequence
from typing import Literal

import matplotlib
import matplotlib.axes
import matplotlib.colors
import matplotlib.ticker
import numpy as np

__all__ = [
    "BLUE",
    "COLORS",
    "FAINT",
    "GRID",
    "GREEN",
    "GREY",
    "INK",
    "LARGE",
    "ORANGE",
    "PURPLE",
    "SKY",
    "SMALL",
    "TITLE",
    "VERMILION",
    "drawable",
    "logarithmic",
    "plain",
    "ramp",
    "spans_decades",
    "titled",
]

# Okabe and Ito, Color Universal Design, 2008; without its yellow, which is not seen on white.
BLUE, VERMILION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
ORANGE, SKY, INK = "#e69f00", "#56b4e9", "#222222"
COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, INK)
GREY, GRID, FAINT = "#6b6b6b", "#dddddd", "#f3f5f7"
SMALL, TITLE, LARGE = 8.5, 10, 12  # points: the least size of a text, a panel's title, a figure's title
RAMP = "cividis"  # made for all kinds of color vision
LARGEST = 1e38  # numbers from here on are not drawn
DECADE = 10
BRIGHTEST = 0.85  # of the ramp: from here on it is hardly seen on white


def ramp(share: float) -> str:
    """Return a color between dark blue at 0 and the brightest one that is seen on white at 1.

    Args:
        share: A number in [0, 1].

    Returns:
        A color as #rrggbb.

    Example:
        >>> ramp(0.0), ramp(1.0)
        ('#00224e', '#d6c35d')

    Source:
        Nunez et al., Optimizing colormaps with consideration for color vision deficiency, 2018.
    """
    return matplotlib.colors.to_hex(matplotlib.colormaps[RAMP](BRIGHTEST * float(np.clip(share, 0, 1))))


def plain(axes: matplotlib.axes.Axes) -> matplotlib.axes.Axes:
    """Take the frame at the top and on the right away, and draw a grid behind the data.

    Args:
        axes: The axes, which are changed.

    Returns:
        The axes.

    Example:
        >>> import matplotlib.figure
        >>> plain(matplotlib.figure.Figure().subplots()).spines["top"].get_visible()
        False
    """
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", labelsize=SMALL)
    return axes


class Decimals(matplotlib.ticker.LogFormatter):
    """Write the ticks of a logarithmic axis as decimals, for the exponents of powers of ten are small."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:.4g}" if super().__call__(x, pos) else ""


def logarithmic(axes: matplotlib.axes.Axes, name: Literal["x", "y"]) -> None:
    """Make an axis logarithmic, with ticks that can be read.

    Args:
        axes: The axes.
        name: Which of their axes.

    Example:
        >>> import matplotlib.figure
        >>> axes = matplotlib.figure.Figure().subplots()
        >>> axes.set_ylim(0.1, 10)
        (0.1, 10.0)
        >>> logarithmic(axes, "y")
        >>> [label.get_text() for label in axes.get_yticklabels()]
        ['0.01', '0.1', '1', '10', '100']
    """
    if name == "x":
        axes.set_xscale("log")
    else:
        axes.set_yscale("log")
    axis = axes.xaxis if name == "x" else axes.yaxis
    axis.set_major_formatter(Decimals())
    axis.set_minor_formatter(Decimals(minor_thresholds=(1, 0.4)))


def titled(axes: matplotlib.axes.Axes, title: str, size: float = TITLE, *, columns: int = 0) -> None:
    """Put a title above axes on the left, and their legend between both, where it covers no data.

    Args:
        axes: The axes, with everything drawn that has a label.
        title: The title; an empty text for none.
        size: Its size in points.
        columns: Entries of the legend in a row; 0 for no legend.

    Example:
        >>> import matplotlib.figure
        >>> axes = matplotlib.figure.Figure().subplots()
        >>> _ = axes.plot([0, 1], label="training")
        >>> titled(axes, "digits", columns=3)
        >>> axes.get_title("left"), axes.get_legend().get_texts()[0].get_text()
        ('digits', 'training')
    """
    entries = len(axes.get_legend_handles_labels()[1]) if columns else 0
    rows = -(-entries // columns) if columns else 0
    if rows:
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            borderaxespad=0.2,
            borderpad=0.2,
            ncols=columns,
            columnspacing=1.2,
            handlelength=1.4,
            frameon=False,
            fontsize=SMALL,
        )
    axes.set_title(title, fontsize=size, loc="left", pad=6 + 1.6 * SMALL * rows)


def spans_decades(values: Sequence[float]) -> bool:
    """Return whether numbers above 0 differ by a factor of 10: a logarithmic axis has few ticks for less.

    Args:
        values: The numbers.

    Example:
        >>> spans_decades([0.1, 2.0]), spans_decades([0.5, 2.0])
        (True, False)
    """
    numbers = [value for value in drawable(values) if math.isfinite(value)]
    return bool(numbers and min(numbers) > 0 and max(numbers) >= DECADE * min(numbers))


def drawable(values: Sequence[float]) -> np.ndarray:
    """Replace numbers beyond float32 by NaN: matplotlib cannot place ticks for them.

    Args:
        values: The numbers.

    Returns:
        An array of float64.

    Example:
        >>> drawable([1.0, 1e300])
        array([ 1., nan])
    """
    array = np.asarray(values, "float64")
    return np.where(np.abs(array) < LARGEST, array, np.nan)
