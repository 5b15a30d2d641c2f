"""launch: a training cluster of processes on this machine."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO, Any

import tensorflow as tf

from kopt.checks import require

__all__ = ["launch"]

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
    whole = isinstance(workers, int) and not isinstance(workers, bool) and workers >= 1
    require(whole, "workers", "must be a whole number >= 1", workers)
    require(bool(command), "command", "must name a script", list(command))
    require(os.path.isfile(command[0]), "command", "must begin with a script's file", command[0])
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


def environments(workers: int) -> list[dict[str, str]]:
    """What each worker's environment has beside this process'."""
    places = [f"127.0.0.1:{port}" for port in free_ports(workers)]
    configs = [
        json.dumps({"cluster": {"worker": places}, "task": {"type": "worker", "index": number}})
        for number in range(workers)
    ]
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONUNBUFFERED": "1"}
    return [quiet | os.environ | {"TF_CONFIG": config} | share for config, share in zip(configs, shares(workers))]


def shares(workers: int) -> list[dict[str, str]]:
    """The devices of each worker."""
    there = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = there.split(",") if there else [str(n) for n in range(len(tf.config.list_physical_devices("GPU")))]
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
