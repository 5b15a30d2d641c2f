"""What time_to_target found: performance profiles and scores, as tables in Markdown and as a picture."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from target_rows import Cost, Table
from targets import WORKS

from kopt.report.figure import Figure
from kopt.report.style import COLORS, TITLE, plain, titled

__all__ = ["lines", "picture", "profile", "score"]

WORST = 4.0
TUNED, USUAL = "tuned", "self-tuning"  # the tracks whose trainings count

Costs = dict[str, dict[str, float]]  # of a rule, on a work


def profile(costs: Costs, rule: str, times: float) -> float:
    """Return the share of works in which a rule took at most so many times what the fastest took."""
    works = list(next(iter(costs.values())))
    fastest = {work: min(one[work] for one in costs.values()) for work in works}
    return sum(math.isfinite(costs[rule][work]) and costs[rule][work] <= times * fastest[work] for work in works) / len(
        works
    )


def score(costs: Costs, rule: str) -> float:
    """Return the mean of a rule's profile from 1 to `WORST` times the fastest: exact, for the profile has steps."""
    works = list(next(iter(costs.values())))
    total = 0.0
    for work in works:
        fastest = min(one[work] for one in costs.values())
        if math.isfinite(costs[rule][work]):
            total += max(0.0, WORST - costs[rule][work] / fastest)
    return total / (len(works) * (WORST - 1))


def costs_of(table: Table, track: str, what: str) -> Costs:
    """Return what each rule took on each work, for the works that make the most pairs with the rules done on all."""
    done = {(row["work"], row["rule"]) for row in table.rows if row["track"] == track}
    rules = sorted({rule for _, rule in done})
    works = [work for work in WORKS if any(one == work for one, _ in done)]
    on_all = {
        chosen: [rule for rule in rules if all((work, rule) in done for work in chosen)]
        for count in range(1, len(works) + 1)
        for chosen in itertools.combinations(works, count)
    }
    most = max(on_all, key=lambda chosen: (len(chosen) * len(on_all[chosen]), len(chosen)), default=())
    cost = lambda work, rule: getattr(Cost.of(table.of(work, rule, track)), what)
    return {rule: {work: cost(work, rule) for work in most} for rule in on_all.get(most, ())}


def lines(table: Table) -> Iterator[str]:
    """Yield the lines of the tables, in Markdown: scores over the works that many rules share, then each work alone."""
    for track, title in (
        (TUNED, "Tuned: 20 draws, then 5 seeds of the best"),
        (USUAL, "Self-tuning: the defaults, 5 seeds"),
    ):
        costs = costs_of(table, track, "updates")
        if not costs:
            continue
        by_seconds = costs_of(table, track, "seconds")
        timed = not any(math.isnan(row["seconds"]) for row in table.rows)
        works = list(next(iter(costs.values())))
        yield f"### {title}\n"
        yield "| rule | score by updates | " + "by seconds | " * timed + " | ".join(works) + " |"
        yield "|---|---|" + "---|" * timed + "---|" * len(works)
        for rule in sorted(costs, key=lambda rule: (-score(costs, rule), rule)):
            seconds = f"{score(by_seconds, rule):.2f} | " if timed else ""
            cells = " | ".join(written(costs[rule][work]) for work in works)
            yield f"| `{rule}` | {score(costs, rule):.2f} | {seconds}{cells} |"
        yield ""
    for work in WORKS:
        yield from lines_of(table, work)


def lines_of(table: Table, work: str) -> Iterator[str]:
    """Yield the table of the rules that were trained on a work: updates to the target, and seeds that reached it."""
    rules = list(dict.fromkeys(row["rule"] for row in table.rows if row["work"] == work and row["track"] == USUAL))
    costs = {rule: [Cost.of(table.of(work, rule, track)) for track in (TUNED, USUAL)] for rule in rules}
    if not rules:
        return
    target = next(row["target"] for row in table.of(work, rules[0], USUAL))
    yield f"### {work}: a validation {WORKS[work].data.score().name} of {target:.4g}\n"
    yield "| rule | updates, tuned | seeds | updates, defaults | seeds |"
    yield "|---|---|---|---|---|"
    for rule, (tuned, usual) in sorted(costs.items(), key=lambda pair: (pair[1][0].updates, pair[1][1].updates)):
        yield f"| `{rule}` | {written(tuned.updates)} | {tuned.reached} | {written(usual.updates)} | {usual.reached} |"
    yield ""


def written(updates: float) -> str:
    """Return a number of updates, or a dash where the target was not reached."""
    return f"{updates:.0f}" if math.isfinite(updates) else "-"


def picture(table: Table, place: Path) -> None:
    """Draw the profiles of the tuned rules by updates, a little apart where they are the same."""
    costs = costs_of(table, TUNED, "updates")
    if not costs:
        return
    figure = Figure(figsize=(6.4, 3.6))
    axes, count = plain(figure.subplots()), len(next(iter(costs.values())))
    times = np.linspace(1, WORST, 601)
    for number, rule in enumerate(sorted(costs, key=lambda rule: -score(costs, rule))[: len(COLORS)]):
        shares = np.array([profile(costs, rule, one) for one in times])
        axes.step(times, shares - 0.006 * number, label=rule, color=COLORS[number], where="post")
    axes.set(xlim=(1, WORST), ylim=(-0.05, 1.02))
    axes.set_xlabel("updates, times those of the fastest rule", fontsize=TITLE)
    axes.set_ylabel(f"share of {count} works at the target", fontsize=TITLE)
    titled(axes, "Tuned rules: how often, within how many times the fewest updates", columns=4)
    figure.savefig(place, dpi=120)
