"""One voice for bad arguments: a sentence that names the argument, the rule and the value."""

import difflib
import importlib
from collections.abc import Iterable
from typing import Any

__all__ = ["needs", "require", "unknown"]


def require(condition: bool, name: str, rule: str, value: Any) -> None:
    """Raise a `ValueError` that reads "<name> <rule>, got <value>." unless `condition` holds.

    Args:
        condition: What must be true.
        name: The argument's name, as the caller wrote it.
        rule: What is asked of it, from the verb on: "must be > 0".
        value: What was given.

    Raises:
        ValueError: When `condition` is false.

    Example:
        >>> require(0 > 1, "every", "must be > 0", 0)
        Traceback (most recent call last):
        ValueError: every must be > 0, got 0.
    """
    if not condition:
        raise ValueError(f"{name} {rule}, got {value!r}.")


def unknown(kind: str, name: Any, known: Iterable[str]) -> ValueError:
    """Build the error for a name that is not among the known ones, with the nearest of them.

    Args:
        kind: What the name stands for: "schedule", "field".
        name: The name that was not found.
        known: The names that there are.

    Returns:
        A `ValueError` to raise.

    Example:
        >>> raise unknown("schedule", "cosin", ["constant", "cosine"])
        Traceback (most recent call last):
        ValueError: schedule must be one of constant, cosine, got 'cosin' (did you mean 'cosine'?).
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return ValueError(f"{kind} must be one of {', '.join(names)}, got {name!r}{hint}.")


def needs(module: str, extra: str) -> Any:
    """Import a module of an optional dependency.

    Args:
        module: Its name.
        extra: The extra of kopt that installs it.

    Returns:
        The module.

    Raises:
        ImportError: When it is not installed; says the command that installs it.

    Example:
        >>> needs("no_such_module", "recipes")
        Traceback (most recent call last):
        ImportError: no_such_module must be installed for this, by: python -m pip install "kopt[recipes]"
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        raise ImportError(f'{package} must be installed for this, by: python -m pip install "kopt[{extra}]"') from error
