"""What is of the wrong kind (a text, a class, None, a list, an object) is refused in one sentence that names it."""

import dataclasses
import inspect
import typing
from collections.abc import Callable
from typing import Any

import keras
import pytest
import tensorflow as tf
from examples import VALUES

from kopt import distribute, optimizers, regularizers, rules, select
from kopt.schedules import Constant
from kopt.values.fields import Value


class Kind:
    """A class, and what stands for an object of some other package."""


WRONG: list[Any] = ["kernel", Kind, Kind(), None, 3, 0.5, True, [1], {"a": 1}]
FUNCTIONS: dict[str, Callable[..., Any]] = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in (select, regularizers, optimizers, distribute)
    for name in module.__all__
    if inspect.isfunction(getattr(module, name)) or name in ("Decayed", "Optimizer")
}
RIGHT = {
    "model": lambda: keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, kernel_regularizer="l2")]),
    "selector": lambda: select.kernels,
    "given": lambda: select.kernels,
    "name": lambda: "to",
    "regularizer": lambda: regularizers.L2(0.1),
    "identifier": lambda: "l2",
    "pattern": lambda: "head/*",
    "place": lambda: 0,
    "start": lambda: 0,
    "optimizer": lambda: "sgd",
    "rule": rules.Adam,
    "rate": lambda: 0.1,
    "numbers": lambda: [1.0],
    "strategy": tf.distribute.get_strategy,
    "text": lambda: "text",
}
# What an argument that is annotated with Any takes, of the wrong kinds above.
TAKEN: dict[str, tuple[type, ...]] = {
    "types": (str,),
    "identifier": (type(None),),
    "learning_rate": (int, float),
    "rate": (int, float),
    "numbers": (list,),
}
SAID = {
    "identifier": "regularizer",  # as what Keras' `get` calls an identifier is known here
    "given": "to must be",  # the argument of which it is the value
}


def takes(hint: Any, name: str, wrong: Any) -> bool:
    """Return whether the annotation allows it; sizes are checked elsewhere."""
    if name in TAKEN:
        return isinstance(wrong, TAKEN[name]) and not isinstance(wrong, bool)
    text = hint.__name__ if isinstance(hint, type) else str(hint)
    allowed = {str: "str" in text, list: "tuple" in text, bool: "bool" in text}
    allowed |= {type(None): "None" in text or "Optional" in text}
    allowed |= {int: "int" in text or "float" in text, float: "float" in text}
    return "Any" in text or allowed.get(type(wrong), False)


def require_refused(make: Callable[[], Any], name: str, wrong: Any) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        make()
    said = str(caught.value)
    assert SAID.get(name, name) in said and said.endswith(".") and "\n" not in said, (wrong, said)


@pytest.mark.parametrize("value", VALUES)
def test_a_field_of_the_wrong_kind_is_refused(value: Value) -> None:
    """The constructors of all registered classes; a schedule's, a rule's, a regularizer's, a selector's among them."""
    hints = typing.get_type_hints(type(value), include_extras=True)
    given = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    for name in given:
        for wrong in WRONG:
            if not takes(hints[name], name, wrong) or isinstance(wrong, Kind):
                require_refused(lambda: type(value)(**{**given, name: wrong}), name, wrong)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_argument_of_the_wrong_kind_is_refused(name: str) -> None:
    function = FUNCTIONS[name]
    parameters = [one for one in inspect.signature(function).parameters.values() if one.kind is not one.VAR_KEYWORD]
    needed = [one for one in parameters if one.default is one.empty and one.kind is not one.VAR_POSITIONAL]
    for parameter in parameters:
        for wrong in WRONG:
            allowed = takes("" if parameter.annotation is Any else parameter.annotation, parameter.name, wrong)
            given = {one.name: RIGHT[one.name]() for one in needed}
            if allowed or parameter.name == "name":  # Keras refuses an optimizer's name
                continue
            if parameter.kind is parameter.VAR_POSITIONAL:
                if wrong is not Kind or name.endswith("layers"):
                    require_refused(lambda: function(wrong), parameter.name, wrong)
            else:
                require_refused(lambda: function(**{**given, parameter.name: wrong}), parameter.name, wrong)


SCHEDULE = Constant(0.1)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda wrong: select.kernels & wrong, "selector"),
        (lambda wrong: select.kernels | wrong, "selector"),
        (lambda wrong: select.kernels.choose(wrong), "model"),
        (lambda wrong: select.kernels.bind(wrong), "model"),
        (lambda wrong: SCHEDULE * wrong, "factor"),
        (lambda wrong: SCHEDULE.warmup(wrong), "warmup_duration"),
        (lambda wrong: SCHEDULE.then(wrong, at=1), "after"),
        (lambda wrong: SCHEDULE.then(SCHEDULE, at=wrong), "at"),
        (lambda wrong: SCHEDULE.restart(wrong), "cycle"),
        (lambda wrong: SCHEDULE.clip(wrong), "low"),
        (lambda wrong: SCHEDULE.delay(wrong), "delay_duration"),
    ],
)
def test_methods_refuse_the_wrong_kind(make: Callable[[Any], Any], name: str) -> None:
    for wrong in ("kernel", Kind, Kind(), [1], None):
        require_refused(lambda: make(wrong), name, wrong)


def test_the_name_of_an_optimizer_is_that_of_keras() -> None:
    """A text is taken as `compile` takes it."""
    named, made = optimizers.Decayed("adam", 0.1), optimizers.Decayed(keras.optimizers.Adam(name="adam"), 0.1)
    assert type(named.inner_optimizer) is keras.optimizers.Adam
    assert {**named.inner_optimizer.get_config(), "name": "adam"} == made.inner_optimizer.get_config()
    with pytest.raises(ValueError, match="^optimizer must be a Keras optimizer or the name of one, got 'adamm'.$"):
        optimizers.Decayed("adamm", 0.1)
