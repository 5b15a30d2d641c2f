"""Registries: the names of their members, and those that members had."""

import warnings

import pytest

from kopt import models, rules, schedules
from kopt.values.registry import snake_case


def test_names_are_words_and_acronyms() -> None:
    names = {
        "OneCycle": "one_cycle",
        "ScheduleFreeSGD": "schedule_free_sgd",
        "ScheduleFreeRAdam": "schedule_free_radam",
        "SignSGD": "sign_sgd",
        "CharGRU": "char_gru",
        "AdamW": "adamw",
        "NAdamW": "nadamw",
        "AdEMAMix": "ademamix",
        "AMSGrad": "amsgrad",
        "Adam8bit": "adam8bit",
    }
    assert {name: snake_case(name) for name in names} == names


@pytest.mark.parametrize(
    ("registry", "former", "name"),
    [
        (rules.registry, "schedule_freesgd", "schedule_free_sgd"),
        (rules.registry, "signsgd", "sign_sgd"),
        (models.registry, "chargru", "char_gru"),
    ],
)
def test_a_name_of_an_earlier_version_is_taken_and_says_the_present_one(registry, former: str, name: str) -> None:
    said = f"the name '{former}' in {registry.family} is now '{name}'"
    with pytest.warns(DeprecationWarning, match=said) as caught:
        assert registry[former] is registry[name]
    assert caught[0].filename == __file__
    with pytest.warns(DeprecationWarning, match=said):
        assert isinstance(registry.make(former), registry[name])
    assert former not in list(registry) and name in list(registry)


def test_texts_and_files_with_the_former_name_are_read() -> None:
    with pytest.warns(DeprecationWarning, match="signsgd"):
        assert rules.registry.parse("lookahead(signsgd, sync_every=3)") == rules.Lookahead(rules.SignSGD(), 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert rules.registry.parse("schedule_free_sgd(0.8)") == rules.ScheduleFreeSGD(0.8)
        assert schedules.registry["one_cycle"] is schedules.OneCycle
    with pytest.raises(ValueError, match="rule must be .*, got 'signsdg'"):
        rules.registry.make("signsdg")
