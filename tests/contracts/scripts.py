"""Scripts of recipes/benchmarks, docs and .ci as modules, for the tests of their parts."""

import importlib.util
import pathlib
import sys
from types import ModuleType


def loaded(path: pathlib.Path) -> ModuleType:
    """Return a script as a module of a name of its own."""
    name = f"script_{path.parent.name}_{path.stem}".replace(".", "")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look
    spec.loader.exec_module(module)
    return module
