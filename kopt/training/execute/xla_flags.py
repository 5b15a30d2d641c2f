"""The flags by which TensorFlow keeps the programs that XLA compiles, and what tells machines apart for it."""

import hashlib
import os
import pathlib
from collections.abc import MutableMapping

import tensorflow as tf

from kopt import keras_internals as internals
from kopt.training.execute.program_files import place, processor

MEMORY = "ram://kopt-xla"  # a folder in the memory of a process
DIRECTORY = "tf_xla_persistent_cache_directory"
OURS = f"--{DIRECTORY}={MEMORY} --tf_xla_persistent_cache_device_types=CPU"
VARIABLE = "TF_XLA_FLAGS"
TELLING = "XLA_FLAGS", VARIABLE, "TF_ENABLE_ONEDNN_OPTS"  # of the environment: what changes the code that is compiled


def install(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have TensorFlow keep what it compiles for the CPU in the memory of the process; done by `import kopt`.

    TensorFlow reads its flags once, when it first looks for devices. A user's own flags stay; where they name a folder,
    it is theirs.

    Args:
        environment: Where the flags are set, and `KOPT_CACHE` may be "off".

    Example:
        >>> environment = {"TF_XLA_FLAGS": "--tf_xla_auto_jit=2"}
        >>> with_flags(environment["TF_XLA_FLAGS"]).split()[:2]
        ['--tf_xla_auto_jit=2', '--tf_xla_persistent_cache_directory=ram://kopt-xla']
        >>> install({"KOPT_CACHE": "off"})

    Raises:
        ValueError: When `KOPT_CACHE` begins with the home of a user who is not there.
    """
    place(environment)  # refuses a folder that cannot be
    given = environment.get(VARIABLE, "")
    wanted = without_flags(given) if environment.get("KOPT_CACHE") == "off" else with_flags(given)
    if wanted != given and not internals.devices_started() and known():
        environment[VARIABLE] = wanted


def installed() -> bool:
    """Return whether TensorFlow was given the flags, by this process or the one that started it."""
    return OURS in os.environ.get(VARIABLE, "")


def with_flags(given: str) -> str:
    """Return flags with those of kopt; as they are where they name a folder, or a file that holds the flags."""
    theirs = DIRECTORY in given or not f"{given.lstrip()}-".startswith("-")
    return given if theirs else f"{given} {OURS}".lstrip()


def without_flags(given: str) -> str:
    """Return flags without those of kopt, which a process gets from the one that started it."""
    return given.replace(OURS, "").rstrip()


def known() -> bool:
    """Return whether this TensorFlow has the flags: one that has not ends the process."""
    header = pathlib.Path(tf.__file__).parent / "include" / "tensorflow" / "compiler" / "jit" / "flags.h"
    text = header.read_text() if header.is_file() else ""
    return all(flag.partition("=")[0].removeprefix("--") in text for flag in OURS.split())


def kind() -> str:
    """Return the name of the folder for this TensorFlow, this processor and this environment."""
    build = tf.version.VERSION, tf.version.GIT_VERSION, tf.version.COMPILER_VERSION
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    environment = [without_flags(os.environ.get(name, "")) for name in TELLING]
    told = "\n".join([*build, processor(), str(threads), *environment])
    return f"{tf.version.VERSION}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"
