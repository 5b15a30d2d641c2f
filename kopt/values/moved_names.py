"""Names within a module that have another name since: they go on working, with a deprecation line."""

import importlib
from collections.abc import Callable, Mapping

from kopt.values.deprecation import renamed, warn_moved

__all__ = ["moved_names"]


def moved_names(module: str, moved: Mapping[str, str]) -> Callable[[str], object]:
    """Return the `__getattr__` of a module in which names were renamed.

    Args:
        module: The module's `__name__`.
        moved: Old name -> new name, with its package when it stands in another module.

    Returns:
        A function of a name that warns and returns what has the new name.

    Raises:
        AttributeError: When the function is called with any other name.

    Example:
        >>> import warnings
        >>> old = moved_names("kopt.values.checks", {"demand": "require"})
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     old("demand").__name__
        'require'
        >>> print(caught[0].message)
        kopt.values.checks.demand is now kopt.values.checks.require; the old name will be removed in kopt 1.0.
    """

    renamed.update(f"{module}.{name}" for name in moved)

    def attribute(name: str) -> object:
        if name not in moved:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        new = moved[name] if "." in moved[name] else f"{module}.{moved[name]}"
        warn_moved(f"{module}.{name}", new, stacklevel=2)
        home, _, attribute = new.rpartition(".")
        return getattr(importlib.import_module(home), attribute)

    return attribute
