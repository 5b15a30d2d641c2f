"""The head of the page: what won, by how much, with which values, and how to load it."""

import html
from collections.abc import Mapping, Sequence

from kopt.tuning.page.names import breakable
from kopt.tuning.page.trials import Entry, duration_text, median_of, number_text, start_of

__all__ = ["front_winners", "winner"]

TUNER = "# tuner = kopt.tuning.Tuner(...) with the arguments of the search"
RECIPE = "Of a recipe: <code>hypermodel.space.fill(best)</code> is the recipe with these values."
Column = tuple[str, Entry]


def winner(entries: Sequence[Entry], name: str, way: str) -> str:
    """Return the part of the page about the best trial of one objective.

    Args:
        entries: The trials, the best first; at least one is complete.
        name: The objective.
        way: Its direction, "min" or "max".

    Returns:
        HTML.

    Example:
        >>> best = Entry(4, "complete", (0.25,), 3, {"rate": 0.1}, 2.0, 1000, False, True)
        >>> start = Entry(0, "complete", (0.5,), 1, {"rate": 1.0}, 2.0, 1000, True, False)
        >>> page = winner([best, start], "val_loss", "min")
        >>> "trial 4" in page, "0.25 less, 50 %" in page, "tuner.get_best_models()[0]" in page
        (True, True, True)
    """
    best, found = entries[0], start_of(entries)
    columns: list[Column] = [(f"trial {best.number}", best)]
    if found is not None and found[1] is not best:
        columns.append((f"{found[0]} ({found[1].number})", found[1]))
    lines = [TUNER, "best = tuner.get_best_hyperparameters()[0]", "values = best.values"]
    if best.kept:
        lines += [
            f"# The model of trial {best.number}, with the weights of epoch {best.epoch}:",
            "model = tuner.get_best_models()[0]",
        ]
    return section(
        f"<p>Best, where {'less' if way == 'min' else 'more'} is better</p>"
        f"<div class='score'>{breakable(name)} {number_text(best.scores[0])}</div>"
        f"<p>trial {best.number}, {facts(best)}</p>",
        cards(entries),
        values_table(columns),
        code(lines, best.kept),
    )


def front_winners(entries: Sequence[Entry], ways: Mapping[str, str], front: int) -> str:
    """Return the part of the page about the Pareto front of several objectives.

    Args:
        entries: The trials; those of the front come first, and at least one is complete.
        ways: The direction of each objective, "min" or "max", by name.
        front: How many trials are on the front.

    Returns:
        HTML: the trial that is the best one in each objective, with its values.

    Example:
        >>> small = Entry(4, "complete", (0.25, 100.0), 3, {"rate": 0.1}, 2.0, 100, False, True)
        >>> good = Entry(0, "complete", (0.125, 900.0), 1, {"rate": 1.0}, 2.0, 900, True, False)
        >>> page = front_winners([small, good], {"val_loss": "min", "parameters": "min"}, 2)
        >>> "2 trials" in page, "val_loss 0.125" in page, 'tuner.oracle.get_trial("0")' in html.unescape(page)
        (True, True, True)
    """
    of_front = entries[:front]
    columns: list[Column] = []
    shown = []
    for place, (name, way) in enumerate(ways.items()):
        best = (min if way == "min" else max)(of_front, key=lambda one: one.scores[place])
        columns.append((f"{'least' if way == 'min' else 'most'} {name} ({best.number})", best))
        others = ", ".join(f"{other} {number_text(score)}" for other, score in zip(ways, best.scores) if other != name)
        score = f"{name} {number_text(best.scores[place])}"
        shown.append(f"<div>trial {best.number}<b>{html.escape(score)}</b>{html.escape(others)}; {facts(best)}</div>")
    first = columns[0][1]
    lines = [TUNER, f'trial = tuner.oracle.get_trial("{first.number}")', "best = trial.hyperparameters"]
    lines += ["values = best.values", *(["model = tuner.load_model(trial)"] if first.kept else [])]
    several = "1 trial" if front == 1 else f"{front} trials"
    return section(
        f"<p>On the Pareto front</p><div class='score'>{several}</div><p>No other trial is better in one objective "
        f"without being worse in another. They stand first in the table below.</p>",
        "".join(shown),
        values_table(columns),
        code(lines, first.kept),
    )


def section(score: str, compared: str, values: str, loaded: str) -> str:
    """Return the frame of the head with its four parts."""
    return (
        f"<section class='won'><div>{score}</div><div class='cards'>{compared}</div>"
        f"<div><h2>With these values</h2>{values}</div><div><h2>How to load it</h2>{loaded}</div></section>"
    )


def facts(one: Entry) -> str:
    """Return a trial's best epoch, its time and its size."""
    found = [f"epoch {one.epoch}"]
    found += [f"took {duration_text(one.seconds)}"] if one.seconds is not None else []
    found += [f"{one.parameters:,} parameters"] if one.parameters is not None else []
    return ", ".join(found)


def cards(entries: Sequence[Entry]) -> str:
    """Return how far the best trial is from the start, the median and the second."""
    best, found = entries[0], start_of(entries)
    complete = [one for one in entries if one.state == "complete"]
    others: list[tuple[str, float]] = []
    if found is not None and found[1] is not best:
        others.append((f"{found[0]} ({found[1].number})", found[1].scores[0]))
    if len(complete) > 2:
        others.append((f"the median of {len(complete)} complete trials", median_of(entries)))
    if len(complete) > 1:
        others.append((f"the second ({complete[1].number})", complete[1].scores[0]))
    return "".join(
        f"<div>{html.escape(text)}<b>{number_text(value)}</b>{difference(best.scores[0], value)}</div>"
        for text, value in others
    )


def difference(best: float, other: float) -> str:
    """Return how much less or more the best one is than another one."""
    gap = best - other
    if gap == 0:
        return "the same as the best"
    share = f", {100 * abs(gap) / abs(other):.0f} %" if other else ""
    return f"the best is {number_text(abs(gap))} {'less' if gap < 0 else 'more'}{share}"


def values_table(columns: Sequence[Column]) -> str:
    """Return a table of the values of trials, side by side."""
    names = dict.fromkeys(name for _, one in columns for name in one.values)
    rows = [["", *(title for title, _ in columns)]]
    rows += [[name, *(number_text(one.values.get(name, "-")) for _, one in columns)] for name in names]
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in rows[0])
    cells = ["".join(f"<td title='{html.escape(cell)}'>{breakable(cell)}</td>" for cell in row) for row in rows[1:]]
    return f"<div class='table values'><table>{''.join(f'<tr>{row}</tr>' for row in [head, *cells])}</table></div>"


def code(lines: Sequence[str], kept: bool) -> str:
    """Return code that loads a trial, for a script or a notebook that has the tuner."""
    lost = "" if kept else " Its weights were not kept here: <code>tuner.hypermodel.build(best)</code> has new weights."
    return f"<pre>{html.escape(chr(10).join(lines))}</pre><p>{RECIPE}{lost}</p>"
