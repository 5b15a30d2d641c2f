"""Every old name of a module goes on working, with one warning."""

import json

import pytest

from kopt.values.moved import moved_modules

IMPORT_ALL = """
import importlib, json, sys, warnings
import kopt
from kopt.values.moved import moved_modules

packages = [importlib.import_module(old.rpartition(".")[0]) for old in moved_modules.moved]
public = {package: {name: getattr(package, name) for name in vars(package).get("__all__", ())}
          for package in packages}
wrong = []
for old, new in moved_modules.moved.items():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        first, again = importlib.import_module(old), importlib.import_module(old)
        exec(f"from {old} import __doc__")
    said = [str(one.message) for one in caught if "the old name will be removed" in str(one.message)]
    ok = first is again is importlib.import_module(new)
    if not ok or said != [f"{old} is now {new}; the old name will be removed in kopt 1.0."]:
        wrong.append([old, new, ok, said])
for package, names in public.items():
    wrong += [[repr(package), name] for name, thing in names.items() if getattr(package, name) is not thing]
print(json.dumps(wrong))
"""
ATTRIBUTES = """
import pickle, sys, warnings
import kopt

warnings.simplefilter("always")
with warnings.catch_warnings(record=True) as caught:
    assert kopt.recipe.Recipe is kopt.Recipe and kopt.recipe is sys.modules["kopt.experiment.recipe"]
    assert kopt.fields is kopt.values
    from kopt.fields import Named, Number, Value, bind, from_json, is_count, number_paths, paths, read, replace, to_json
    from kopt.fields import with_field, written, written_arguments
    from kopt import texts
    from kopt.training.minimize import Minimum
    from kopt.data.look import Look
print([str(one.message).partition(" is now ")[0] for one in caught])
assert kopt.training.minimize is not sys.modules["kopt.training.tools.minimize"] and callable(kopt.training.minimize)
assert callable(kopt.data.look) and kopt.data.Look is Look
print(caught[0].filename)

# As kopt 0.1 pickled it, before the modules moved.
value = kopt.schedules.Cosine(0.1), kopt.Training(3)
old = pickle.dumps(value, 0).replace(b"kopt.experiment.recipe", b"kopt.recipe")
assert b"kopt.experiment" not in old and pickle.loads(old) == value
assert sorted(kopt.__all__) == [name for name in dir(kopt) if not name.startswith("__")], dir(kopt)
"""


@pytest.mark.parametrize("old", moved_modules.moved)
def test_the_table_names_modules_that_are_gone(old: str) -> None:
    from importlib.machinery import PathFinder

    package, _, _ = old.rpartition(".")
    path = __import__(package, fromlist=["__path__"]).__path__
    assert PathFinder.find_spec(old, path) is None


def test_every_old_name_imports_the_new_module_and_warns_once(python) -> None:
    assert json.loads(python("-c", IMPORT_ALL).stdout.splitlines()[-1]) == []


def test_old_names_as_attributes_in_pickles_and_where_a_function_is_now(python) -> None:
    warned, file = python("-c", ATTRIBUTES).stdout.splitlines()[-2:]
    modules = ["kopt.recipe", "kopt.fields", "kopt.texts", "kopt.training.minimize", "kopt.data.look"]
    assert warned == str([*modules, "kopt.data.summary.Look"])
    assert file == "<string>"
