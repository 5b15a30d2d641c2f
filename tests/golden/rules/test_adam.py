"""Adam and AdamW beside torch's and optax's."""

import pytest
from compared import Case, distance, optax_oracle, torch_oracle

from kopt.rules import Adam, AdamW

torch = pytest.importorskip("torch", reason="torch is in the extra [peers]")
optax = pytest.importorskip("optax", reason="optax is in the extra [dev]")

# torch and optax add epsilon after the correction, kopt as Keras before it: compared where it is too small to matter.
CASES = [
    Case(Adam(epsilon=1e-12), torch_oracle(lambda parameters: torch.optim.Adam(parameters, eps=1e-12))),
    Case(
        Adam(0.8, 0.99, 1e-12),
        torch_oracle(lambda parameters: torch.optim.Adam(parameters, betas=(0.8, 0.99), eps=1e-12)),
    ),
    Case(Adam(0.5, 0.9, 1e-12), optax_oracle(lambda rate: optax.adam(rate, 0.5, 0.9, eps=1e-12))),
    Case(
        AdamW(epsilon=1e-12),
        torch_oracle(lambda parameters: torch.optim.AdamW(parameters, eps=1e-12, weight_decay=0.004)),
    ),
    Case(
        AdamW(0.95, 0.98, 1e-12, weight_decay=0.1),
        optax_oracle(lambda rate: optax.adamw(rate, 0.95, 0.98, eps=1e-12, weight_decay=0.1)),
    ),
    Case(
        AdamW(0.8, 0.9, 1e-12, weight_decay=0),
        torch_oracle(lambda parameters: torch.optim.AdamW(parameters, betas=(0.8, 0.9), eps=1e-12, weight_decay=0)),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.rule))
def test_the_oracle_agrees(case: Case) -> None:
    assert distance(case) <= case.tolerance
