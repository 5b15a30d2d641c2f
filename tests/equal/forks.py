"""Run a script's `main` several times, each in a process of its own that shares one import of TensorFlow.

    python forks.py script.py '[["arguments", "of the first"], ["of", "the", "second"]]'

A fork may configure devices of its own, for TensorFlow is imported before it and initialized in it.
"""

import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence

BESIDE = 2  # how many run at a time, for two cores


def load(script: str) -> Callable[[Sequence[str]], object]:
    """Return the `main` of a script."""
    sys.path.insert(0, os.path.dirname(script))
    spec = importlib.util.spec_from_file_location("script", script)
    assert spec and spec.loader
    sys.modules["script"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def in_fork(main: Callable[[Sequence[str]], object], arguments: Sequence[str]) -> None:
    """Call `main` in a fork of this process, which ends with 1 after an error."""
    if os.fork():
        return
    code = 1
    try:
        main(arguments)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def run(script: str, jobs: Sequence[Sequence[str]]) -> int:
    """Run all jobs, the first ones first; return how many failed."""
    main, codes = load(script), []
    for number, job in enumerate(jobs):
        if number >= BESIDE:
            codes.append(os.wait()[1])
        in_fork(main, job)
    codes += [os.wait()[1] for _ in range(len(jobs) - len(codes))]
    return sum(code != 0 for code in codes)


if __name__ == "__main__":
    raise SystemExit(run(sys.argv[1], json.loads(sys.argv[2])))
