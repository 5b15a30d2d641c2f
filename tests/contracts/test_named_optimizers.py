"""What holds of the optimizer that is named after each registered rule: no rule is named here."""

import dataclasses
import inspect
import pickle
import pydoc
import re

import keras
import pytest

import kopt
from kopt import optimizers, rules
from kopt.rules import Rule, registry
from kopt.values import number_paths, read

KINDS = {kind.__name__: kind for kind in registry.values()}
needs_nothing = lambda kind: all(one.default is not dataclasses.MISSING for one in dataclasses.fields(kind))
NAMED = [name for name, kind in KINDS.items() if needs_nothing(kind)]
every_name = pytest.mark.parametrize("name", NAMED)
OWN = {"Decayed", "Optimizer"}


def test_all_rules_that_need_no_argument_are_listed_beside_the_two_classes() -> None:
    assert set(dir(optimizers)) == set(optimizers.__all__) == {*NAMED, *OWN}
    assert isinstance(optimizers.Optimizer, type) and isinstance(optimizers.Decayed, type) and not OWN & set(KINDS)
    page = pydoc.plain(pydoc.render_doc(optimizers))
    assert all(re.search(rf"^    {name}\(", page, re.MULTILINE) for name in NAMED)


@every_name
def test_it_is_an_optimizer_with_the_rule_and_its_usual_rate(name: str) -> None:
    kind = KINDS[name]
    made = getattr(optimizers, name)()
    assert type(made) is optimizers.Optimizer and made.rule == kind()
    assert float(made.learning_rate) == pytest.approx(kind.usual_rate)
    numbers = {path: 0.9 * read(kind(), path) for path in number_paths(kind()) if "." not in path}
    other = getattr(optimizers, name)(0.5, **numbers, clipnorm=2.0, name="mine")
    assert other.rule == kind(**numbers) and (other.clipnorm, other.name) == (2.0, "mine")
    again = keras.optimizers.deserialize(keras.optimizers.serialize(other))
    assert again.rule == other.rule and float(again.learning_rate) == 0.5 and again.clipnorm == 2.0
    scheduled = getattr(optimizers, name)(kopt.schedules.Constant(0.25))
    assert float(scheduled.learning_rate) == 0.25


@every_name
def test_the_signature_and_the_docs_name_all_arguments(name: str) -> None:
    make = getattr(optimizers, name)
    signature, text = inspect.signature(make), inspect.getdoc(make) or ""
    fields = [one.name for one in dataclasses.fields(KINDS[name])]
    keras_own = ["clipnorm", "clipvalue", "global_clipnorm", "use_ema", "gradient_accumulation_steps", "weight_decay"]
    assert list(signature.parameters)[: len(fields) + 1] == ["learning_rate", *fields]
    assert set(keras_own) <= set(signature.parameters) and signature.return_annotation is optimizers.Optimizer
    assert all(re.search(rf"\b{argument}\b", text) for argument in signature.parameters)
    assert all(f"\n{section}:\n" in text for section in ("Args", "Returns", "Raises", "Example", "Source"))
    assert text.split("\n")[0] == (inspect.getdoc(KINDS[name]) or "").split("\n")[0]
    assert max(map(len, text.split("\n"))) <= 120
    assert make.__name__ == make.__qualname__ == name and pickle.loads(pickle.dumps(make)) is make


@every_name
def test_an_unknown_argument_names_the_nearest(name: str) -> None:
    make = getattr(optimizers, name)
    asked = {one: f"{one}s" for one in inspect.signature(make).parameters}
    for near, wrong in (asked | {"learning_rate": "lr"}).items():
        with pytest.raises(ValueError, match=rf"^argument of {name} must be .*, got '{wrong}' \(did you mean '{near}'"):
            make(**{wrong: 1.0})


@every_name
def test_all_but_the_rate_is_given_by_name_and_once(name: str) -> None:
    make = getattr(optimizers, name)
    with pytest.raises(ValueError, match=rf"^{name} must be given all but the learning rate by name, got \(0.1, 0.9\)"):
        make(0.1, 0.9)
    with pytest.raises(ValueError, match=r"^learning_rate must be given once, got 0.2\.$"):
        make(0.1, learning_rate=0.2)


@pytest.mark.parametrize("name", sorted(set(KINDS) - set(NAMED)))
def test_a_rule_that_needs_an_argument_says_what_to_write(name: str) -> None:
    with pytest.raises(AttributeError, match=rf"use kopt.optimizers.Optimizer\(kopt.rules.{name}\(.+\), learning_rate"):
        getattr(optimizers, name)


def test_an_unknown_name_is_no_attribute_and_a_later_rule_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AttributeError, match="^module 'kopt.optimizers' has no attribute 'Nothing'$"):
        optimizers.Nothing  # noqa: B018

    class Later(rules.GradientDescent):
        """A rule of the user's.

        Example:
            >>> Later()
            Later()
        """

        scale: float = 1.0

    monkeypatch.setitem(registry._classes, "later", Later)
    assert "Later" in dir(optimizers)
    assert isinstance(optimizers.Later(0.1, scale=2).rule, Rule)
    assert "scale" in (inspect.getdoc(optimizers.Later) or "")
