"""A small table in HTML, by which a result shows itself in a notebook."""

import html
from collections.abc import Sequence

from kopt.values.texts import clipped

__all__ = ["html_table"]

MOST = 30  # rows that are shown
STYLE = "text-align: left; vertical-align: top; white-space: pre-wrap"


def html_table(title: object, rows: Sequence[Sequence[object]], head: Sequence[object] = (), note: str = "") -> str:
    """Return a table in HTML with a bold title; every text is escaped, and a long line is cut.

    Args:
        title: What is above the table; empty for nothing.
        rows: A text for each cell, of as many cells each; of more than 30 rows the first are shown.
        head: A text for the head of each column; empty for no head.
        note: A line below the table.

    Returns:
        The HTML, which needs no style sheet and no script.

    Example:
        >>> "&lt;script&gt;" in html_table("settings", [("name", "<script>")])
        True
    """
    above = [f"<div><b>{escaped(title)}</b></div>"] if title else []
    top = [f"<thead>{line(head, 'th')}</thead>"] if head else []
    body = [line(row, "td") for row in rows[:MOST]]
    more = [f"and {len(rows) - MOST} more"] if len(rows) > MOST else []
    below = [f"<div>{escaped(one)}</div>" for one in [*more, *([note] if note else [])]]
    return "".join([*above, "<table>", *top, "<tbody>", *body, "</tbody></table>", *below])


def line(cells: Sequence[object], kind: str) -> str:
    """Return a row of a table, of cells of a kind: "td" or "th"."""
    texts = [f'<{kind} style="{STYLE}">{escaped(cell)}</{kind}>' for cell in cells]
    return f"<tr>{''.join(texts)}</tr>"


def escaped(text: object) -> str:
    """Return a text for HTML, of a long line its beginning."""
    return "\n".join(html.escape(clipped(one)) for one in str(text).split("\n"))
