"""Counting what populations trace."""

from typing import Any

import pytest

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
