"""What griffe, which reads kopt without importing it, is told: our docstrings' sections, and how values are made."""

import re
from collections.abc import Iterator

import griffe

VALUE = "kopt.values.fields.Value"
FIELD = re.compile(r"(?:dataclasses\.)?field\(default=(.*), kw_only=True\)")
SOURCE = re.compile(r"^Source:\n((?:    .*\n?|\n)+)", re.M)


class Kopt(griffe.Extension):
    """Adapt docstrings, and add the arguments of frozen values."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Rename "Example" to griffe's "Examples", and let the source be a paragraph."""
        if obj.docstring:
            text = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.M)
            obj.docstring.value = SOURCE.sub(lambda found: f"*Source:* {' '.join(found[1].split())}\n", text)

    def on_package(self, *, pkg: griffe.Module, **_: object) -> None:
        """Give each value of a package the signature that `dataclasses` makes of its fields."""
        for value in values(pkg):
            value.set_member("__init__", griffe.Function("__init__", parameters=griffe.Parameters(*arguments(value))))


def values(module: griffe.Module) -> Iterator[griffe.Class]:
    """Yield the classes of a module, and of those in it, that are values."""
    for member in list(module.members.values()):
        if isinstance(member, griffe.Module):
            yield from values(member)
        elif isinstance(member, griffe.Class) and any(base.path == VALUE for base in member.mro()):
            yield member


def arguments(value: griffe.Class) -> list[griffe.Parameter]:
    """Return the arguments of a value: its fields and those of the classes above it, in the order of `dataclasses`."""
    keyword, found = griffe.ParameterKind.keyword_only, {}
    for base in [*reversed(value.mro()), value]:
        now = griffe.ParameterKind.positional_or_keyword
        for name, member in base.members.items():
            if not isinstance(member, griffe.Attribute) or member.annotation is None:
                continue
            if str(member.annotation).endswith("KW_ONLY"):
                now = keyword
            elif "instance-attribute" in member.labels and "property" not in member.labels:
                given = FIELD.fullmatch(str(member.value))
                kind = found[name].kind if name in found else keyword if given else now
                default = given[1] if given else member.value
                found[name] = griffe.Parameter(name, kind=kind, annotation=member.annotation, default=default)
    own = griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword)
    return [own, *sorted(found.values(), key=lambda one: one.kind == keyword)]
