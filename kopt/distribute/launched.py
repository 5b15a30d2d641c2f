"""How `kopt launch --tuners` and the processes that it starts speak to each other."""

import os
import pathlib
import sys
import time

__all__ = ["began_trial", "clock_start", "environment", "launch_name", "may_leave", "number"]

RECYCLE = 75  # the exit code that asks for a new process (EX_TEMPFAIL)
NUMBER, NAME, STARTED, TRIALS, BEGUN = (
    f"KOPT_TUNER_{name}" for name in ("NUMBER", "LAUNCH", "STARTED", "TRIALS", "TOLD")
)


def environment(number: int, name: str, begun: pathlib.Path, recycle: int | None) -> dict[str, str]:
    """Return the environment variables of a process to be launched.

    Args:
        number: The number of the process, from 0.
        name: The name of the launch, which its processes share.
        begun: A file to which the process adds a byte for each trial that it begins.
        recycle: How many trials the process runs before a new process replaces it; None for no limit.

    Returns:
        Environment variables.

    Example:
        >>> environment(2, "a", pathlib.Path("begun"), None)["KERASTUNER_TUNER_ID"]
        'tuner2'
    """
    found = {NUMBER: str(number), NAME: name, STARTED: str(time.monotonic()), BEGUN: str(begun)}
    found["KERASTUNER_TUNER_ID"] = f"tuner{number}"
    return found | ({TRIALS: str(recycle)} if recycle else {})


def number() -> int:
    """Return the number of this launched process; 0 for a process that was not launched.

    Example:
        >>> number()
        0
    """
    return int(os.environ.get(NUMBER, "0"))


def launch_name() -> str | None:
    """Return the name of the launch; None for a process that was not launched.

    Example:
        >>> launch_name() is None
        True
    """
    return os.environ.get(NAME)


def clock_start() -> float:
    """Return when the search began, in `time.monotonic()`: the time of the launch, also in a restarted process.

    All processes of a machine share that clock. Nobody can set it, and it stops while the machine sleeps.

    Example:
        >>> clock_start() <= time.monotonic()
        True
    """
    return float(os.environ.get(STARTED, time.monotonic()))


def began_trial() -> None:
    """Note for the launcher that this process has begun a trial, so that the launcher restarts it when it fails.

    Example:
        >>> began_trial()
    """
    if BEGUN in os.environ:
        with open(pathlib.Path(os.environ[BEGUN]), "a") as file:
            file.write(".")


def may_leave(trials: int) -> None:
    """End this process when it has run as many trials as a launched process may; the launcher starts a new one.

    Args:
        trials: How many trials the process has run.

    Raises:
        SystemExit: When the number of trials is reached.

    Example:
        >>> may_leave(1000)
    """
    if trials >= float(os.environ.get(TRIALS, "inf")):
        sys.exit(RECYCLE)
