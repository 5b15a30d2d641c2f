"""Registry: name -> class, for each family of values; the contract tests run over the registries."""

import ast
import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Generic, NamedTuple, TypeVar

from kopt.values import serialization
from kopt.values.checks import require, shown, unknown
from kopt.values.deprecation import warn_moved
from kopt.values.types import FieldValue

__all__ = ["Registry"]

Kind = TypeVar("Kind")
Class = TypeVar("Class", bound=type)


def snake_case(name: str) -> str:
    """Turn a class name into the name that users type: `OneCycle` -> `one_cycle`, `SignSGD` -> `sign_sgd`.

    What stands behind a syllable stays with it: `AdamW` -> `adamw`, `AdEMAMix` -> `ademamix`.
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z0-9])|(?<=[a-z]{3})(?=[A-Z]{2})", "_", name).lower()


def former_name(name: str) -> str:
    """Return the name that kopt 0.1 gave a class, which left capitals in a row with the word before them."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z0-9])", "_", name).lower()


class Registry(Mapping[str, type[Kind]], Generic[Kind]):
    """The classes of one family by name; files name a registered class by its family.

    Args:
        family: Plural name of the family; files hold "kopt.<family>><class>".

    Example:
        >>> from kopt import schedules
        >>> schedules.registry["cosine"]
        <class 'kopt.schedules.timed.Cosine'>
        >>> schedules.registry.make("constant", rate=0.1)
        Constant(0.1)
        >>> from kopt import rules
        >>> rules.registry.parse("lookahead(adam(0.8), sync_every=3)")
        Lookahead(Adam(0.8), sync_every=3)
    """

    def __init__(self, family: str):
        self.family = family
        self._classes: dict[str, type[Kind]] = {}
        self._former: dict[str, str] = {}  # the name of an earlier version -> the present one

    @property
    def member(self) -> str:
        """The name of the family's members in errors: "rule" of "rules", and "sharpness" of itself."""
        return self.family if self.family.endswith("ss") else self.family.removesuffix("s")

    def register(self, cls: Class) -> Class:
        """Register a class under its snake-case name, and with the serialization if it has a config; a decorator."""
        name, former = snake_case(cls.__name__), former_name(cls.__name__)
        self._classes[name] = cls
        if former != name:
            self._former[former] = name
        if hasattr(cls, "get_config"):
            serialization.register(cls, f"kopt.{self.family}")
        return cls

    def make(self, name: str, *args: FieldValue, **fields: FieldValue) -> Kind:
        """Build a member from its name and arguments.

        Raises:
            ValueError: When no class has that name; the error names the nearest one.
        """
        name = self.present(name)
        if name not in self._classes:
            raise unknown(self.member, name, self._classes)
        return self._classes[name](*args, **fields)

    def present(self, name: str) -> str:
        """Return the present name for one of an earlier version, with a `DeprecationWarning`; others as they are."""
        if name in self._former and name not in self._classes:
            warn_moved(f"the name {name!r} in {self.family}", repr(self._former[name]), stacklevel=3)
            return self._former[name]
        return name

    def parse(self, text: str) -> Kind:
        """Build a member from a text that reads as its code does: "l2(1e-4)", "step(0.1, every=5)", or its name alone.

        An argument may be such a call itself: "lookahead(adam(0.8), sync_every=5)".

        Raises:
            ValueError: When the text is not such a call, no class has that name, or the class takes other arguments.
        """
        return self._made(parsed(text, self.member), text)

    def _made(self, call: "Call", text: str) -> Kind:
        """Build a member from a call, after the members among its arguments."""
        kind = self.member
        call = Call(self.present(call.name), call.args, call.fields)
        if call.name in self._classes:
            signature = inspect.signature(self._classes[call.name])
            rule = f"must be called as {call.name}{signature_text(signature)}"
            require(takes(signature, call), kind, rule, text)
        args = [self._made(one, text) if isinstance(one, Call) else one for one in call.args]
        fields = {name: self._made(one, text) if isinstance(one, Call) else one for name, one in call.fields.items()}
        return self.make(call.name, *args, **fields)

    def __getitem__(self, name: str) -> type[Kind]:
        return self._classes[self.present(name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)


class Call(NamedTuple):
    """A call that was written as text; its arguments are literals or calls."""

    name: str
    args: list[FieldValue]
    fields: dict[str, FieldValue]


def parsed(text: str, kind: str) -> Call:
    """Parse a call, or raise a ValueError that names the kind of what it builds."""
    rule = "must be a name or a call with plain numbers and texts, such as 'l2(1e-4)'"
    try:
        found = literal(ast.parse(text.strip(), mode="eval").body)
        if isinstance(found, Call):
            return found
    except (MemoryError, RecursionError, SyntaxError, TypeError, ValueError) as error:  # also of deep nesting
        raise ValueError(f"{kind} {rule}, got {shown(text)}.") from error
    raise ValueError(f"{kind} {rule}, got {shown(text)}.")


def literal(node: ast.expr) -> FieldValue:
    """Return what a node of code stands for: a Call for a call or a name, else a literal."""
    if isinstance(node, ast.Name):
        return Call(node.id, [], {})
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        fields = {str(keyword.arg): literal(keyword.value) for keyword in node.keywords}
        return Call(node.func.id, [literal(argument) for argument in node.args], fields)
    return ast.literal_eval(node)


def takes(signature: inspect.Signature, call: Call) -> bool:
    try:
        signature.bind(*call.args, **call.fields)
    except TypeError:
        return False
    return True


def signature_text(signature: inspect.Signature) -> str:
    """Return a signature's names and defaults, without annotations."""
    bare = [one.replace(annotation=one.empty) for one in signature.parameters.values()]
    return str(inspect.Signature(bare))
