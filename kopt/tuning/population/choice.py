"""The choice how members are computed: all of them in each step, or one after the other."""

from kopt.training.execute.estimate import COMPILE_SECONDS, Work
from kopt.training.execute.xla import on_gpu

__all__ = ["why_in_turn"]

# Measured by recipes/benchmarks/population_turns.py on a CPU.
MAPPED_BYTES = 2**22  # that a member's step may write: more, of all members, leave the caches between two steps
MAPPED_SECONDS = 8e-5  # that a step of a member takes less where all are in each step


def why_in_turn(work: Work, members: int, steps: int) -> str:
    """Return why members should take turns, empty when all should be in each step.

    Mapped steps start an operation once for all members. What they write is in no cache any more at the next step where
    it is large; and their program takes about as long again to compile as that of one member.

    Args:
        work: The work of a member's step.
        members: The number of members.
        steps: The number of steps of each.

    Example:
        >>> small = Work(compiled=113, started=113, moved=361_908)
        >>> why_in_turn(small, members=32, steps=370)
        ''
        >>> why_in_turn(small, members=2, steps=370)
        'all in each step would save about 0.1 s and take 0.3 s to compile'
    """
    if work.moved > MAPPED_BYTES and not on_gpu():
        return f"a step writes {work.moved / 2**20:.0f} MB a member, more than caches hold of all"
    saved, taken = members * steps * MAPPED_SECONDS, work.compiled * COMPILE_SECONDS
    if saved < taken:
        return f"all in each step would save about {saved:.1f} s and take {taken:.1f} s to compile"
    return ""
