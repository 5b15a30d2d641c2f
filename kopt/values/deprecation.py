"""Deprecation: names of earlier versions go on working, with one warning that says what replaces them."""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
import warnings
from collections.abc import Mapping, Sequence

__all__ = ["MovedModules", "warn_moved"]

renamed: set[str] = set()  # old names within modules, with their packages, that `moved_names` serves


def warn_moved(old: str, new: str, stacklevel: int = 2) -> None:
    """Warn that a name has moved.

    Args:
        old: The name that still works, with its package.
        new: The name that replaces it.
        stacklevel: The line that the warning names: 1 for the caller of this function, 2 for the caller's caller.
            Frames of the import system do not count.

    Example:
        >>> import warnings
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     warn_moved("kopt.fields", "kopt.values")
        >>> print(caught[0].message)
        kopt.fields is now kopt.values; the old name will be removed in kopt 1.0.
    """
    text = f"{old} is now {new}; the old name will be removed in kopt 1.0."
    warnings.warn(text, DeprecationWarning, stacklevel=stacklevel + 1)


class MovedModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """A finder that imports modules by their old names, with a `DeprecationWarning`.

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
        """Let the import system ask this finder for modules that no other finder knows."""
        sys.meta_path.append(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return a spec for an old name, or None for any other name."""
        return importlib.util.spec_from_loader(fullname, self) if fullname in self.moved else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """Return an empty module, which `exec_module` replaces."""
        return types.ModuleType(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Let `sys.modules` hold the module of the new name under the old name."""
        self.load(module.__name__, stacklevel=2)

    def load(self, old: str, stacklevel: int) -> types.ModuleType:
        """Import a module by its old name, with a warning; `stacklevel` as for `warn_moved`."""
        warn_moved(old, self.moved[old], stacklevel + 1)
        sys.modules[old] = module = importlib.import_module(self.moved[old])
        parent, _, name = old.rpartition(".")
        if old in renamed or name in vars(sys.modules[parent]).get("__all__", ()):
            sys.modules[parent].__class__ = KeepsItsNames
        return module


class KeepsItsNames(types.ModuleType):
    """A package with a name, public or renamed, where a module was; importing the old module leaves the name alone."""

    def __setattr__(self, name: str, value: object) -> None:
        public = name in self.__all__ or f"{self.__name__}.{name}" in renamed
        if not (isinstance(value, types.ModuleType) and public):
            super().__setattr__(name, value)
