"""Durations as users write them: seconds, or words such as "1h30m"."""

import re

from kopt.values.checks import require

__all__ = ["seconds_of"]

SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}


def seconds_of(duration: float | str, name: str) -> float:
    """Return a duration in seconds.

    Args:
        duration: Seconds > 0, or words such as "30m", "1h30m", "90s", "2d".
        name: The argument's name, in errors.

    Raises:
        ValueError: When the duration is none of these.

    Example:
        >>> seconds_of("1h30m", "budget")
        5400.0
    """
    rule = "must be seconds > 0 or a duration such as '30m' or '1h30m'"
    if isinstance(duration, str):
        parts = re.findall(r"(\d+(?:\.\d+)?)([dhms])", duration)
        require(bool(parts) and "".join(map("".join, parts)) == duration, name, rule, duration)
        total = sum(float(number) * SECONDS[unit] for number, unit in parts)
    else:
        require(isinstance(duration, (int, float)) and not isinstance(duration, bool), name, rule, duration)
        total = float(duration)
    require(0 < total < float("inf"), name, rule, duration)
    return total
