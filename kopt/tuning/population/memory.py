"""The memory of a population: how many members a program may have."""

import logging

from kopt.state import training_variables
from kopt.training.execute.base import TracedStep
from kopt.training.execute.estimate import Plan, work_of
from kopt.training.execute.resident import bytes_of
from kopt.training.feed.chunks import Arrays
from kopt.training.feed.placement import free_bytes

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
