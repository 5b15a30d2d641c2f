"""Checks of arguments: every error is one sentence that names the argument, the rule and the value."""

import difflib
import importlib
import itertools
import math
import reprlib
import types
from collections.abc import Iterable
from typing import TypeGuard

import numpy as np

from kopt.values.install import install_command

__all__ = ["is_among", "is_finite", "is_number", "is_whole", "needs", "require", "shown", "unknown"]

LONGEST = 160  # characters of a value in a sentence


class Short(reprlib.Repr):
    """Python's short `repr`, which keeps the order of a dict."""

    def repr_dict(self, x: dict[object, object], level: int) -> str:
        """Return the first items of a dict as text."""
        if x and level <= 0:
            return "{...}"
        first = itertools.islice(x.items(), self.maxdict)
        items = [f"{self.repr1(key, level - 1)}: {self.repr1(value, level - 1)}" for key, value in first]
        return "{" + ", ".join(items + ["..."] * (len(x) > self.maxdict)) + "}"


SHORT = Short()
SHORT.maxtuple = SHORT.maxlist = SHORT.maxset = SHORT.maxfrozenset = SHORT.maxdict = 20
SHORT.maxstring = SHORT.maxother = SHORT.maxlong = LONGEST


def require(condition: bool, name: str, rule: str, value: object) -> None:
    """Raise a `ValueError` that reads "<name> <rule>, got <value>." unless `condition` holds.

    Args:
        condition: The condition that must hold.
        name: The name of the argument, as the caller wrote it.
        rule: The rest of the sentence, from the verb on: "must be > 0".
        value: The value that the caller gave.

    Raises:
        ValueError: When `condition` is false.

    Example:
        >>> require(0 > 1, "every", "must be > 0", 0)
        Traceback (most recent call last):
        ValueError: every must be > 0, got 0.
    """
    if not condition:
        raise ValueError(f"{name} {rule}, got {shown(value)}.")


def shown(value: object) -> str:
    """Return a value as text for an error: on one line, and cut in the middle when it is long.

    Args:
        value: Any object; of a long list only the first elements are read.

    Returns:
        The `repr` of the value, of at most 160 characters.

    Example:
        >>> len(shown(list(range(10**6)))), shown((1, "a"))
        (75, "(1, 'a')")
    """
    text = " ".join(SHORT.repr(value).split())
    half = (LONGEST - 3) // 2
    return text if len(text) <= LONGEST else f"{text[:half]}...{text[-half:]}"


def is_among(value: object, *options: object) -> bool:
    """Tell whether a value equals one of some options and has its type: 1 is not True, and an array equals none.

    Args:
        value: Any object.
        *options: Texts, numbers, True, False, None.

    Returns:
        True when the value is among the options.

    Example:
        >>> is_among(1, "auto", True, False), is_among(True, "auto", True, False)
        (False, True)
    """
    return any(type(value) is type(option) and value == option for option in options)


def is_whole(value: object) -> bool:
    """Tell whether a value is a whole number >= 0; True and False are not.

    Args:
        value: Any object.

    Example:
        >>> is_whole(0), is_whole(np.int64(2)), is_whole(-1), is_whole(2.0), is_whole(True)
        (True, True, False, False, False)
    """
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and int(value) >= 0


def is_finite(value: object) -> bool:
    """Tell whether a value is a finite number; True and False are not.

    Args:
        value: Any object.

    Example:
        >>> is_finite(-1.5), is_finite(np.float32(2)), is_finite(float("nan")), is_finite(True), is_finite("1")
        (True, True, False, False, False)
    """
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and math.isfinite(value)


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value from JSON is a number, NaN and infinity too; True and False are none.

    Args:
        value: Any object.

    Example:
        >>> is_number(2), is_number(float("nan")), is_number(True), is_number("2")
        (True, True, False, False)
    """
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def unknown(kind: str, name: object, known: Iterable[str], *, near: str | None = None) -> ValueError:
    """Build the error for an unknown name, which lists the known names and suggests the nearest one.

    Args:
        kind: The kind of thing that has the name: "schedule", "field".
        name: The name that was not found.
        known: The known names.
        near: The known name to suggest; None for the one that is spelt most alike.

    Returns:
        A `ValueError` to raise.

    Example:
        >>> raise unknown("schedule", "cosin", ["constant", "cosine"])
        Traceback (most recent call last):
        ValueError: schedule must be one of constant, cosine, got 'cosin' (did you mean 'cosine'?).
    """
    names = sorted(known)
    near = near or next(iter(difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)), None)
    hint = f" (did you mean {near!r}?)" if near else ""
    return ValueError(f"{kind} must be one of {', '.join(names)}, got {shown(name)}{hint}.")


def needs(module: str, extra: str) -> types.ModuleType:
    """Import a module of an optional dependency.

    Args:
        module: The name of the module.
        extra: The extra of kopt that installs the module.

    Returns:
        The module.

    Raises:
        ImportError: When the module is not installed; the error gives the command that installs it.

    Example:
        >>> needs("no_such_module", "recipes")
        Traceback (most recent call last):
        ImportError: no_such_module must be installed for this, by: python -m pip install -e ".[recipes]"
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        raise ImportError(f"{package} must be installed for this, by: {install_command(extra)}") from error
