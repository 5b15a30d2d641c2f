"""Whether members are computed all in each step or take turns, and whether XLA then pays: by counts alone."""

import logging

import pytest

from kopt import Recipe, Training, data, models
from kopt.training.execute.estimate import Work
from kopt.tuning import population
from kopt.tuning.population import executor
from kopt.tuning.population.choice import MAPPED_BYTES, why_in_turn
from kopt.values import replace

SMALL = Work(compiled=113, started=113, moved=361_908)  # a network of 64 units, batches of 32


def test_many_members_and_steps_of_a_small_model_are_mapped() -> None:
    assert not why_in_turn(SMALL, members=32, steps=370)
    assert not why_in_turn(SMALL, members=8, steps=3700)


def test_few_of_them_do_not_pay_for_their_program() -> None:
    assert why_in_turn(SMALL, members=8, steps=370) == (
        "all in each step would save about 0.2 s and take 0.3 s to compile"
    )
    assert why_in_turn(SMALL, members=1, steps=370)


def test_steps_that_write_more_than_caches_hold_are_never_mapped() -> None:
    large = SMALL._replace(moved=MAPPED_BYTES + 1)
    assert why_in_turn(large, members=1000, steps=10**6).startswith("a step writes 4 MB a member")
    assert not why_in_turn(large._replace(moved=MAPPED_BYTES), members=1000, steps=10**6)


def test_xla_pays_for_the_steps_of_all_members_that_take_turns(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "kopt")
    model = models.MLP((8, 8, 1), 10, units=(8,), scale=1 / 16)
    recipe = Recipe("digits", data.Digits(examples=60), model=model, training=Training(epochs=2, batch_size=30))
    population.train([replace(recipe, {"seed": seed}) for seed in range(3)])
    said = [line for line in caplog.text.splitlines() if "steps are planned" in line]
    assert "one member after the other, all in each step would save about 0.0 s" in caplog.text
    assert len(said) == 1 and ", 12 steps are planned" in said[0]


def test_parts_of_a_group_are_chosen_for_together(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[int]()
    monkeypatch.setattr(executor, "why_in_turn", lambda work, members, steps: asked.append(members) or "a test")
    model = models.MLP((8, 8, 1), 10, units=(8,), scale=1 / 16)
    recipe = Recipe("digits", data.Digits(examples=60), model=model, training=Training(epochs=1, batch_size=30))
    population.train([replace(recipe, {"seed": seed}) for seed in range(3)], members=2, jit=False)
    assert asked == [3, 3]
