"""launch: starts processes on this machine: a training cluster, or tuners that share a search."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO

import tensorflow as tf

from kopt.distribute import launched
from kopt.values.checks import require

__all__ = ["launch", "launch_tuners"]

QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONUNBUFFERED": "1"}
PATIENCE = 10.0  # seconds between the signals that end a worker


def launch(command: Sequence[str], *, workers: int = 2, out: IO[str] | None = None) -> int:
    """Run a script as a training cluster on this machine: several processes, each with its TF_CONFIG and devices.

    Workers get equal shares of the GPUs, or none when there are fewer GPUs than workers; without GPUs they get equal
    shares of the cores. The number of the worker stands before each line that it prints. All workers are stopped when
    one fails, or when this process ends.

    Args:
        command: A Python script and its arguments.
        workers: The number of processes, >= 1.
        out: The file for the lines; standard output when None.

    Returns:
        0 when every worker returned 0, else the exit code of the first one that failed (128 + the number of a signal).

    Raises:
        ValueError: When there is no script, or it is not a file.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        ...     _ = script.write("import os, json; print(json.loads(os.environ['TF_CONFIG'])['task'])")
        ...     script.flush()
        ...     launch([script.name], workers=1)
        [0] {'type': 'worker', 'index': 0}
        0

    Source:
        `torchrun --standalone`, with TensorFlow's TF_CONFIG.
    """
    require_count("workers", workers)
    require_script(command)
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(worker(command, number, environment, out or sys.stdout))
            for number, environment in enumerate(environments(workers))
        ]
        while True:
            codes = [process.poll() for process in processes]
            failed = [code for code in codes if code]
            if failed or None not in codes:
                return 0 if not failed else failed[0] if failed[0] > 0 else 128 - failed[0]
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
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        slots = []
        for number, share in enumerate(shares(tuners, gpus)):
            trials = pathlib.Path(folder) / str(number)
            trials.touch()
            environment = QUIET | os.environ | share | launched.environment(number, name, trials, recycle)
            environment.pop("TF_CONFIG", None)
            slots.append(Slot(command, number, environment, trials, out or sys.stdout))
            stack.callback(slots[-1].stop)
        while None in (codes := [slot.code() for slot in slots]):
            time.sleep(0.05)
    return next((code for code in codes if code), 0)


class Slot:
    """A tuner process with a number; a new process takes the slot when one dies during a trial."""

    def __init__(
        self, command: Sequence[str], number: int, environment: Mapping[str, str], trials: pathlib.Path, out: IO[str]
    ):
        self.start = lambda: worker(command, number, environment, out)
        self.number, self.trials, self.out = number, trials, out  # the file of trials has a byte for each one
        self.begun = 0  # number of trials at the last start
        self.stack = contextlib.ExitStack()
        self.process = self.stack.enter_context(self.start())

    def code(self) -> int | None:
        """Return the exit code, or None while a process runs; start a new process after a death during a trial."""
        code, begun = self.process.poll(), self.trials.stat().st_size
        if code and begun > self.begun:
            self.stack.close()
            if code != launched.RECYCLE:
                print(f"[{self.number}] ended with {code}, is started again", file=self.out, flush=True)
            self.begun, self.process = begun, self.stack.enter_context(self.start())
            return None
        return code if code is None or code >= 0 else 128 - code

    def stop(self) -> None:
        """End the process."""
        self.stack.close()


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


@contextlib.contextmanager
def worker(
    command: Sequence[str], number: int, environment: Mapping[str, str], out: IO[str]
) -> Iterator[subprocess.Popen[str]]:
    """Start a worker and copy its lines; at the end of the block, stop the worker and the processes that it started."""
    with subprocess.Popen(
        [sys.executable, *command],
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        reader = threading.Thread(target=pass_on, args=(process.stdout, f"[{number}] ", out), daemon=True)
        reader.start()
        try:
            yield process
        finally:
            for one in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, one)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(PATIENCE)
            reader.join(PATIENCE)


def pass_on(lines: Iterable[str], prefix: str, out: IO[str]) -> None:
    """Copy lines to a file, with a prefix before each one."""
    for line in lines:
        print(prefix + line.rstrip("\n"), file=out, flush=True)
