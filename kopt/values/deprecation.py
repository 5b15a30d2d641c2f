"""Names of earlier versions: they go on working, and say once what replaces them."""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
import warnings
from collections.abc import Mapping, Sequence

__all__ = ["MovedModules", "warn_moved"]


def warn_moved(old: str, new: str, stacklevel: int = 2) -> None:
    """Warn that a name has moved.

    Args:
        old: The name that still works, with its package.
        new: The name that replaces it.
        stacklevel: Whom the warning names: 1 for the caller, 2 for the caller's caller, import system left out.

    Example:
        >>> import warnings
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     warn_moved("kopt.fields", "kopt.values.fields")
        >>> print(caught[0].message)
        kopt.fields is now kopt.values.fields; the old name will be removed in kopt 1.0.
    """
    text = f"{old} is now {new}; the old name will be removed in kopt 1.0."
    warnings.warn(text, DeprecationWarning, stacklevel=stacklevel + 1)


class MovedModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports modules by the names that they had before, with a `DeprecationWarning`.

    Args:
        moved: Old name -> new name, with packages.

    Example:
        >>> finder = MovedModules({"kopt.no_longer": "kopt.values.checks"})
        >>> finder.find_spec("kopt.no_longer").name
        'kopt.no_longer'
        >>> finder.find_spec("kopt.never") is None
        True
    """

    def __init__(self, moved: Mapping[str, str]):
        self.moved = dict(moved)

    def install(self) -> None:
        """Ask this finder for what no other finder knows."""
        sys.meta_path.append(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return a spec for an old name, or None for any other."""
        return importlib.util.spec_from_loader(fullname, self) if fullname in self.moved else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """Return an empty module, which `exec_module` replaces."""
        return types.ModuleType(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Put the module of the new name where the import system looks for the old one."""
        old, new = module.__name__, self.moved[module.__name__]
        warn_moved(old, new, stacklevel=2)
        sys.modules[old] = importlib.import_module(new)
