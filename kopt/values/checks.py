"""One voice for bad arguments: a sentence that names the argument, the rule and the value."""

import difflib
import importlib
import itertools
import math
import reprlib
from collections.abc import Iterable
from typing import Any

import numpy as np

__all__ = ["is_among", "is_finite", "is_whole", "needs", "require", "shown", "unknown"]

LONGEST = 160  # characters of a value in a sentence


class Short(reprlib.Repr):
    """Python's short `repr`, but with a dict in its own order."""

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        """Return the first items of a dict."""
        if x and level <= 0:
            return "{...}"
        one = lambda value: self.repr1(value, level - 1)
        items = [f"{one(key)}: {one(x[key])}" for key in itertools.islice(x, self.maxdict)]
        return "{" + ", ".join(items + ["..."] * (len(x) > self.maxdict)) + "}"


SHORT = Short()
SHORT.maxtuple = SHORT.maxlist = SHORT.maxset = SHORT.maxfrozenset = SHORT.maxdict = 20
SHORT.maxstring = SHORT.maxother = SHORT.maxlong = LONGEST


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
        raise ValueError(f"{name} {rule}, got {shown(value)}.")


def shown(value: Any) -> str:
    """Return a value as it stands in a sentence: on one line, cut in the middle where it is long.

    Args:
        value: Anything; of a long list only the first elements are looked at.

    Returns:
        Its `repr`, of at most 160 characters.

    Example:
        >>> len(shown(list(range(10**6)))), shown((1, "a"))
        (75, "(1, 'a')")
    """
    text = " ".join(SHORT.repr(value).split())
    half = (LONGEST - 3) // 2
    return text if len(text) <= LONGEST else f"{text[:half]}...{text[-half:]}"


def is_among(value: Any, *options: Any) -> bool:
    """Tell whether a value is one of some options, type and all: 1 is not True, and an array is nothing of the kind.

    Args:
        value: Anything.
        *options: Texts, numbers, True, False, None.

    Returns:
        Whether it is.

    Example:
        >>> is_among(1, "auto", True, False), is_among(True, "auto", True, False)
        (False, True)
    """
    return any(type(value) is type(option) and value == option for option in options)


def is_whole(value: Any) -> bool:
    """Tell whether a value is a whole number >= 0; True and False are none.

    Args:
        value: Anything.

    Example:
        >>> is_whole(0), is_whole(np.int64(2)), is_whole(-1), is_whole(2.0), is_whole(True)
        (True, True, False, False, False)
    """
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and int(value) >= 0


def is_finite(value: Any) -> bool:
    """Tell whether a value is a finite number; True and False are none.

    Args:
        value: Anything.

    Example:
        >>> is_finite(-1.5), is_finite(np.float32(2)), is_finite(float("nan")), is_finite(True), is_finite("1")
        (True, True, False, False, False)
    """
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and math.isfinite(value)


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
    return ValueError(f"{kind} must be one of {', '.join(names)}, got {shown(name)}{hint}.")


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
