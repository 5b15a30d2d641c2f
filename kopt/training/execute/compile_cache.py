"""Compiled programs on disk: what XLA compiles for the CPU in one process is loaded by the next.

TensorFlow looks for a compiled program in a folder of its own, by a hash of the function's name, its attributes, its
arguments' shapes and the whole program before compilation (HLO, constants included), and compares that program to the
one in the file: another model's is never taken. But it raises where a file is damaged or cannot be written. So its
folder is one in the memory of the process, and this module copies between it and `ProgramFiles`, which checks digests:
a disk that is full or may only be read costs the copy and nothing else. What TensorFlow leaves out of its key is in
the name of the folder on disk: its version and build, the processor and its features, the cores, `XLA_FLAGS`.

Found by experiment (TensorFlow 2.21, CPU; 67 programs, one for each kind of operation, and training programs): all can
be written and loaded, and what is loaded computes the same bits. A file has 0.2 to 1 MB and loads in a tenth of the
time in which it is compiled. The names in a key differ between equal models (`dense_3`, `__inference_run_2359`):
`named` replaces them, so that equal models share a program, in a process too. What TensorFlow logs while it loads, that
the file is no text and that the processor lacks a preference of the compiler, means nothing and is silenced.
"""

import contextlib
import functools
import logging
import os
import re
import threading
from collections.abc import Iterator

import tensorflow as tf

from kopt import keras_internals as internals
from kopt.training.execute.program_files import ProgramFiles, place
from kopt.training.execute.xla_flags import MEMORY, installed, kind
from kopt.values.types import ConcreteFunction

log = logging.getLogger("kopt")

NAMES = re.compile(rb"kopt_[0-9a-f]{32}")


def named(function: ConcreteFunction) -> ConcreteFunction:
    """Return a function that XLA compiles, under a name of its content: equal ones are compiled once.

    Args:
        function: A concrete function of `jit_compile=True`. Its first call, or that of the program it is part of, is
            to be within `kept`, in the same thread.

    Returns:
        A concrete function that does the same.
    """
    copy = internals.named_by_content(function)
    copies().lend(internals.name_of(copy))
    return copy


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Have what is compiled within loaded from disk, or kept there; costs nothing where nothing new was named."""
    try:
        with internals.without_native_errors() if copies().loads() else contextlib.nullcontext():
            yield
    except (tf.errors.DataLossError, tf.errors.InternalError):  # of a file that TensorFlow cannot load
        copies().forget()
        raise
    finally:
        copies().collect()


class Waiting(threading.local):
    """A thread's programs that may not have been compiled yet."""

    def __init__(self) -> None:
        self.programs: list[str] = []


class Copies:
    """The copies between TensorFlow's folder in memory and files on disk, of one process.

    Args:
        files: The files; None where none are kept.

    Attributes:
        waiting: The programs to be compiled.
        lent: Names of the files in memory that a program may load, by program.
        compiled: The programs that were compiled or loaded, which TensorFlow has for good.
        pruned: Whether old files were removed.
    """

    def __init__(self, files: ProgramFiles | None):
        self.files, self.pruned = files, False
        self.waiting = Waiting()
        self.lent: dict[str, list[str]] = {}
        self.compiled: set[str] = set()
        self.lock = threading.Lock()

    def lend(self, program: str) -> None:
        """Copy what is on disk for a program to memory, before it is compiled."""
        with self.lock:
            if self.files is None or program in self.compiled or program in self.lent:
                return
            found: dict[str, bytes] = {}
            with self.disk():
                found = self.files.read(program)
            self.waiting.programs.append(program)
            self.lent[program] = list(found)
            tf.io.gfile.makedirs(MEMORY)
            for name, content in found.items():
                with tf.io.gfile.GFile(f"{MEMORY}/{name}", "wb") as file:
                    file.write(content)

    def collect(self) -> None:
        """Copy what was compiled to disk, and empty the memory of what this thread's programs needed."""
        programs = self.waiting.programs
        if not programs:
            return
        with self.lock:
            lent = {name for names in self.lent.values() for name in names}
            # Not what another thread is writing, under another ending.
            new = [name for name in tf.io.gfile.listdir(MEMORY) if name not in lent and name.endswith(".pb")]
            size = sum(map(self.keep, new))
            loaded = [name for program in programs for name in self.lent.pop(program)]
            for name in (*new, *loaded):
                tf.io.gfile.remove(f"{MEMORY}/{name}")
            self.compiled.update(programs)
            programs.clear()
        log.debug("compiled programs: %d from disk, %d new, of %d bytes", len(loaded), len(new), size)

    def keep(self, name: str) -> int:
        """Copy a file in memory to disk, if it is of a named program; return its size."""
        with tf.io.gfile.GFile(f"{MEMORY}/{name}", "rb") as file:
            content = file.read()
        program = NAMES.search(content)
        if self.files is not None and program is not None:
            with self.disk():
                self.files.write(program[0].decode(), name, content)
                if not self.pruned:
                    self.pruned = True
                    self.files.prune()
        return len(content)

    def loads(self) -> bool:
        """Return whether one of this thread's programs is to be loaded."""
        return any(self.lent[program] for program in self.waiting.programs)

    def forget(self) -> None:
        """Remove from disk what this thread's programs were to load: TensorFlow may have refused it."""
        for program in self.waiting.programs:
            if self.files is not None and self.lent[program]:
                with self.disk():
                    self.files.forget(program)

    @contextlib.contextmanager
    def disk(self) -> Iterator[None]:
        """Use the disk; leave it alone from now on where it fails."""
        try:
            yield
        except OSError as error:
            self.files = None
            log.debug("compiled programs are not kept on disk: %s", error)


@functools.cache
def copies() -> Copies:
    """Return the copies of this process."""
    folder = place(os.environ)
    if folder is not None and not installed():
        log.debug("compiled programs are not kept on disk: TensorFlow started before kopt, or has a folder of its own")
        folder = None
    try:
        return Copies(None if folder is None else ProgramFiles(folder, kind()))
    except OSError as error:  # of what tells this processor apart
        log.debug("compiled programs are not kept on disk: %s", error)
        return Copies(None)
