"""The one style of pictures: colors that the color-blind can tell apart, sizes of texts, axes with a grid."""

import matplotlib
import matplotlib.axes
import matplotlib.colors
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
    "legend_outside",
    "plain",
    "ramp",
]

# Okabe and Ito, Color Universal Design, 2008; without its yellow, which is not seen on white.
BLUE, VERMILION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
ORANGE, SKY, INK = "#e69f00", "#56b4e9", "#222222"
COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, INK)
GREY, GRID, FAINT = "#6b6b6b", "#dddddd", "#f3f5f7"
SMALL, TITLE, LARGE = 8.5, 10, 12  # points: the least size of a text, a panel's title, a figure's title
RAMP = "cividis"  # made for all kinds of color vision
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
    axes.tick_params(labelsize=SMALL)
    return axes


def legend_outside(axes: matplotlib.axes.Axes, columns: int = 3) -> None:
    """Put the legend of axes above them, where it covers no data.

    Args:
        axes: The axes; without anything that has a label nothing is done.
        columns: Entries in a row, >= 1.

    Example:
        >>> import matplotlib.figure
        >>> axes = matplotlib.figure.Figure().subplots()
        >>> _ = axes.plot([0, 1], label="training")
        >>> legend_outside(axes)
        >>> axes.get_legend().get_texts()[0].get_text()
        'training'
    """
    if axes.get_legend_handles_labels()[1]:
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            borderaxespad=0.2,
            ncols=columns,
            columnspacing=1.2,
            handlelength=1.4,
            frameon=False,
            fontsize=SMALL,
        )
