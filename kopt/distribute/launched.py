"""What a process that `kopt launch --tuners` started is told, and what it tells."""

import os
import pathlib
import sys
import time

__all__ = ["began_trial", "clock_start", "environment", "launch_name", "may_leave", "number"]

RECYCLE = 75  # the exit code that asks for a new process (EX_TEMPFAIL)
NUMBER, NAME, STARTED, TRIALS, TOLD = (
    f"KOPT_TUNER_{name}" for name in ("NUMBER", "LAUNCH", "STARTED", "TRIALS", "TOLD")
)


def environment(number: int, name: str, told: pathlib.Path, recycle: int | None) -> dict[str, str]:
    """What a launched process is told.

    Args:
        number: Which it is, from 0.
        name: What all processes of the launch share.
        told: A file to which it adds a byte for each trial that it begins.
        recycle: After how many trials it should make way for a new one; None for never.

    Returns:
        Environment variables.

    Example:
        >>> environment(2, "a", pathlib.Path("told"), None)["KERASTUNER_TUNER_ID"]
        'tuner2'
    """
    found = {NUMBER: str(number), NAME: name, STARTED: str(time.monotonic()), TOLD: str(told)}
    found["KERASTUNER_TUNER_ID"] = f"tuner{number}"
    return found | ({TRIALS: str(recycle)} if recycle else {})


def number() -> int:
    """Which of the launched processes this is; 0 for one that was not launched.

    Example:
        >>> number()
        0
    """
    return int(os.environ.get(NUMBER, "0"))


def launch_name() -> str | None:
    """What all processes of one launch share; None for one that was not launched.

    Example:
        >>> launch_name() is None
        True
    """
    return os.environ.get(NAME)


def clock_start() -> float:
    """Return when the search began, in `time.monotonic()`: at the launch, also in a process that was restarted.

    All processes of a machine share that clock, and it cannot be set; it stands still while the machine sleeps.

    Example:
        >>> clock_start() <= time.monotonic()
        True
    """
    return float(os.environ.get(STARTED, time.monotonic()))


def began_trial() -> None:
    """Tell the launcher that this process has begun a trial, so that it is worth starting again.

    Example:
        >>> began_trial()
    """
    if TOLD in os.environ:
        with open(pathlib.Path(os.environ[TOLD]), "a") as file:
            file.write(".")


def may_leave(trials: int) -> None:
    """End this process when it has run as many trials as a launched one should; the launcher starts a new one.

    Args:
        trials: How many it has run.

    Raises:
        SystemExit: Then.

    Example:
        >>> may_leave(1000)
    """
    if trials >= float(os.environ.get(TRIALS, "inf")):
        sys.exit(RECYCLE)
