"""Parts of kopt that the command `kopt` leaves to first use, so that `kopt --help` needs no TensorFlow.

`import kopt` imports everything, for its serialization, its flags of XLA and its old names must be in place before a
program uses Keras: a script may write `import kopt; keras.models.load_model(...)`. The command is no such program. In
its process alone the packages that import TensorFlow are empty at first; `load` fills them, and so does the first use
of a name that they lack. Scripts that `kopt launch` starts are programs of their own, and have everything.
"""

import functools
import importlib
import importlib.util
import pathlib
import sys
import types
from collections.abc import Sequence

__all__ = ["is_command", "late", "load", "needed", "waiting"]

NAMES = ("kopt", "kopt.exe", "kopt-script.py")  # of the console script; the second and the third on Windows

pending: list[str] = []  # packages that are empty, in the order of their first imports
filled: list[str] = []  # packages that were


def is_command(original: Sequence[str], arguments: Sequence[str]) -> bool:
    """Tell whether a process is the command: the console script `kopt`, or `python -m kopt`.

    Args:
        original: `sys.orig_argv`: the interpreter, its options, the program and its arguments.
        arguments: `sys.argv`: the program, "-m" while Python looks for a module, and its arguments.

    Returns:
        Whether it is; False for `python -m kopt.other`, for a script, and for a process that the command has forked or
        spawned, which runs a program of its own.

    Example:
        >>> is_command(["python", "-m", "kopt", "runs"], ["-m", "runs"])
        True
        >>> is_command(["python", "kopt_study.py"], ["kopt_study.py"])
        False
    """
    if not arguments or len(original) <= len(arguments):  # an interpreter without a program
        return False
    program = original[-len(arguments)]
    if arguments[0] == "-m":
        return program in ("kopt", "-mkopt")
    return program == arguments[0] and pathlib.Path(program).name in NAMES


@functools.cache
def waiting() -> bool:
    """Tell whether parts wait for their first use in this process, or have waited.

    Example:
        >>> waiting()
        False
    """
    return is_command(sys.orig_argv, sys.argv)


def late(package: str) -> bool:
    """Tell a package that is being imported whether to leave out its parts; they are then imported at first use.

    Args:
        package: Its `__name__`.

    Returns:
        True in the process of the command until `load`; False in any other.

    Example:
        >>> late("kopt")
        False
    """
    if not waiting() or filled:
        return False
    pending.append(package)
    vars(sys.modules[package])["__getattr__"] = functools.partial(first_use, package)
    return True


def first_use(package: str, name: str) -> object:
    """Return a name that a package lacks: a module in it, or a part, for which everything is loaded."""
    names = vars(sys.modules[package])
    if name not in names["__all__"] and importlib.util.find_spec(f"{package}.{name}") is not None:
        return importlib.import_module(f"{package}.{name}")
    load()
    fill(package)  # before its turn, when a package that is filled needs it
    if name not in names:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return names[name]


def load() -> None:
    """Import all parts of kopt where they are not, with all that `import kopt` puts in place.

    Example:
        >>> load()
    """
    if pending and not filled:
        for package in list(pending):  # "kopt" is the first
            fill(package)


def fill(package: str) -> None:
    """Import a package again, with its parts, where it was left empty."""
    if package in pending:
        pending.remove(package)
        filled.append(package)
        try:
            importlib.reload(sys.modules[package])
        except BaseException:  # the next use is to fail for the same reason
            filled.remove(package)
            pending.insert(0, package)
            raise


def needed(module: str) -> types.ModuleType:
    """Load all parts of kopt, and return a module that a command needs.

    Args:
        module: Its name.

    Returns:
        The module.

    Example:
        >>> needed("kopt.schedules").Cosine(0.1)
        Cosine(0.1)
    """
    load()
    return importlib.import_module(module)
