"""launch: processes on this machine: a training cluster, or tuners that share a search."""

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
from collections.abc import Iterator, Sequence
from typing import IO, Any

import tensorflow as tf

from kopt.distribute import launched
from kopt.values.checks import require

__all__ = ["launch", "launch_tuners"]

QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONUNBUFFERED": "1"}
PATIENCE = 10.0  # seconds that a worker has to end after it was asked to


def launch(command: Sequence[str], *, workers: int = 2, out: IO[str] | None = None) -> int:
    """Run a script as a training cluster on this machine: so many processes, each with its TF_CONFIG and devices.

    GPUs are dealt out evenly, and hidden where there are fewer than workers; without them each worker has its share of
    the cores. Every line that a worker prints comes out with its number before it. When one worker fails, or this
    process is told to end, all are stopped.

    Args:
        command: A Python script and its arguments.
        workers: How many processes, >= 1.
        out: Where the lines go; standard output when None.

    Returns:
        0 when every worker ended well, else the exit code of the first that failed (128 + its number for a signal).

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
    """Run a script that searches with `kopt.tuning.Tuner` as so many processes, which share its search.

    Each has its own GPUs, or its share of the cores, and its number before each line that it prints. One that dies is
    started again where it has begun a trial since its last start, so that a script which cannot run is not for ever.

    Args:
        command: A Python script and its arguments.
        tuners: How many processes, >= 1.
        gpus: The GPUs to deal out evenly, by their numbers; all of this machine when None.
        recycle: After how many trials a process makes way for a new one, which frees all memory; None for never.
        out: Where the lines go; standard output when None.

    Returns:
        0 when every process ended well, else the exit code of the first that did not (128 + its number for a signal).

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
            told = pathlib.Path(folder) / str(number)
            told.touch()
            environment = QUIET | os.environ | share | launched.environment(number, name, told, recycle)
            environment.pop("TF_CONFIG", None)
            slots.append(Slot(command, number, environment, told, out or sys.stdout))
            stack.callback(slots[-1].stop)
        while None in (codes := [slot.code() for slot in slots]):
            time.sleep(0.05)
    return next((code for code in codes if code), 0)


class Slot:
    """A place for a tuner process, which is started again when it dies at its work."""

    def __init__(self, command: Sequence[str], number: int, environment: Any, told: pathlib.Path, out: IO[str]):
        self.start = lambda: worker(command, number, environment, out)
        self.number, self.told, self.out = number, told, out
        self.begun = 0  # trials, at the last start
        self.stack = contextlib.ExitStack()
        self.process = self.stack.enter_context(self.start())

    def code(self) -> int | None:
        """The exit code; None while it runs, or was started again."""
        code, begun = self.process.poll(), self.told.stat().st_size
        if code and begun > self.begun:
            self.stack.close()
            if code != launched.RECYCLE:
                print(f"[{self.number}] ended with {code}, is started again", file=self.out, flush=True)
            self.begun, self.process = begun, self.stack.enter_context(self.start())
            return None
        return code if code is None or code >= 0 else 128 - code

    def stop(self) -> None:
        self.stack.close()


def require_count(name: str, count: Any) -> None:
    whole = isinstance(count, int) and not isinstance(count, bool) and count >= 1
    require(whole, name, "must be a whole number >= 1", count)


def require_script(command: Sequence[str]) -> None:
    require(bool(command), "command", "must name a script", list(command))
    require(os.path.isfile(command[0]), "command", "must begin with a script's file", command[0])


def environments(workers: int) -> list[dict[str, str]]:
    """What each worker's environment has beside this process'."""
    places = [f"127.0.0.1:{port}" for port in free_ports(workers)]
    configs = [
        json.dumps({"cluster": {"worker": places}, "task": {"type": "worker", "index": number}})
        for number in range(workers)
    ]
    return [QUIET | os.environ | {"TF_CONFIG": config} | share for config, share in zip(configs, shares(workers))]


def shares(workers: int, given: Sequence[str] | None = None) -> list[dict[str, str]]:
    """The devices of each worker."""
    there = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = there.split(",") if there else [str(n) for n in range(len(tf.config.list_physical_devices("GPU")))]
    gpus = found if given is None else given
    each = len(gpus) // workers
    if each:
        return [{"CUDA_VISIBLE_DEVICES": ",".join(gpus[n * each : (n + 1) * each])} for n in range(workers)]
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    return [{"CUDA_VISIBLE_DEVICES": "", "TF_NUM_INTRAOP_THREADS": threads}] * workers


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def worker(command: Sequence[str], number: int, environment: Any, out: IO[str]) -> Iterator[subprocess.Popen[str]]:
    """A worker with its lines passed on; at the end of the block it is stopped, and what it started."""
    how: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    with subprocess.Popen([sys.executable, *command], env=environment, start_new_session=True, **how) as process:
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


def pass_on(lines: Any, prefix: str, out: IO[str]) -> None:
    for line in lines:
        print(prefix + line.rstrip("\n"), file=out, flush=True)
