"""Trainings that receive signals, each in a process that ends as Python itself ends it.

    python tests/faults/stopped.py '[{"folder": "runs/a", "training": "everything", "signals": [["SIGTERM", ...]]}]'

prints a JSON list: the exit code, and the digests of the end where training came to it.
"""

import json
import os
import pathlib
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[2]), str(pathlib.Path(__file__).parent)]

import keras  # noqa: E402
from killed_trainings import Fits, train  # noqa: E402
from killing import counted  # noqa: E402


def sending(names: list[str], report: pathlib.Path) -> Callable[..., Any]:
    """Return what sends signals to this process in place of a call, and notes the CPU time at which it did."""

    def send(stock: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        report.with_suffix(".sent").write_text(str(time.process_time()))
        for name in names:
            os.kill(os.getpid(), signal.Signals[name])
            time.sleep(0.001)  # for Python to call the handler
        return stock(*arguments, **named)

    return send


def main(job: dict[str, Any], report: pathlib.Path) -> None:
    """Run a training that may receive signals; write what it ends with."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    fits = Fits(pathlib.Path(job["folder"]), every=job.get("every", "1h"), options=job.get("options", {}))
    if "place" not in job:
        found = train(job["training"], fits)
    else:
        with counted(keras.callbacks.CallbackList, *job["place"], sending(job["signals"], report)):
            try:
                found = train(job["training"], fits)
            except BaseException:
                report.with_suffix(".ended").write_text(str(time.process_time()))
                raise
    report.write_text(json.dumps(found))


def result(number: int, report: pathlib.Path) -> dict[str, Any]:
    """Wait for a process; return how it ended."""
    code = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
    found = json.loads(report.read_text()) if report.exists() else None
    sent, ended = report.with_suffix(".sent"), report.with_suffix(".ended")
    seconds = float(ended.read_text()) - float(sent.read_text()) if ended.exists() else None
    return {"code": code, "found": found, "seconds": seconds}


if __name__ == "__main__":
    # At the top of the file: what a child raises goes to Python itself, which makes the exit code of it.
    results: list[dict[str, Any]] = []
    for place, one in enumerate(json.loads(sys.argv[1])):
        where = pathlib.Path(sys.argv[2]) / f"{place}.json"
        child = os.fork()
        if not child:
            main(one, where)
            sys.exit(0)
        results.append(result(child, where))
    print(json.dumps(results))
