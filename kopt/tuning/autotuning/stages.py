"""The stages of a search: rates, what differs from the best of them in one thing, and whole runs."""

import math
from collections.abc import Sequence

from kopt.tuning.autotuning.proposals import beyond, combined, falling, finer, is_constant, penalties, rates, variants
from kopt.tuning.autotuning.search import Search, Trial
from kopt.tuning.autotuning.settings import Settings

SHORT, MIDDLE, LONG = 0.1, 0.2, 0.4  # the lengths of stages, in whole runs
FIRST = 0.45  # the share of the search that is for rates
THREE, FEW, MANY = 3, 4, 6  # runs that a stage has rather than longer ones


def compared(search: Search) -> list[Settings]:
    """Return the start, to be among short runs; nothing where its rate is constant.

    Beside a rate that falls, a constant one is better in a short run than in a whole one.
    """
    return [] if is_constant(search.start.schedule) else [search.held]


def try_rates(search: Search) -> list[Trial]:
    """Try rates in short runs; in whole ones, and penalties too, where these are affordable.

    Args:
        search: The search.

    Returns:
        The trials, the best first.
    """
    found = rates(search.start, falling(search.start.schedule))
    usual = search.held.rule.usual_rate
    likely = sorted(found, key=lambda one: abs(math.log(one.rate / usual)))[:2]
    more = [one for rate in likely for one in penalties(rate, search.start)]
    there = search.affordable([search.held, *found, *more], search.epochs, search.limit)
    if len(there) > len(found) or search.left < search.short:
        return search.tried("rates", there, search.epochs, search.seeds(there, search.epochs, search.limit))
    later = (1 - FIRST) * search.left >= max(0.3, 2 * search.costs.program)
    limit, asked = search.left * (FIRST if later else 1), [*compared(search), *found]
    there, epochs = search.longest(asked, limit, search.length(LONG), search.length(SHORT), len(asked))
    for count in (FEW, THREE, 2) if later else (THREE, 2):
        if not there:
            there, epochs = search.longest(asked, limit, search.length(SHORT), 1, count)
    there = search.affordable(asked if later else [*asked, *more], epochs, limit)
    return search.tried("rates", there, epochs, search.seeds(there, epochs, limit))


def try_variants(search: Search, before: Sequence[Trial]) -> list[Trial]:
    """Try what differs from the best settings in one thing, in longer runs; the two best too.

    Args:
        search: The search.
        before: The trials of the stage before, the best first.

    Returns:
        The trials, the best first; those before where the budget pays for no more.
    """
    best, least = leading(search, before), before[0].epochs
    asked = [*compared(search), *best[:2], *beyond(best), *variants(best[0], search.start, search.costs)]
    asked = list(dict.fromkeys(asked))
    found, epochs = search.longest(asked, search.limit - search.spent, search.epochs, search.epochs, MANY)
    if not found and least < search.epochs:
        long, middle = search.length(LONG), search.length(MIDDLE)
        for most, fewest, count in (
            (long, middle, len(asked)),
            (middle, math.ceil(1.5 * least), MANY),
            (long, least, FEW),
        ):
            if not found:
                found, epochs = search.longest(asked, search.left, most, fewest, count)
    return search.tried("variants", found, epochs) if len(found) > 2 else list(before)


def try_finer(search: Search, before: Sequence[Trial]) -> list[Trial]:
    """Try changes together, and rates near the best one, where the budget pays for four longer runs.

    Args:
        search: The search.
        before: The trials of the stage before, the best first.

    Returns:
        The trials, the best first; those before where the budget pays for no more.
    """
    best = leading(search, before)
    asked = [*compared(search), best[0], *together(search, before), *finer(best[0]), *best[1:3]]
    found, epochs = search.longest(asked, search.limit - search.spent, search.epochs, search.epochs, FEW)
    if not found and before[0].epochs < search.length(LONG):
        found, epochs = search.longest(asked, search.left, search.length(LONG), search.length(LONG), FEW)
    return search.tried("finer", found, epochs) if found else list(before)


def try_whole(search: Search, before: Sequence[Trial]) -> Trial:
    """Train the start and the best settings whole, and others and more seeds of the start where that is affordable.

    Args:
        search: The search.
        before: The trials of the stage before, the best first.

    Returns:
        The best of all whole runs, the start where nothing is better.
    """
    limit, epochs = search.limit - search.spent, search.epochs
    best = [one for one in leading(search, before) if one != search.held]
    beside = [one for one in best if one in search.affordable([search.held, one], epochs, limit)]
    asked = [search.held, *beside[:1], *together(search, before), *beside[1:2]]
    found = search.affordable(asked, epochs, limit)
    search.tried("whole", found, epochs, search.seeds(found, epochs, limit))
    return max(search.done(epochs).values(), key=lambda one: (one.key, one.settings == search.held))


def leading(search: Search, before: Sequence[Trial]) -> list[Settings]:
    """Return the settings of trials, the best first; a start that is not to be compared in short runs last."""
    best = [trial.settings for trial in before]
    last = [search.held] if before[0].epochs < search.epochs and not compared(search) else []
    return [*(one for one in best if one not in last), *(one for one in last if one in best)]


def together(search: Search, before: Sequence[Trial]) -> list[Settings]:
    """Return settings with all changes that were better than the best rate alone; nothing for one change or none."""
    first = sorted((one for one in search.trials if one.stage == "rates"), key=lambda one: one.key, reverse=True)
    base = leading(search, first)[0]
    known = {trial.settings: trial.key for trial in before}
    found = combined([one for one, key in known.items() if base in known and key > known[base]], base)
    return [] if found is None else [found]
