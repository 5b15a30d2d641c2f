"""Ends the processes of a launcher that has died, even by SIGKILL.

The launcher runs this file as a script, which imports nothing of kopt: it starts at once and takes little memory. Each
line of standard input is the number of a process group that was started, or with a minus sign of one that has ended.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable

__all__ = ["end_groups", "is_there", "open_groups", "signalled"]


def open_groups(lines: Iterable[str]) -> set[int]:
    """Read lines to their end, which comes when the launcher ends; return the process groups that are left.

    Args:
        lines: Numbers of process groups; a negative number takes one out.

    Returns:
        The numbers of the process groups.

    Example:
        >>> open_groups(["17", "18", "-17"])
        {18}
    """
    groups: set[int] = set()
    for number in map(int, lines):
        if number > 0:
            groups.add(number)
        else:
            groups.discard(-number)
    return groups


def signalled(group: int, number: int) -> bool:
    """Send a signal to a process group.

    Args:
        group: The number of the process group.
        number: The number of the signal; 0 only asks whether the group has a process.

    Returns:
        Whether the group has a process.

    Example:
        >>> signalled(os.getpgrp(), 0)
        True
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: a group of ended processes is forbidden
        os.killpg(group, number)
        return True
    return False


def is_there(group: int) -> bool:
    """Tell whether a process group has a process.

    Args:
        group: The number of the process group.

    Example:
        >>> is_there(os.getpgrp())
        True
    """
    return signalled(group, 0)


def end_groups(groups: Iterable[int], grace: float, runs: Callable[[int], bool] = is_there) -> None:
    """Send SIGTERM to process groups; when they have ended or some time has passed, SIGKILL to what is left of them.

    Args:
        groups: The numbers of the process groups.
        grace: Seconds between the two signals.
        runs: Tells whether a process group still has to be waited for.

    Example:
        >>> end_groups([], 5.0)
    """
    groups, deadline = list(groups), time.monotonic() + grace
    try:
        for group in groups:
            signalled(group, signal.SIGTERM)
        while any(map(runs, groups)) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:  # also when Ctrl-C comes while this waits
        for group in groups:
            signalled(group, signal.SIGKILL)


if __name__ == "__main__":
    end_groups(open_groups(sys.stdin), float(sys.argv[1]))
