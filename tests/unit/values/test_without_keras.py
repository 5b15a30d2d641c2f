"""kopt.values needs neither Keras nor TensorFlow."""

CODE = """
import importlib, json, pathlib, pkgutil, sys, types

sys.modules["keras"] = sys.modules["tensorflow"] = None  # importing either raises
kopt = sys.modules["kopt"] = types.ModuleType("kopt")  # kopt/__init__.py imports Keras
kopt.__path__ = [str(pathlib.Path("kopt").resolve())]

import kopt.values

for module in pkgutil.iter_modules(kopt.values.__path__, "kopt.values."):
    importlib.import_module(module.name)

from kopt.values import Number, Registry, Value, bind, from_json, to_json

registry = Registry("shapes")

@registry.register
class Circle(Value):
    radius: Number
    name: str = ""

@registry.register
class Pair(Value):
    first: Circle
    others: tuple[Circle, ...] = ()

pair = Pair(Circle(1), [Circle(2, "two")])
assert from_json(to_json(pair)) == pair == registry.make("pair", Circle(1), (Circle(2.0, name="two"),))
assert bind(pair, {"first.radius": 3}).first == Circle(3)
assert json.loads(to_json(Circle(1))) == {
    "module": "__main__",
    "class_name": "Circle",
    "config": {"radius": 1.0, "name": ""},
    "registered_name": "kopt.shapes>Circle",
}
assert list(json.loads(to_json(Circle(1)))) == ["module", "class_name", "config", "registered_name"]
try:
    from_json(to_json(pair).replace("kopt.shapes>Circle", "kopt.shapes>Square"))
except ValueError as error:
    assert str(error).startswith("value must be of a registered class, got {'module': '__main__'"), error
else:
    raise AssertionError("an unregistered class was revived")
print(sorted(name for name in sys.modules if name.split(".")[0] in ("keras", "tensorflow")))
"""


def test_it_is_imported_and_reads_its_files_with_both_blocked(python) -> None:
    assert python("-c", CODE).stdout == "['keras', 'tensorflow']\n"
