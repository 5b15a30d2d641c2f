"""How benchmarks time: contenders by turns in one process, medians, and ratios to one of them; and peak memory."""

import os
import pathlib
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping

__all__ = ["alternate", "peak_megabytes", "quiet_environment", "table"]


def quiet_environment(**others: str) -> dict[str, str]:
    """Return the environment of a contender's process: this one, no notices of TensorFlow, and others."""
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow", **others}


def peak_megabytes() -> float:
    """Return the most memory that this program has had, in MB.

    On Linux `ru_maxrss` counts what the parent had when it started this process too, and VmHWM does not.
    """
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def alternate(contenders: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """Return the median seconds of each contender: one turn that does not count (it compiles), then all in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(repetitions + 1):
        for name, run in contenders.items():
            started = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def table(seconds: Mapping[str, float], steps: int, base: str) -> str:
    """Return a line for each contender: microseconds a step, and the ratio to the base."""
    lines = [f"{'':44} us a step   times {base}"]
    for name, taken in seconds.items():
        lines.append(f"{name:44} {taken / steps * 1e6:9.0f}   {taken / seconds[base]:.3f}")
    return "\n".join(lines)
