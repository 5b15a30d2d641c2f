"""SignSGD and Lion beside optax's and pytorch_optimizer's."""

import pytest
from compared import Case, distance, optax_oracle, torch_oracle

from kopt.rules import Lion, SignSGD

optax = pytest.importorskip("optax", reason="optax is in the extra [dev]")
peers = pytest.importorskip("pytorch_optimizer", reason="pytorch_optimizer is in the extra [peers]")

CASES = [
    Case(SignSGD(), optax_oracle(optax.sign_sgd)),
    Case(SignSGD(), torch_oracle(lambda parameters: peers.SignSGD(parameters, momentum=0))),
    Case(Lion(), optax_oracle(lambda rate: optax.lion(rate, weight_decay=0))),
    Case(Lion(0.95, 0.98, 0.1), optax_oracle(lambda rate: optax.lion(rate, 0.95, 0.98, weight_decay=0.1))),
    Case(
        Lion(0.8, 0.9, 0.3),
        torch_oracle(lambda parameters: peers.Lion(parameters, betas=(0.8, 0.9), weight_decay=0.3)),
        rate=1e-3,
    ),
    # Signum
    Case(Lion(0.9, 0.9), torch_oracle(lambda parameters: peers.SignSGD(parameters, momentum=0.9))),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.rule))
def test_the_oracle_agrees(case: Case) -> None:
    assert distance(case) <= case.tolerance
