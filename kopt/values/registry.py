"""Name -> class, for each family of values; tests iterate over these."""

import ast
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import keras

from kopt.values.checks import require, unknown

__all__ = ["Registry"]

Kind = TypeVar("Kind")


def snake_case(name: str) -> str:
    """Turn a class name into the name that users type: `OneCycle` -> `one_cycle`, `AdamW` -> `adamw`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z0-9])", "_", name).lower()


class Registry(Mapping[str, type[Kind]], Generic[Kind]):
    """The classes of one family by name; registering one also registers it with Keras serialization.

    Args:
        family: Plural name of the family; Keras files hold "kopt.<family>><class>".

    Example:
        >>> from kopt import schedules
        >>> schedules.registry["cosine"]
        <class 'kopt.schedules.timed.Cosine'>
        >>> schedules.registry.make("constant", rate=0.1)
        Constant(0.1)
    """

    def __init__(self, family: str):
        self.family = family
        self._classes: dict[str, type[Kind]] = {}

    def register(self, cls: type) -> Any:
        """Class decorator: file `cls` under its snake-case name, here and, if it has a config, with Keras."""
        self._classes[snake_case(cls.__name__)] = cls
        if not hasattr(cls, "get_config"):
            return cls
        return keras.saving.register_keras_serializable(package=f"kopt.{self.family}")(cls)

    def make(self, name: str, *args: Any, **fields: Any) -> Kind:
        """Build the class of that name.

        Raises:
            ValueError: When no class has that name; says the nearest.
        """
        if name not in self._classes:
            raise unknown(self.family.rstrip("s"), name, self._classes)
        return self._classes[name](*args, **fields)

    def parse(self, text: str) -> Kind:
        """Build a member from a text that reads as its code does: "l2(1e-4)", "step(0.1, every=5)", or its name alone.

        Raises:
            ValueError: When the text is no such call, no class has that name, or it takes other arguments.
        """
        name, args, fields = call_in(text, self.family.rstrip("s"))
        if name in self._classes:
            signature = inspect.signature(self._classes[name])
            require(
                takes(signature, args, fields),
                self.family.rstrip("s"),
                f"must be called as {name}{signature_text(signature)}",
                text,
            )
        return self.make(name, *args, **fields)

    def __getitem__(self, name: str) -> type[Kind]:
        return self._classes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)


def call_in(text: str, kind: str) -> tuple[str, list[Any], dict[str, Any]]:
    """The name, the arguments and the named arguments of a call written as text; the arguments are literals."""
    rule = "must be a name or a call with plain numbers and texts, such as 'l2(1e-4)'"
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if isinstance(call, ast.Name):
            return call.id, [], {}
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            fields = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
            return call.func.id, [ast.literal_eval(argument) for argument in call.args], fields
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{kind} {rule}, got {text!r}.") from error
    raise ValueError(f"{kind} {rule}, got {text!r}.")


def takes(signature: inspect.Signature, args: Sequence[Any], fields: Mapping[str, Any]) -> bool:
    try:
        signature.bind(*args, **fields)
    except TypeError:
        return False
    return True


def signature_text(signature: inspect.Signature) -> str:
    """A signature's names and defaults, without annotations."""
    bare = [one.replace(annotation=one.empty) for one in signature.parameters.values()]
    return str(inspect.Signature(bare))
