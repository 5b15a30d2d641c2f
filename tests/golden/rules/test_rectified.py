"""RAdam beside torch's and optax's."""

import pytest
from compared import Case, distance, optax_oracle, torch_oracle

from kopt.rules import RAdam

torch = pytest.importorskip("torch", reason="torch is in the extra [peers]")
optax = pytest.importorskip("optax", reason="optax is in the extra [dev]")

CASES = [
    Case(RAdam(), torch_oracle(torch.optim.RAdam)),
    Case(
        RAdam(0.8, 0.98, 1e-6, 0.1),
        torch_oracle(
            lambda parameters: torch.optim.RAdam(
                parameters, betas=(0.8, 0.98), eps=1e-6, weight_decay=0.1, decoupled_weight_decay=True
            )
        ),
    ),
    Case(RAdam(0.5, 0.6), torch_oracle(lambda parameters: torch.optim.RAdam(parameters, betas=(0.5, 0.6)))),
    # optax adds epsilon after the correction
    Case(RAdam(epsilon=1e-12), optax_oracle(lambda rate: optax.radam(rate, eps=1e-12))),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.rule))
def test_the_oracle_agrees(case: Case) -> None:
    assert distance(case) <= case.tolerance
