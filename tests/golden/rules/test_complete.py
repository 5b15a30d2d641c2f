"""Every registered rule has an oracle, with its defaults or nearly so, and, if it has numbers, two settings more."""

import importlib
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from compared import Arrays, Case, distance

from kopt.rules import GradientDescent, Rule, registry
from kopt.values import number_paths

FILES = [path.stem for path in sorted(pathlib.Path(__file__).parent.glob("test_*.py")) if path.stem != "test_complete"]
BY_HAND = {"gradient_descent", "momentum", "nesterov"}  # in ../test_rules.py


def enough(settings: set[Rule]) -> bool:
    """Three settings, or one of a rule without numbers."""
    return len(settings) >= 3 or any(not number_paths(rule) for rule in settings)


def test_every_rule_is_compared_in_three_settings() -> None:
    for name in ("torch", "optax"):
        pytest.importorskip(name, reason="the oracles are in the extras [dev] and [peers]")
    cases = [case for file in FILES for case in importlib.import_module(file).CASES]
    settings = {name: {case.rule for case in cases if type(case.rule) is kind} for name, kind in registry.items()}
    lacking = [name for name, found in settings.items() if name not in BY_HAND and not enough(found)]
    assert not lacking


def test_an_oracle_that_makes_nan_is_far() -> None:
    def begin(start: Arrays, rates: Sequence[float]) -> Callable[[Arrays], Arrays]:
        return lambda gradients: [np.full_like(value, np.nan) for value in start]

    assert not distance(Case(GradientDescent(), begin)) <= 1e-5
