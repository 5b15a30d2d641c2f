"""PSGD-Kron beside pytorch_optimizer's, which is given the rule's signs for its noise."""

import math
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from compared import Case, Oracle, distance, torch_oracle

from kopt.rules import Kron

torch = pytest.importorskip("torch", reason="torch is in the extra [peers]")
psgd = pytest.importorskip("pytorch_optimizer.optimizer.psgd", reason="pytorch_optimizer is in the extra [peers]")


def signs(size: int, number: int) -> np.ndarray:
    """The rule's signs of an update: the top bits of MurmurHash3's mixing of the place and the update."""
    bits = np.arange(1, size + 1, dtype="uint32") * np.uint32(0x9E3779B9) + np.uint32(number * 0x85EBCA77 % 2**32)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits = (bits ^ (bits >> np.uint32(shift))) * np.uint32(factor)
    return np.where(bits >> np.uint32(31), 1.0, -1.0)


class Fed(psgd.Kron):
    """The package's, whose noise is that of the rule: by the seed, the update and the shape alone."""

    seed = 0

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        number = (self.param_groups[0].get("step", 0) + 1 + self.seed * 0x9E3779B1) % 2**32

        def noise(like: Any, dtype: Any) -> Any:
            return torch.tensor(signs(like.numel(), number).reshape(like.shape), dtype=dtype)

        with mock.patch.object(torch, "randn_like", noise):
            return super().step(closure)


def package(seed: int = 0, every: int | None = None, rate: float = 0.1, scale: float = 1.0, **arguments: Any) -> Oracle:
    """The package's; `every` updates from the first on its factors move, by default at each."""

    def probability(step: int) -> Any:
        return torch.tensor(1 / every if step and every else 1.0)

    def make(parameters: Any) -> Any:
        optimizer = Fed(parameters, pre_conditioner_update_probability=every and probability, **arguments)
        optimizer.seed = seed
        optimizer.param_groups[0].update(precondition_lr=rate, precondition_init_scale=scale)
        return optimizer

    return torch_oracle(make)


CASES = [
    Case(Kron(), package()),
    Case(
        Kron(0.8, 0.1, 0.05, 2.0, every=4, flat=0, falling=0, largest=5, of_momentum=False, seed=3),
        package(
            3,
            4,
            0.05,
            2.0,
            momentum=0.8,
            weight_decay=0.1,
            max_size_triangular=5,
            momentum_into_precondition_update=False,
        ),
    ),
    Case(
        Kron(0.0, 0.01, memory_save_mode="one_diag", vectors=True),
        package(momentum=0.0, weight_decay=0.01, memory_save_mode="one_diag", min_ndim_triangular=1),
    ),
    Case(
        Kron(0.95, precondition_rate=0.3, memory_save_mode="smart_one_diag", vectors=True),
        package(momentum=0.95, rate=0.3, memory_save_mode="smart_one_diag", min_ndim_triangular=1),
    ),
    Case(Kron(memory_save_mode="all_diag"), package(memory_save_mode="all_diag")),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.rule))
def test_the_oracle_agrees(case: Case) -> None:
    assert distance(case) <= case.tolerance


@pytest.mark.parametrize("rule", [Kron(), Kron(every=7, flat=0, falling=50), Kron(every=3, flat=9, falling=0)])
def test_factors_move_as_rarely_as_the_package_plans(rule: Kron) -> None:
    """An interval of k updates is one over its probability, which falls exponentially, rounded up."""
    decay = math.log(rule.every) / max(rule.falling, 1e-9)
    schedule = psgd.precondition_update_prob_schedule(1.0, 1 / rule.every, decay, rule.flat)
    counts = range(1, rule.flat + rule.falling + 2 * rule.every)
    wanted = [math.ceil(1 / float(schedule(count - 1)) - 1e-5) for count in counts]
    assert [rule.interval(count) for count in counts] == wanted
    assert {*wanted} == {*range(1, rule.every + 1)} if rule.falling else {1, rule.every}
    for count in (1, rule.flat + 1, rule.flat + rule.falling // 2, len(counts)):
        np.testing.assert_equal(rule.interval(tf.constant(count, tf.int64)).numpy(), rule.interval(count))
