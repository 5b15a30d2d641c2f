"""Named optimizers: a function for each registered rule that makes the Keras optimizer which runs it."""

import dataclasses
import functools
import inspect
import re
import textwrap
from collections.abc import Callable
from typing import get_type_hints

from kopt.keras_internals import optimizer_arguments
from kopt.optimizers.optimizer import Optimizer
from kopt.rules import Rule, registry
from kopt.schedules import Schedule
from kopt.values.checks import require, unknown
from kopt.values.types import Argument

__all__ = ["named", "names"]

# What arguments are called elsewhere, by the name that they have here.
ELSEWHERE = {"lr": "learning_rate", "rate": "learning_rate", "eps": "epsilon", "wd": "weight_decay"}
SECTIONS = ("Args", "Raises", "Example", "Source")


def names() -> list[str]:
    """Return the names of the optimizers: those of the registered rules that need no argument.

    A wrapper needs the rule in it: `Optimizer(rules.Lookahead(rules.Adam()), 0.001)`.

    Returns:
        The names, sorted.

    Example:
        >>> "AdamW" in names(), "Lookahead" in names()
        (True, False)
    """
    return sorted(kind.__name__ for kind in registry.values() if not required(kind))


def named(name: str) -> Callable[..., Optimizer]:
    """Return the function that makes the optimizer of a rule.

    Args:
        name: The name of a registered rule's class.

    Returns:
        A function of the learning rate, the rule's fields and the arguments of Keras' optimizers, with a signature and
        a docstring of its own.

    Raises:
        AttributeError: When no rule has that name, or the rule needs an argument.

    Example:
        >>> named("Momentum")(0.1, momentum=0.8, clipnorm=1.0).rule
        Momentum(0.8)
    """
    kind = {kind.__name__: kind for kind in registry.values()}.get(name)
    if kind is None:
        raise AttributeError(f"module 'kopt.optimizers' has no attribute {name!r}")
    if needed := required(kind):
        call = f"kopt.optimizers.Optimizer(kopt.rules.{name}({', '.join(needed)}), learning_rate)"
        raise AttributeError(f"module 'kopt.optimizers' has no attribute {name!r}: use {call}")
    return made(kind)


@functools.cache
def made(kind: type[Rule]) -> Callable[..., Optimizer]:
    """Make the function of one rule; it is made once, so that it can be pickled."""
    signature, fields = signature_of(kind), [one.name for one in dataclasses.fields(kind)]

    def make(*arguments: Argument, **given: Argument) -> Optimizer:
        for name in given:
            if name not in signature.parameters:
                near = ELSEWHERE.get(name)
                near = near if near in signature.parameters else None
                raise unknown(f"argument of {kind.__name__}", name, signature.parameters, near=near)
        require(len(arguments) < 2, kind.__name__, "must be given all but the learning rate by name", arguments)
        twice = len(arguments) > 0 and "learning_rate" in given
        require(not twice, "learning_rate", "must be given once", given.get("learning_rate"))
        bound = signature.bind(*arguments, **given).arguments
        rate = bound.pop("learning_rate", kind.usual_rate)
        rule = kind(**{name: bound.pop(name) for name in fields if name in bound})
        return Optimizer(rule, rate, **bound)

    make.__name__ = make.__qualname__ = kind.__name__
    make.__module__, make.__doc__ = "kopt.optimizers", doc_of(kind)
    vars(make)["__signature__"] = signature
    return make


def required(kind: type[Rule]) -> list[str]:
    """Return the fields of a rule that have no default."""
    missing = dataclasses.MISSING
    return [one.name for one in dataclasses.fields(kind) if one.default is missing and one.default_factory is missing]


def signature_of(kind: type[Rule]) -> inspect.Signature:
    """Return the signature: the rate, then by name the rule's fields and what Keras' optimizers take."""
    rate = inspect.Parameter(
        "learning_rate",
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        default=kind.usual_rate,
        annotation=float | Schedule,
    )
    hints = get_type_hints(kind)
    fields = {
        one.name: inspect.Parameter(
            one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=hints[one.name]
        )
        for one in dataclasses.fields(kind)
    }
    parameters = {"learning_rate": rate} | optimizer_arguments() | fields  # a field hides Keras' argument of its name
    ordered = ["learning_rate", *fields, *(name for name in parameters if name not in fields)]
    return inspect.Signature([parameters[name] for name in dict.fromkeys(ordered)], return_annotation=Optimizer)


def doc_of(kind: type[Rule]) -> str:
    """Return the docstring: the rule's, with the arguments of the optimizer and an example of it."""
    parts = sections(inspect.getdoc(kind) or "")
    others = [name for name in optimizer_arguments() if name not in {one.name for one in dataclasses.fields(kind)}]
    parts["Args"] = "\n".join(
        [
            f"    learning_rate: A number >= 0, or a schedule over updates; {kind.usual_rate:g} is the usual one.",
            *([parts["Args"]] if "Args" in parts else []),
            textwrap.fill(
                f"{', '.join(others)}: As for every `keras.optimizers.Optimizer`.",
                width=112,
                initial_indent="    ",
                subsequent_indent="        ",
            ),
        ]
    )
    parts["Example"] = f"    >>> kopt.optimizers.{kind.__name__}({kind.usual_rate:g}).rule\n    {kind()!r}"
    parts["Raises"] = "    ValueError: When an argument is unknown, which names the nearest one, or out of range."
    parts["Returns"] = f"    The `kopt.optimizers.Optimizer` of `kopt.rules.{kind.__name__}` with these fields."
    order = ["Args", "Returns", "Raises", "Example", "Source"]
    return "\n\n".join([parts[""], *(f"{name}:\n{parts[name]}" for name in order if name in parts)])


def sections(doc: str) -> dict[str, str]:
    """Split a docstring into its sections, by their names; what stands before them has the name ""."""
    head, *rest = re.split(rf"^({'|'.join(SECTIONS)}):\n", doc, flags=re.MULTILINE)
    return {"": head.strip()} | {name: text.rstrip() for name, text in zip(rest[::2], rest[1::2])}
