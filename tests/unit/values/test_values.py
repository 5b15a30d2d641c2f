"""checks, registry and fields: one voice for bad arguments, names and paths."""

import pytest

from kopt import schedules
from kopt.experiment.recipe import Recipe, Training
from kopt.models import MLP
from kopt.schedules import Constant, Cosine
from kopt.values import bind, from_json, is_count, number_paths, paths, read, replace, serialization, to_json
from kopt.values.checks import needs
from kopt.values.fields import Number, Value
from kopt.values.registry import Registry, snake_case


class Pair(Value):
    count: int
    share: Number | None = None
    sizes: tuple[int, ...] = (1,)
    label: str = ""
    on: bool = False


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Pair(1.5), "count must be a whole number, got 1.5."),
        (lambda: Pair(True), "count must be a whole number, got True."),
        (lambda: Pair("1"), "count must be a whole number, got '1'."),
        (lambda: Pair(1, "x"), "share must be a number or None, got 'x'."),
        (lambda: Pair(1, float("inf")), "share must be finite, got inf."),
        (lambda: Pair(1, sizes=(1, 2.5)), "sizes must be a tuple of a whole number, got (1, 2.5)."),
        (lambda: Pair(1, label=3), "label must be a text, got 3."),
        (lambda: Pair(1, on=1), "on must be a bool, got 1."),
        (lambda: Training(0), "epochs must be >= 1, got 0."),
        (lambda: Training(1, "all"), "batch_size must be a whole number or 'full', got 'all'."),
        (lambda: Cosine(0.1).warmup(1).then(0.1, at=2), "after must be a Schedule, got 0.1."),
        (lambda: MLP((4,), 3, task="rank"), "task must be 'classification' or 'regression' or 'forecast', got 'rank'."),
        (lambda: MLP((4,), 3, units=(0,)), "units must be >= 1 each, got (0,)."),
        (lambda: Recipe("a b", None, model=None, schedule=None), "data must be a Data, got None."),
        (lambda: schedules.registry.make("cosin"), "schedule must be one of clip, constant, cosine, "),
    ],
)
def test_one_sentence_names_argument_rule_and_value(make, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value).startswith(message)


def test_lists_and_numpy_numbers_become_plain() -> None:
    import numpy as np

    pair = Pair(np.int64(3), np.float32(0.5), [np.int32(1), 2])
    assert pair == Pair(3, 0.5, (1, 2))
    assert [type(pair.count), type(pair.share), type(pair.sizes[0])] == [int, float, int]


def test_paths_pass_through_wrappers() -> None:
    warmed = (Cosine(0.1) * 2).warmup(5)
    assert read(warmed, "rate") == 0.1 and read(warmed, "factor") == 2
    changed = replace(warmed, {"rate": 0.3, "duration": 7, "warmup_duration": 1})
    assert changed == (Cosine(0.3, duration=7) * 2).warmup(1)


def test_replace_checks_the_whole_value_once_and_leaves_the_old_one() -> None:
    old = Cosine(0.1)
    with pytest.raises(ValueError, match="rate must be >= 0, got -1"):
        replace(old, {"rate": -1})
    assert old == Cosine(0.1)
    assert bind(old, {"rate": -1}).rate == -1


def test_a_value_inside_a_value_can_be_replaced_whole() -> None:
    training = replace(Training(3), {"batch_size": "full"})
    assert training == Training(3, batch_size="full")


class Several(Value):
    parts: tuple[Value, ...]
    last: Value | None = None


def test_values_in_a_tuple_are_reached_by_their_places() -> None:
    value = Several((Pair(1, 0.5), Cosine(0.1).warmup(5)), last=Several((Pair(2),)))
    assert list(paths(value))[:7] == [
        "parts",
        "parts.0",
        "parts.0.count",
        "parts.0.share",
        "parts.0.sizes",
        "parts.0.label",
        "parts.0.on",
    ]
    assert read(value, "parts.1.rate") == 0.1 and read(value, "last.parts.0.count") == 2
    assert number_paths(value) == [
        "parts.0.share",
        "parts.1.rate",
        "parts.1.end",
        "parts.1.warmup_duration",
        "parts.1.start",
    ]
    changed = replace(value, {"parts.1.rate": 0.3, "last.parts.0.count": 7, "parts.0": Pair(3)})
    assert changed == Several((Pair(3), Cosine(0.3).warmup(5)), last=Several((Pair(7),)))
    assert bind(value, {"parts.0.share": "a tensor"}).parts[0].share == "a tensor" and value.parts[0].share == 0.5
    assert is_count(value, "parts.0.count") and is_count(value, "last.parts.0.count")
    assert not any(is_count(value, path) for path in ("parts", "parts.0", "parts.0.share", "parts.1.rate"))


def test_a_value_in_a_tuple_is_checked_and_a_wrong_path_to_it_names_the_nearest() -> None:
    value = Several((Pair(1, 0.5), Cosine(0.1)))
    with pytest.raises(ValueError, match="rate must be >= 0, got -1"):
        replace(value, {"parts.1.rate": -1})
    with pytest.raises(ValueError, match="did you mean 'parts.0.share'"):
        read(value, "parts.0.shore")
    with pytest.raises(ValueError, match="path must be one of parts.0, parts.1, got 'parts.2'"):
        read(value, "parts.2")
    with pytest.raises(ValueError, match="path must be one of"):
        read(value, "parts.-1.rate")


@pytest.mark.parametrize(
    ("name", "snake"), [("OneCycle", "one_cycle"), ("AdamW", "adamw"), ("L1L2", "l1_l2"), ("MLP", "mlp")]
)
def test_names_that_users_type(name: str, snake: str) -> None:
    assert snake_case(name) == snake


def test_a_registered_class_is_found_by_name_and_by_keras(monkeypatch) -> None:
    monkeypatch.setattr(serialization, "packages", dict(serialization.packages))
    registry: Registry[Value] = Registry("toys")
    Toy = registry.register(type("Toy", (Pair,), {"__module__": __name__}))
    assert registry.make("toy", 2) == Toy(2) and list(registry) == ["toy"]
    assert from_json(to_json(Toy(2))) == Toy(2)


def test_a_missing_package_names_its_extra() -> None:
    with pytest.raises(
        ImportError, match=r'^no_such must be installed for this, by: python -m pip install -e "\.\[recipes\]"$'
    ):
        needs("no_such.thing", "recipes")


def test_defaults_of_a_subclass_do_not_leak() -> None:
    assert Constant(0.1) != Cosine(0.1)
    assert repr(Pair(1)) == "Pair(1)"
