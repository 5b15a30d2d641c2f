"""Processes that a launcher starts: their lines have prefixes, and none of them outlives the launcher."""

import concurrent.futures
import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO, Self

from kopt.distribute import watcher

__all__ = ["GRACE", "Processes", "exit_code", "how_it_ended"]

GRACE = 10.0  # seconds between the signals that end a process
LAST_LINES = 5.0  # seconds to copy what ended processes have printed


class Processes:
    """The processes of a launcher, which are ended together at the end of a block of `with`.

    A process gets SIGTERM, and SIGKILL when it still runs after `grace` seconds; so do the processes that it started. A
    second Ctrl-C during that time ends all at once. When the launcher itself is killed, a small process ends the rest.

    Args:
        out: The file for the lines of the processes.
        grace: Seconds that a process has to end after SIGTERM.

    Example:
        >>> with Processes(sys.stdout) as processes:
        ...     process = processes.start([sys.executable, "-c", "print(1)"], 0, {})
        ...     _ = process.wait()
        [0] 1
    """

    def __init__(self, out: IO[str], grace: float = GRACE) -> None:
        self.out, self.grace = out, grace
        self.readers: dict[subprocess.Popen[str], threading.Thread] = {}

    def __enter__(self) -> Self:
        # Signals end calls of the main thread only, so a start by another thread is never left half done.
        self.starter = concurrent.futures.ThreadPoolExecutor(1)
        self.watcher = subprocess.Popen(
            [sys.executable, "-I", "-S", watcher.__file__, str(self.grace)],
            start_new_session=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.ExitStack() as last:
            last.callback(self.end_watcher)
            last.callback(lambda: self.end(list(self.readers)))
            self.starter.shutdown()

    def end_watcher(self) -> None:
        """End the watcher, whose input ends."""
        assert self.watcher.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.watcher.stdin.close()
        self.watcher.wait()

    def start(self, command: Sequence[str], number: int, environment: Mapping[str, str]) -> subprocess.Popen[str]:
        """Start a process; its number stands before each of its lines."""
        return self.starter.submit(self.start_now, command, number, environment).result()

    def start_now(self, command: Sequence[str], number: int, environment: Mapping[str, str]) -> subprocess.Popen[str]:
        """Start a process in a session of its own, with a thread that copies its lines."""
        process = subprocess.Popen(
            command,
            env=environment,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self.tell(process.pid)
        self.readers[process] = threading.Thread(target=self.copy_lines, args=(process, number), daemon=True)
        self.readers[process].start()
        return process

    def copy_lines(self, process: subprocess.Popen[str], number: int) -> None:
        """Copy the lines of a process to the file, with the number before each one."""
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                print(f"[{number}] " + line.rstrip("\n"), file=self.out, flush=True)

    def tell(self, group: int) -> None:
        """Tell the watcher of a process group that has started, or by a negative number that has ended."""
        assert self.watcher.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # somebody has ended the watcher: the processes go on without
            print(group, file=self.watcher.stdin, flush=True)

    def end(self, processes: Sequence[subprocess.Popen[str]]) -> None:
        """End processes and all that they started, and copy their last lines."""
        started = {process.pid: process for process in processes}
        try:
            watcher.end_groups(started, self.grace, lambda group: started[group].poll() is None)
        finally:
            deadline = time.monotonic() + LAST_LINES
            for process in processes:
                with contextlib.suppress(subprocess.TimeoutExpired):  # it waits for a disk that does not answer
                    process.wait(max(0.0, deadline - time.monotonic()))
                # A process that has left its session may hold the pipe open.
                self.readers.pop(process).join(max(0.0, deadline - time.monotonic()))
                self.tell(-process.pid)


def exit_code(code: int) -> int:
    """Return the exit code that shells give to a process: 128 + the number of the signal that killed it.

    Args:
        code: The `returncode` of a `subprocess.Popen`.

    Example:
        >>> exit_code(3), exit_code(-9)
        (3, 137)
    """
    return code if code >= 0 else 128 - code


def how_it_ended(code: int) -> str:
    """Return in words how a process ended.

    Args:
        code: The `returncode` of a `subprocess.Popen`.

    Example:
        >>> how_it_ended(3), how_it_ended(-9)
        ('ended with 3', 'was killed by SIGKILL')
    """
    if code >= 0:
        return f"ended with {code}"
    known = {int(one): one.name for one in signal.Signals}
    return f"was killed by {known.get(-code, f'signal {-code}')}"
