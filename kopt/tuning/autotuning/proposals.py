"""Proposals: which settings are tried, those first that help most often."""

import math
from collections.abc import Sequence

from kopt.experiment.recipe import Recipe
from kopt.rules import AdamW, Muon, NAdamW, Nesterov, Rule
from kopt.schedules import Cosine, Schedule
from kopt.tuning.autotuning.costs import Costs
from kopt.tuning.autotuning.settings import DECAYS, Settings, penalty_path, rounded

NEAR = 1.5  # rates whose ratio is less are one
FAR = 30  # a ratio of rates
THIRD = math.sqrt(10)
FINE = 10**0.25
WARM_UP = 0.05  # of the run


def rates(start: Recipe, shape: Schedule) -> list[Settings]:
    """Propose rates around the start's and around the usual one of its rule, the likeliest first.

    Args:
        start: The recipe, opened.
        shape: The schedule at any rate.

    Returns:
        Settings that differ in their rates alone, no two of nearly one rate; the start's rate is among them where the
        shape is not the start's.
    """
    held = Settings.of(start)
    usual = held.rule.usual_rate
    far = max(usual, held.rate) > FAR * min(usual, held.rate)  # then it is the usual one that is likelier
    centres = [usual] if far else [usual, held.rate]
    asked = [centre * factor for factor in (1, THIRD, 1 / THIRD, 10, 1 / 10) for centre in centres]
    asked += [held.rate * factor for factor in (1, THIRD, 1 / THIRD, 10)]
    taken: list[float] = [held.rate] if shape == start.schedule else []
    first = len(taken)
    for rate in map(rounded, asked):
        if rate > 0 and all(max(rate / one, one / rate) > NEAR for one in taken):
            taken.append(rate)
    return [held.but(rate=rate, shape=shape) for rate in taken[first:]]


def beyond(tried: Sequence[Settings]) -> list[Settings]:
    """Propose the rate beyond the best one, where this is the highest or the lowest of those that were tried.

    Args:
        tried: Settings, the best first.
    """
    best, others = tried[0], [one.rate for one in tried]
    factors = [THIRD] * (best.rate == max(others)) + [1 / THIRD] * (best.rate == min(others))
    return [best.but(rate=rounded(best.rate * factor)) for factor in factors]


def falling(schedule: Schedule) -> Schedule:
    """Return the shape in which rates are tried: the start's, and a cosine for a rate that is constant.

    Args:
        schedule: The schedule of the start, opened.
    """
    return Cosine(1.0) if is_constant(schedule) else schedule


def is_constant(schedule: Schedule) -> bool:
    """Return whether an opened schedule is a constant rate."""
    return isinstance(schedule, Cosine) and schedule.end == schedule.rate


def variants(best: Settings, start: Recipe, costs: Costs) -> list[Settings]:
    """Propose settings that differ from the best ones so far in one thing, those first that help most often.

    Args:
        best: The settings.
        start: The recipe that they are of, opened.
        costs: The sizes of its model and data.

    Returns:
        Settings in the order in which to try them.
    """
    held = Settings.of(start)
    found = [*penalties(best, start), *shapes(best, start), *finer(best), *batches(best, costs), *rules(best, costs)]
    return [one for one in dict.fromkeys(found) if one not in (best, held)]


def penalties(best: Settings, start: Recipe) -> list[Settings]:
    """Propose penalties."""
    path, now = penalty_path(best.recipe(start)), best.penalty
    if path is None or now is None:
        return []
    usual = (0.1, 1.0, 0.01) if path in DECAYS else (1e-4, 1e-3, 1e-5)
    return [best.but(penalty=one) for one in ((now * 10, now / 10, 0.0) if now else usual)]


def shapes(best: Settings, start: Recipe) -> list[Settings]:
    """Propose the start's shape, unless it is constant, a cosine, and one after a warm-up."""
    own = [] if is_constant(start.schedule) else [start.schedule]
    asked = [*own, Cosine(1.0), Cosine(1.0).warmup(WARM_UP * start.training.epochs)]
    at_rate = [best.but(shape=one) for one in asked]
    return [one for one in at_rate if one.recipe(start).schedule != best.recipe(start).schedule]


def finer(best: Settings) -> list[Settings]:
    """Propose rates near the best one."""
    return [best.but(rate=rounded(best.rate * factor)) for factor in (1 / FINE, FINE)]


def batches(best: Settings, costs: Costs) -> list[Settings]:
    """Propose batches of half and of twice the size, with rates that go with the root of the size."""
    size = best.batch_size
    if not isinstance(size, int):
        return []
    root = math.sqrt(2)
    half = [best.but(batch_size=size // 2, rate=rounded(best.rate / root))] if size >= 8 else []
    twice = [best.but(batch_size=size * 2, rate=rounded(best.rate * root))] if size * 8 <= costs.examples else []
    return [*half, *twice]


def rules(best: Settings, costs: Costs) -> list[Settings]:
    """Propose other rules: those of Adam's kind at the best rate, and at their usual one where it has another scale."""
    decay = best.penalty if best.penalty is not None and "weight_decay" in vars(best.rule) else 0.0
    adam = abs(math.log10(best.rule.usual_rate) + 3) < 0.6
    found: list[tuple[Rule, float]] = [(NAdamW(weight_decay=decay), 1.0), (AdamW(weight_decay=decay), 1.0)]
    found += [(Nesterov(), 1.0)]
    if costs.kernels >= 3:  # two hidden ones, for Muon leaves the last one to AdamW
        found.append((Muon(weight_decay=decay or 0.0), 1.0))
    proposals = []
    for rule, factor in found:
        if type(rule) is type(best.rule):
            continue
        same = adam and rule.usual_rate < 5e-3
        usual = [best.rate * factor] if same else [rule.usual_rate, rule.usual_rate * THIRD]
        penalty = best.penalty if "weight_decay" in vars(rule) or "weight_decay" not in vars(best.rule) else None
        proposals += [best.but(rule=rule, rate=rounded(rate), penalty=penalty) for rate in usual]
    return proposals


def combined(better: Sequence[Settings], base: Settings) -> Settings | None:
    """Return settings with the changes of several ones at once; of two that change the same thing the first counts.

    Args:
        better: Settings that were better than the base, the best first.
        base: The settings from which they differ in one thing each.

    Returns:
        The settings; None where they are those of the first one.
    """
    whole = base
    for one in better:
        changes = one.changed(base)
        if not changes.keys() & whole.changed(base).keys():
            whole = whole.but(**changes)
    return whole if better and whole != better[0] else None
