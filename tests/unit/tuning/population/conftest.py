"""Counting what populations trace, and having them mapped."""

import math
from typing import Any

import pytest

from kopt.tuning.population import choice
from kopt.tuning.population.programs import MemberProgram


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the phase of each program that is traced."""
    found: list[str] = []
    run = MemberProgram.run

    def counted(self: MemberProgram, *given: Any) -> Any:
        found.append(self.phase)
        return run(self, *given)

    monkeypatch.setattr(MemberProgram, "run", counted)
    return found


@pytest.fixture(autouse=True)
def mapped_where_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small models be mapped over members, which does not pay for trainings as short as those of tests."""
    monkeypatch.setattr(choice, "MAPPED_SECONDS", math.inf)
