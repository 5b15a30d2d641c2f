"""launch: starts processes on this machine: a training cluster, or tuners that share a search."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import IO

import tensorflow as tf

from kopt.distribute import launched
from kopt.distribute.processes import GRACE, Processes, exit_code, how_it_ended
from kopt.values.checks import is_finite, is_whole, require

__all__ = ["launch", "launch_tuners"]

QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONUNBUFFERED": "1"}
REFUSED = 2  # the exit code of a script whose arguments are refused: another start would end in the same way


def launch(
    command: Sequence[str],
    *,
    workers: int = 2,
    restarts: int = 0,
    grace: float = GRACE,
    out: IO[str] | None = None,
) -> int:
    """Run a script as a training cluster on this machine: several processes, each with its TF_CONFIG and devices.

    Workers get equal shares of the GPUs, or none when there are fewer GPUs than workers; without GPUs they get equal
    shares of the cores. The number of the worker stands before each line that it prints. When one fails, a line says
    how and the others are ended: they get SIGTERM, and SIGKILL after `grace` seconds. All end when this process ends.

    After a failure all workers may be started again by the same command, on new ports: a script that keeps checkpoints
    goes on from its last one. No worker is started again after exit code 2, by which scripts refuse their arguments.

    Args:
        command: A Python script and its arguments.
        workers: The number of processes, >= 1.
        restarts: How often all workers are started again at most, >= 0.
        grace: Seconds that a worker has after SIGTERM to write a checkpoint, >= 0.
        out: The file for the lines; standard output when None.

    Returns:
        0 when every worker returned 0, else the exit code of the first one that failed at the last start (128 + the
        number of a signal).

    Raises:
        ValueError: When there is no script, it is not a file, or a number is out of its range.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        ...     _ = script.write("import os, json; print(json.loads(os.environ['TF_CONFIG'])['task'])")
        ...     script.flush()
        ...     launch([script.name], workers=1)
        [0] {'type': 'worker', 'index': 0}
        0

    Source:
        `torchrun --standalone --max-restarts`, with TensorFlow's TF_CONFIG.
    """
    require_count("workers", workers)
    require(is_whole(restarts), "restarts", "must be a whole number >= 0", restarts)
    require(is_finite(grace) and grace >= 0, "grace", "must be >= 0 seconds", grace)
    require_script(command)
    out = out or sys.stdout
    for start in range(restarts + 1):
        code = run_workers(command, workers, grace, out)
        if code in (0, REFUSED) or start == restarts:
            break
        print(f"[launch] all workers are started again, {start + 1} of {restarts} times", file=out, flush=True)
    return code


def run_workers(command: Sequence[str], workers: int, grace: float, out: IO[str]) -> int:
    """Start all workers; when one fails, say how and end the others; return the exit code of that one, or 0."""
    with Processes(out, grace) as processes:
        started = [
            processes.start([sys.executable, *command], number, environment)
            for number, environment in enumerate(environments(workers))
        ]
        failed = first_failure(started)
        if failed is None:
            return 0
        number, code = failed
        others = ", the others are ended" if workers > 1 else ""
        print(f"[launch] worker {number} {how_it_ended(code)}{others}", file=out, flush=True)
        return exit_code(code)


def first_failure(processes: Sequence[subprocess.Popen[str]]) -> tuple[int, int] | None:
    """Wait until a process fails, and return its number and code; return None when all have ended with 0."""
    while True:
        codes = [process.poll() for process in processes]
        failed = [(number, code) for number, code in enumerate(codes) if code]
        if failed:  # of several at a time one that a signal killed is the cause: the others have lost it
            return min(failed, key=lambda one: one[1] > 0)
        if None not in codes:
            return None
        time.sleep(0.05)


def launch_tuners(
    command: Sequence[str],
    *,
    tuners: int = 4,
    gpus: Sequence[str] | None = None,
    recycle: int | None = None,
    out: IO[str] | None = None,
) -> int:
    """Run a script that searches with `kopt.tuning.Tuner` in several processes, which share the search.

    Each process has its own GPUs, or its share of the cores, and its number stands before each line that it prints. A
    process that dies is started again when it has begun a trial since its last start; a script that cannot run ends.

    Args:
        command: A Python script and its arguments.
        tuners: The number of processes, >= 1.
        gpus: The numbers of the GPUs to share equally; all GPUs of this machine when None.
        recycle: The number of trials after which a new process replaces one, to free its memory; None for never.
        out: The file for the lines; standard output when None.

    Returns:
        0 when every process returned 0, else the exit code of the first one that failed (128 + the number of a signal).

    Raises:
        ValueError: When there is no script, it is not a file, or there are fewer GPUs than processes.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        ...     _ = script.write("import os; print(os.environ['KERASTUNER_TUNER_ID'])")
        ...     script.flush()
        ...     launch_tuners([script.name], tuners=1)
        [0] tuner0
        0

    Source:
        The worker pools of Ray Tune and of Celery (`--max-tasks-per-child`).
    """
    require_count("tuners", tuners)
    require(recycle is None or recycle >= 1, "recycle", "must be >= 1", recycle)
    require(gpus is None or len(gpus) >= tuners, "gpus", f"must be >= {tuners}, one for each tuner", gpus)
    require_script(command)
    name = uuid.uuid4().hex
    with tempfile.TemporaryDirectory() as folder, Processes(out or sys.stdout) as processes:
        slots = []
        for number, share in enumerate(shares(tuners, gpus)):
            trials = pathlib.Path(folder) / str(number)
            trials.touch()
            environment = QUIET | os.environ | share | launched.environment(number, name, trials, recycle)
            environment.pop("TF_CONFIG", None)
            slots.append(Slot(processes, command, number, environment, trials))
        while None in (codes := [slot.code() for slot in slots]):
            time.sleep(0.05)
    return next((code for code in codes if code), 0)


class Slot:
    """A tuner process with a number; a new process takes the slot when one dies during a trial."""

    def __init__(
        self,
        processes: Processes,
        command: Sequence[str],
        number: int,
        environment: Mapping[str, str],
        trials: pathlib.Path,
    ):
        self.start = lambda: processes.start([sys.executable, *command], number, environment)
        self.processes, self.number, self.trials = processes, number, trials  # trials: a file, a byte for each one
        self.begun = 0  # number of trials at the last start
        self.process = self.start()

    def code(self) -> int | None:
        """Return the exit code, or None while a process runs; start a new process after a death during a trial."""
        code, begun = self.process.poll(), self.trials.stat().st_size
        if code and begun > self.begun:
            self.processes.end([self.process])
            if code != launched.RECYCLE:
                line = f"[{self.number}] {how_it_ended(code)}, is started again"
                print(line, file=self.processes.out, flush=True)
            self.begun, self.process = begun, self.start()
            return None
        return code if code is None else exit_code(code)


def require_count(name: str, count: object) -> None:
    whole = isinstance(count, int) and not isinstance(count, bool) and count >= 1
    require(whole, name, "must be a whole number >= 1", count)


def require_script(command: Sequence[str]) -> None:
    require(bool(command), "command", "must name a script", list(command))
    require(os.path.isfile(command[0]), "command", "must begin with a script's file", command[0])


def environments(workers: int) -> list[dict[str, str]]:
    """Return the environment of each worker."""
    places = [f"127.0.0.1:{port}" for port in free_ports(workers)]
    configs = [
        json.dumps({"cluster": {"worker": places}, "task": {"type": "worker", "index": number}})
        for number in range(workers)
    ]
    return [QUIET | os.environ | {"TF_CONFIG": config} | share for config, share in zip(configs, shares(workers))]


def shares(workers: int, given: Sequence[str] | None = None) -> list[dict[str, str]]:
    """Return the environment variables that give each worker its devices."""
    there = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = there.split(",") if there else [str(n) for n in range(len(tf.config.list_physical_devices("GPU")))]
    gpus = found if given is None else given
    each = len(gpus) // workers
    if each:
        return [{"CUDA_VISIBLE_DEVICES": ",".join(gpus[n * each : (n + 1) * each])} for n in range(workers)]
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    return [{"CUDA_VISIBLE_DEVICES": "", "TF_NUM_INTRAOP_THREADS": threads}] * workers


def free_ports(count: int) -> list[int]:
    """Return the numbers of ports that are free."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
