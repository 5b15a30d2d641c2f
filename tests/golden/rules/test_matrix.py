"""Rules that treat matrices apart, beside torch's: torch's matrices are (out, in), Keras' (in, out)."""

from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import numpy as np
import pytest
from compared import Arrays, Case, Oracle, distance, optax_oracle, torch_oracle
from problems import problem

from kopt import select
from kopt.rules import Adam, AdamW, GradientDescent, Muon, Routed

torch = pytest.importorskip("torch", reason="torch is in the extra [peers]")
optax = pytest.importorskip("optax", reason="optax is in the extra [dev]")


class Several:
    """Torch optimizers as one; each has a share of the learning rate."""

    def __init__(self, optimizers: Sequence[Any], shares: Sequence[float]):
        self.optimizers, self.shares = optimizers, shares
        self.param_groups = [group for one in optimizers for group in one.param_groups]

    def step(self) -> None:
        for one, share in zip(self.optimizers, self.shares):
            for group in one.param_groups:
                group["lr"] *= share
            one.step()


def in_torchs_layout(oracle: Oracle) -> Oracle:
    """An oracle that is given tensors of two axes or more as matrices (out, in)."""

    def flat(values: Arrays) -> Arrays:
        return [
            np.ascontiguousarray(value.reshape(-1, value.shape[-1]).T) if value.ndim > 1 else value for value in values
        ]

    def begin(start: Arrays, rates: Sequence[float]) -> Callable[[Arrays], Arrays]:
        step = oracle(flat(start), rates)
        return lambda gradients: [
            (value.T if old.ndim > 1 else value).reshape(old.shape) for value, old in zip(step(flat(gradients)), start)
        ]

    return begin


def torch_muon(share: float = 1.0, decay: float = 0.1, **arguments: Any) -> Oracle:
    """Torch's Muon for matrices, in float32 where it rounds to bfloat16, and its AdamW for the rest."""

    class Exact(torch.optim.Muon):
        def step(self, closure=None):
            with mock.patch.object(torch.Tensor, "bfloat16", torch.Tensor.clone):
                return super().step(closure)

    def make(parameters: Sequence[Any]) -> Several:
        matrices = [parameter for parameter in parameters if parameter.ndim > 1]
        others = [parameter for parameter in parameters if parameter.ndim < 2]
        adamw = torch.optim.AdamW(others, betas=(0.9, 0.95), eps=1e-12, weight_decay=decay)
        return Several([Exact(matrices, weight_decay=decay, **arguments), adamw], [1.0, share])

    return in_torchs_layout(torch_oracle(make))


def dimensions(value: np.ndarray) -> Any:
    """Optax's axes of a matrix (in, out); None for what its AdamW updates."""
    axes = tuple(range(value.ndim - 1)), value.ndim - 1
    return optax.contrib.MuonDimensionNumbers(*axes) if value.ndim > 1 else None


def torch_by_role(**makes: Callable[[Sequence[Any]], Any]) -> Oracle:
    """Torch optimizers for the parameters whose names end so; the last one is for the rest."""

    def make(parameters: Sequence[Any]) -> Several:
        groups: dict[str, list[Any]] = {role: [] for role in makes}
        for name, parameter in zip(problem().names, parameters):
            groups[next((role for role in makes if name.endswith(role)), list(makes)[-1])].append(parameter)
        return Several([one(groups[role]) for role, one in makes.items()], [1.0] * len(makes))

    return torch_oracle(make)


ADAMW = AdamW(0.9, 0.95, 1e-12, weight_decay=0.1)
CASES = [
    Case(Muon(rest=ADAMW), torch_muon(adjust_lr_fn="match_rms_adamw"), tolerance=1e-4),
    Case(Muon(scale="original", rest=ADAMW), torch_muon(), tolerance=1e-4),
    Case(
        Muon(0.8, 0, nesterov=False, iterations=3, rest=AdamW(0.9, 0.95, 1e-12, weight_decay=0), rest_rate=0.5),
        torch_muon(0.5, 0, adjust_lr_fn="match_rms_adamw", momentum=0.8, nesterov=False, ns_steps=3),
        tolerance=1e-4,
    ),
    Case(
        Muon(0.9, 0.01, nesterov=False, scale="original", epsilon=1e-12, rest=AdamW(0.9, 0.95, 1e-12, weight_decay=0)),
        optax_oracle(
            lambda rate: optax.contrib.muon(
                rate,
                beta=0.9,
                eps=1e-12,
                weight_decay=0.01,
                nesterov=False,
                adam_b2=0.95,
                muon_weight_dimension_numbers=[dimensions(value) for value in problem().start],
            )
        ),
        tolerance=1e-4,
    ),
    Case(
        Routed({select.kernels: ADAMW, select.biases: GradientDescent()}, rest=Adam(epsilon=1e-12)),
        torch_by_role(
            kernel=lambda given: torch.optim.AdamW(given, betas=(0.9, 0.95), eps=1e-12, weight_decay=0.1),
            bias=torch.optim.SGD,
            rest=lambda given: torch.optim.Adam(given, eps=1e-12),
        ),
    ),
    Case(
        Routed({select.everything & ~select.kernels: GradientDescent()}, rest=Adam(0.8, 0.9, 1e-12)),
        torch_by_role(kernel=lambda given: torch.optim.Adam(given, betas=(0.8, 0.9), eps=1e-12), rest=torch.optim.SGD),
    ),
    Case(
        Routed(
            {select.biases: GradientDescent()},
            rest=Routed({select.kernels: Adam(epsilon=1e-12)}, rest=AdamW(0.9, 0.95, 1e-12, weight_decay=0.1)),
        ),
        torch_by_role(
            kernel=lambda given: torch.optim.Adam(given, eps=1e-12),
            bias=torch.optim.SGD,
            rest=lambda given: torch.optim.AdamW(given, betas=(0.9, 0.95), eps=1e-12, weight_decay=0.1),
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.rule))
def test_the_oracle_agrees(case: Case) -> None:
    assert distance(case) <= case.tolerance
