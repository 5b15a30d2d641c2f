"""AdaMax, AMSGrad, AdaBelief and Yogi beside torch's, optax's and pytorch_optimizer's."""

import pytest
from compared import Case, distance, optax_oracle, torch_oracle

from kopt.rules import AdaBelief, AdaMax, AMSGrad, Yogi

torch = pytest.importorskip("torch", reason="torch is in the extra [peers]")
optax = pytest.importorskip("optax", reason="optax is in the extra [dev]")
peers = pytest.importorskip("pytorch_optimizer", reason="pytorch_optimizer is in the extra [peers]")


def amsgrad(parameters, **arguments):
    return torch.optim.AdamW(parameters, amsgrad=True, **arguments)


CASES = [
    Case(AdaMax(), torch_oracle(torch.optim.Adamax)),
    Case(
        AdaMax(0.8, 0.99, 1e-6),
        torch_oracle(lambda parameters: torch.optim.Adamax(parameters, betas=(0.8, 0.99), eps=1e-6)),
    ),
    Case(
        AdaMax(0.95, 0.9, weight_decay=0.1),
        optax_oracle(lambda rate: optax.adamaxw(rate, 0.95, 0.9, weight_decay=0.1)),
    ),
    Case(AMSGrad(), torch_oracle(lambda parameters: amsgrad(parameters, weight_decay=0))),
    Case(
        AMSGrad(0.8, 0.99, 1e-6, 0.1),
        torch_oracle(lambda parameters: amsgrad(parameters, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1)),
    ),
    Case(
        AMSGrad(0.5, 0.9, 1e-3),
        torch_oracle(lambda parameters: amsgrad(parameters, betas=(0.5, 0.9), eps=1e-3, weight_decay=0)),
        rate=1e-3,
    ),
    Case(AdaBelief(), torch_oracle(peers.AdaBelief)),
    Case(
        AdaBelief(0.8, 0.99, 1e-12, 0.1),
        torch_oracle(lambda parameters: peers.AdaBelief(parameters, betas=(0.8, 0.99), eps=1e-12, weight_decay=0.1)),
    ),
    Case(
        AdaBelief(0.95, 0.9, 1e-8), optax_oracle(lambda rate: optax.adabelief(rate, 0.95, 0.9, eps=1e-8, eps_root=1e-8))
    ),
    Case(Yogi(), torch_oracle(peers.Yogi)),
    Case(
        Yogi(0.8, 0.99, 1e-5, 0, weight_decay=0.1),
        torch_oracle(
            lambda parameters: peers.Yogi(
                parameters, betas=(0.8, 0.99), eps=1e-5, initial_accumulator=0, weight_decay=0.1
            )
        ),
    ),
    Case(Yogi(0.5, 0.9, 1e-2), optax_oracle(lambda rate: optax.yogi(rate, 0.5, 0.9, eps=1e-2))),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.rule))
def test_the_oracle_agrees(case: Case) -> None:
    assert distance(case) <= case.tolerance
