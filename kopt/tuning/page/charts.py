"""Charts of the page: HTML whose lines and dots stretch with the window, while texts keep their size."""

import dataclasses
import html
from collections.abc import Iterable, Mapping, Sequence

from kopt.report.style import GRID
from kopt.tuning.page.names import breakable, shortened
from kopt.tuning.page.scales import Scale

__all__ = ["Axis", "bars", "chart", "dots", "legend", "line"]

SIDE = 1000  # of the square of lines and dots, which is stretched to the size of the chart
Point = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Axis:
    """An axis of a chart.

    Args:
        title: The quantity and its unit.
        scale: The places of its values.

    Example:
        >>> Axis("epoch", Scale(0, 10)).scale.place(5)
        0.5
    """

    title: str
    scale: Scale


def line(points: Sequence[Point | None], color: str, *, width: float = 1.5, dash: str = "", title: str = "") -> str:
    """Return a line through points; it is broken where there is none.

    Args:
        points: Places across and up, from 0 to 1.
        color: A color of CSS.
        width: Its width in pixels.
        dash: Lengths of dashes and gaps in pixels; an empty text for a full line.
        title: What is shown when the mouse is on it.

    Returns:
        An SVG path.

    Example:
        >>> line([(0, 0), (1, 0.5)], "#000000")
        '<path d="M0 1000L1000 500" stroke="#000000" stroke-width="1.5"/>'
    """
    steps, joined = [], False
    for point in points:
        if point is not None:
            steps.append(f"{'L' if joined else 'M'}{SIDE * point[0]:.4g} {SIDE * (1 - point[1]):.4g}")
        joined = point is not None
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return closed(f'<path d="{"".join(steps)}" stroke="{color}" stroke-width="{width}"{dashes}', title)


def dots(points: Iterable[tuple[float, float, str]], color: str, *, size: float = 7, ring: bool = False) -> str:
    """Return dots.

    Args:
        points: Places across and up, and what is shown when the mouse is on a dot.
        color: A color of CSS.
        size: Their width in pixels.
        ring: Whether they are white within.

    Returns:
        SVG paths, which are lines without a length and with round ends, for these are not stretched.

    Example:
        >>> dots([(0.5, 0.5, "trial 1")], "#000000")
        '<path d="M500 500h0" stroke="#000000" stroke-width="7"><title>trial 1</title></path>'
    """
    paths = []
    for across, up, title in points:
        place = f"M{SIDE * across:.4g} {SIDE * (1 - up):.4g}h0"
        inner = closed(f'<path d="{place}" stroke="#ffffff" stroke-width="{size - 4}"', title) if ring else ""
        paths.append(closed(f'<path d="{place}" stroke="{color}" stroke-width="{size}"', title) + inner)
    return "".join(paths)


def closed(path: str, title: str) -> str:
    """Return the end of an SVG path with a title, if it has one."""
    return f"{path}><title>{html.escape(title)}</title></path>" if title else f"{path}/>"


def chart(title: str, across: Axis, up: Axis, shapes: Sequence[str], *, legend: str = "") -> str:
    """Return a chart: axes with ticks and titles, and shapes within.

    Args:
        title: Its title.
        across: The axis to the right.
        up: The axis upwards.
        shapes: What `line` and `dots` return, the last one in front.
        legend: What `legend` returns; it stands above the shapes.

    Returns:
        HTML.

    Example:
        >>> page = chart("History", Axis("trial", Scale(0, 9)), Axis("val_loss", Scale(0, 1)), [])
        >>> "val_loss" in page, page.count("<figure")
        (True, 1)
    """
    right, upper = across.scale.ticks(), up.scale.ticks()
    rules = [f"M0 {SIDE * (1 - place):.4g}H{SIDE}" for place, _ in upper]
    rules += [f"M{SIDE * place:.4g} 0V{SIDE}" for place, _ in right]
    grid = f'<path d="{"".join(rules)}" stroke="{GRID}" stroke-width="1"/>'
    most = 100 / max(1, len(right))
    below = "".join(
        f"<span style='left:{100 * place:.4g}%;max-width:{most:.3g}%' title='{html.escape(text)}'>"
        f"{html.escape(text)}</span>"
        for place, text in right
    )
    beside = "".join(
        f"<span style='bottom:{100 * place:.4g}%' title='{html.escape(text)}'>{html.escape(text)}</span>"
        for place, text in upper
    )
    return (
        f"<figure class='chart'><figcaption>{html.escape(title)}</figcaption>{legend}"
        f"<div class='up'>{html.escape(up.title)}</div><div class='plot'><div class='ticks-up'>{beside}</div>"
        f"{picture([grid, *shapes])}<div class='ticks-across'>{below}</div></div>"
        f"<div class='across'>{html.escape(across.title)}</div></figure>"
    )


def picture(shapes: Iterable[str]) -> str:
    """Return an SVG picture that is stretched to the size of its place."""
    return f"<svg viewBox='0 0 {SIDE} {SIDE}' preserveAspectRatio='none' role='img'>{''.join(shapes)}</svg>"


def legend(entries: Mapping[str, str]) -> str:
    """Return the legend of a chart.

    Args:
        entries: Text -> its color.

    Returns:
        HTML.

    Example:
        >>> legend({"complete (3)": "#0072b2"})
        "<div class='legend'><span><i style='background:#0072b2'></i>complete (3)</span></div>"
    """
    spans = (f"<span><i style='background:{color}'></i>{html.escape(text)}</span>" for text, color in entries.items())
    return f"<div class='legend'>{''.join(spans)}</div>"


def bars(title: str, shares: Mapping[str, float], note: str) -> str:
    """Return bars, one below the other.

    Args:
        title: The title of the chart.
        shares: Name -> a share in [0, 1].
        note: What the shares are of.

    Returns:
        HTML.

    Example:
        >>> "62 %" in bars("Importances", {"rate": 0.62, "units": 0.38}, "share of the differences")
        True
    """
    most = max(shares.values(), default=1.0) or 1.0
    rows = "".join(
        f"<span class='name' title='{html.escape(name)}'>{breakable(shortened(name))}</span><span class='bar'>"
        f"<i style='width:{100 * share / most:.4g}%'></i></span><span class='share'>{100 * share:.0f} %</span>"
        for name, share in shares.items()
    )
    return (
        f"<figure class='chart'><figcaption>{html.escape(title)}</figcaption><div class='bars'>{rows}</div>"
        f"<div class='across'>{html.escape(note)}</div></figure>"
    )
