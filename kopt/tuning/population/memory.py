"""The memory of a population: how many members a program may have."""

import logging

from kopt.state import training_variables
from kopt.training.execute.base import TracedStep
from kopt.training.execute.estimate import Plan, work_of
from kopt.training.execute.resident import bytes_of
from kopt.training.feed.chunks import Arrays
from kopt.training.feed.placement import free_bytes
from kopt.tuning.population.structure import Group
from kopt.values.checks import require

log = logging.getLogger("kopt")

COPIES = 4  # of a member's state at a time: before and after an update, gradients, the best epoch's


def most_members(traced: TracedStep, arrays: Arrays) -> int:
    """Return the number of members that a quarter of the free memory holds, one at the least.

    A member takes four times its weights, statistics and rule's state, and what the operations of a step write for a
    batch.

    Args:
        traced: The step of a member alone.
        arrays: The data.

    Returns:
        The number.
    """
    model = traced.model
    state = COPIES * bytes_of(training_variables(model))
    plan = Plan(None, lambda: traced.trace(arrays.whole_batch, False), arrays.fixed_size)
    member, there = state + work_of(plan).moved, free_bytes()
    log.info("population: a member takes %.1f MB of %.0f MB", member / 2**20, there / 2**20)
    return max(1, there // member)


def require_room(members: int, traced: TracedStep, arrays: Arrays) -> None:
    """Raise ValueError when members that must be one program do not fit in a quarter of the free memory."""
    most = most_members(traced, arrays)
    require(members <= most, "members", f"must be <= {most}, which a quarter of the free memory holds", members)


def parts_of(group: Group, asked: int | None, traced: TracedStep, arrays: Arrays) -> list[Group]:
    """Split a group into as many as the memory asks for, or more; the log says so.

    Args:
        group: The group.
        asked: The most members that a part may have; None for what the memory holds.
        traced: The step of a member alone.
        arrays: The data.

    Returns:
        The parts, as even as it goes.
    """
    most = most_members(traced, arrays)
    parts = group.split(min(most, asked or most))
    if len(parts) > 1:
        size, count = len(parts[0].recipes), len(group.recipes)
        log.info("population: %d members in %d parts of %d at the most", count, len(parts), size)
    return parts
