"""How benchmarks time: contenders by turns in one process, medians, and ratios to one of them."""

import statistics
import time
from collections.abc import Callable, Mapping

__all__ = ["alternate", "table"]


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
